//! llama.cpp's quantizers and decoders, from the shared library.

use anyhow::Context;
use std::ffi::{c_int, c_void};
use std::path::{Path, PathBuf};
use weightmill_kernels::Dtype;

type Init = unsafe extern "C" fn(c_int);
type Chunk = unsafe extern "C" fn(c_int, *const f32, *mut c_void, i64, i64, i64, *const f32) -> usize;
type Dequantize = unsafe extern "C" fn(*const c_void, *mut f32, i64);

pub struct Ggml {
    init: Init,
    chunk: Chunk,
    library: libloading::Library,
}

/// A type's `dequantize_row`.
pub struct Decoder<'a> {
    dtype: Dtype,
    row: libloading::Symbol<'a, Dequantize>,
}

impl Ggml {
    /// Where the reference's setup puts the library.
    pub fn path() -> PathBuf {
        let home = std::env::var_os("ORACLE_HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/quantize-oracle"));
        home.join("ggml/libggml-base.so")
    }

    pub fn load(path: &Path) -> anyhow::Result<Ggml> {
        // SAFETY: the reference library has no initialisers with conditions, and the signatures are those of ggml.h.
        unsafe {
            let library = libloading::Library::new(path).with_context(|| path.display().to_string())?;
            let (init, chunk) =
                (*library.get::<Init>(b"ggml_quantize_init")?, *library.get::<Chunk>(b"ggml_quantize_chunk")?);
            Ok(Ggml { init, chunk, library })
        }
    }

    /// `ggml_quantize_chunk` of all rows.
    pub fn quantize(&self, dtype: Dtype, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
        let id = dtype.info().gguf_id.expect("a ggml type") as c_int;
        let rows = src.len() / columns;
        assert_eq!(dtype.byte_size((rows * columns) as u64), Some(dst.len() as u64));
        assert!(importance.is_none_or(|i| i.len() == columns));
        let importance = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        // SAFETY: the pointers are valid for the rows' weights, their bytes and one importance per column, as just checked.
        let written = unsafe {
            (self.init)(id);
            (self.chunk)(id, src.as_ptr(), dst.as_mut_ptr().cast(), 0, rows as i64, columns as i64, importance)
        };
        assert_eq!(written, dst.len());
    }

    /// The decoder of a type.
    pub fn decoder(&self, dtype: Dtype) -> anyhow::Result<Decoder<'_>> {
        let name = match dtype {
            Dtype::F16 => "ggml_fp16_to_fp32_row".to_string(),
            Dtype::BF16 => "ggml_bf16_to_fp32_row".to_string(),
            _ => format!("dequantize_row_{}", dtype.name().to_lowercase().replace("_k", "_K")),
        };
        // SAFETY: all of them have the signature that ggml-quants.h and ggml.h give them.
        let row = unsafe { self.library.get(name.as_bytes()) }.with_context(|| name)?;
        Ok(Decoder { dtype, row })
    }
}

impl Decoder<'_> {
    /// Decodes all blocks.
    pub fn run(&self, src: &[u8], dst: &mut [f32]) {
        assert_eq!(self.dtype.byte_size(dst.len() as u64), Some(src.len() as u64));
        // SAFETY: the pointers are valid for the blocks and their weights, as just checked.
        unsafe { (self.row)(src.as_ptr().cast(), dst.as_mut_ptr(), dst.len() as i64) }
    }
}
