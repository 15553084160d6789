//! The table of tensor types: one row per type, everything else iterates over it.

use crate::simd::Level;

/// Quantizes whole rows.
///
/// `src` holds `rows * columns` weights, row-major; `importance`, if given, one non-negative weight per column;
/// `dst` exactly the bytes of these rows. `columns` is a multiple of the type's block length.
pub type Quantize = fn(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]);

/// Decodes whole blocks: `src` holds the blocks of exactly `dst.len()` weights.
pub type Dequantize = fn(level: Level, src: &[u8], dst: &mut [f32]);

macro_rules! dtypes {
    ($($variant:ident $name:literal gguf $gguf:tt safetensors $st:tt block $len:literal x $bytes:literal
       scales $scales:tt codec $codec:tt;)*) => {
        /// A tensor type: how weights are laid out in bytes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs, non_camel_case_types)]
        pub enum Dtype { $($variant),* }

        static TABLE: &[DtypeInfo] = &[$(DtypeInfo {
            dtype: Dtype::$variant,
            name: $name,
            gguf_id: dtypes!(@option $gguf),
            safetensors: dtypes!(@option $st),
            block_len: $len,
            block_bytes: $bytes,
            scales: dtypes!(@scales $scales),
            quantize: dtypes!(@quantize $codec),
            dequantize: dtypes!(@dequantize $codec),
            needs_importance: dtypes!(@needs_importance $codec),
        }),*];
    };
    (@option -) => { None };
    (@option $value:literal) => { Some($value) };
    (@scales -) => { Scales::None };
    (@scales ($kind:ident $($offsets:tt)?)) => { Scales::$kind $((&$offsets))? };
    // `-` opaque, `(module)` both directions, `(<- module)` decode only, `(std module)` both, but encode only with the
    // standard library, and maybe only `with importance`.
    (@needs_importance (std $module:ident with importance)) => { true };
    (@needs_importance $codec:tt) => { false };
    (@quantize -) => { None };
    (@quantize (<- $module:ident)) => { None };
    (@quantize (std $module:ident $(with importance)?)) => {{
        #[cfg(feature = "std")]
        let quantize = Some(crate::types::$module::quantize as Quantize);
        #[cfg(not(feature = "std"))]
        let quantize = None;
        quantize
    }};
    (@quantize ($module:ident)) => { Some(crate::types::$module::quantize as Quantize) };
    (@dequantize -) => { None };
    (@dequantize (std $module:ident $(with importance)?)) => { Some(crate::types::$module::dequantize as Dequantize) };
    (@dequantize (<- $module:ident)) => { Some(crate::types::$module::dequantize as Dequantize) };
    (@dequantize ($module:ident)) => { Some(crate::types::$module::dequantize as Dequantize) };
}

// Names and ids: ggml.h, enum ggml_type. Block lengths, sizes and places of scales: the block structs of ggml-common.h.
// Safetensors names: the Dtype enum of the safetensors crate.
dtypes! {
    F32     "F32"     gguf 0  safetensors "F32"  block 1 x 4 scales (F32) codec (f32);
    F16     "F16"     gguf 1  safetensors "F16"  block 1 x 2 scales (F16 [0]) codec (f16);
    BF16    "BF16"    gguf 30 safetensors "BF16" block 1 x 2 scales (BF16) codec (bf16);
    Q4_0    "Q4_0"    gguf 2  safetensors -      block 32 x 18 scales (F16 [0]) codec (q4_0);
    Q4_1    "Q4_1"    gguf 3  safetensors -      block 32 x 20 scales (F16 [0, 2]) codec (q4_1);
    Q5_0    "Q5_0"    gguf 6  safetensors -      block 32 x 22 scales (F16 [0]) codec (q5_0);
    Q5_1    "Q5_1"    gguf 7  safetensors -      block 32 x 24 scales (F16 [0, 2]) codec (q5_1);
    Q8_0    "Q8_0"    gguf 8  safetensors -      block 32 x 34 scales (F16 [0]) codec (q8_0);
    Q8_1    "Q8_1"    gguf 9  safetensors -      block 32 x 36 scales (F16 [0, 2]) codec (<- q8_1);
    Q2_K    "Q2_K"    gguf 10 safetensors -      block 256 x 84 scales (F16 [80, 82]) codec (q2_k);
    Q3_K    "Q3_K"    gguf 11 safetensors -      block 256 x 110 scales (F16 [108]) codec (q3_k);
    Q4_K    "Q4_K"    gguf 12 safetensors -      block 256 x 144 scales (F16 [0, 2]) codec (q4_k);
    Q5_K    "Q5_K"    gguf 13 safetensors -      block 256 x 176 scales (F16 [0, 2]) codec (q5_k);
    Q6_K    "Q6_K"    gguf 14 safetensors -      block 256 x 210 scales (F16 [208]) codec (q6_k);
    Q8_K    "Q8_K"    gguf 15 safetensors -      block 256 x 292 scales (F32) codec (<- q8_k);
    IQ2_XXS "IQ2_XXS" gguf 16 safetensors -      block 256 x 66 scales (F16 [0]) codec (std iq2_xxs with importance);
    IQ2_XS  "IQ2_XS"  gguf 17 safetensors -      block 256 x 74 scales (F16 [0]) codec (std iq2_xs with importance);
    IQ3_XXS "IQ3_XXS" gguf 18 safetensors -      block 256 x 98 scales (F16 [0]) codec (std iq3_xxs);
    IQ1_S   "IQ1_S"   gguf 19 safetensors -      block 256 x 50 scales (F16 [0]) codec (std iq1_s with importance);
    IQ4_NL  "IQ4_NL"  gguf 20 safetensors -      block 32 x 18 scales (F16 [0]) codec (iq4_nl);
    IQ3_S   "IQ3_S"   gguf 21 safetensors -      block 256 x 110 scales (F16 [0]) codec (std iq3_s);
    IQ2_S   "IQ2_S"   gguf 22 safetensors -      block 256 x 82 scales (F16 [0]) codec (std iq2_s);
    IQ4_XS  "IQ4_XS"  gguf 23 safetensors -      block 256 x 136 scales (F16 [0]) codec (iq4_xs);
    IQ1_M   "IQ1_M"   gguf 29 safetensors -      block 256 x 56 scales (IQ1_M) codec (std iq1_m);
    TQ1_0   "TQ1_0"   gguf 34 safetensors -      block 256 x 54 scales (F16 [52]) codec (tq1_0);
    TQ2_0   "TQ2_0"   gguf 35 safetensors -      block 256 x 66 scales (F16 [64]) codec (tq2_0);
    MXFP4   "MXFP4"   gguf 39 safetensors -      block 32 x 17 scales (E8M0) codec (mxfp4);
    NVFP4   "NVFP4"   gguf 40 safetensors -      block 64 x 36 scales - codec (nvfp4);
    Q1_0    "Q1_0"    gguf 41 safetensors -      block 128 x 18 scales (F16 [0]) codec (q1_0);
    Q2_0    "Q2_0"    gguf 42 safetensors -      block 64 x 18 scales (F16 [0]) codec (q2_0);
    F64     "F64"     gguf 28 safetensors "F64"  block 1 x 8 scales (F64) codec (<- f64);
    I8      "I8"      gguf 24 safetensors "I8"   block 1 x 1 scales - codec -;
    I16     "I16"     gguf 25 safetensors "I16"  block 1 x 2 scales - codec -;
    I32     "I32"     gguf 26 safetensors "I32"  block 1 x 4 scales - codec -;
    I64     "I64"     gguf 27 safetensors "I64"  block 1 x 8 scales - codec -;
    U8      "U8"      gguf -  safetensors "U8"   block 1 x 1 scales - codec -;
    U16     "U16"     gguf -  safetensors "U16"  block 1 x 2 scales - codec -;
    U32     "U32"     gguf -  safetensors "U32"  block 1 x 4 scales - codec -;
    U64     "U64"     gguf -  safetensors "U64"  block 1 x 8 scales - codec -;
    BOOL    "BOOL"    gguf -  safetensors "BOOL" block 1 x 1 scales - codec -;
    F8_E4M3 "F8_E4M3" gguf -  safetensors "F8_E4M3" block 1 x 1 scales - codec (<- f8_e4m3);
    F8_E5M2 "F8_E5M2" gguf -  safetensors "F8_E5M2" block 1 x 1 scales - codec (<- f8_e5m2);
    F8_E8M0 "F8_E8M0" gguf -  safetensors "F8_E8M0" block 1 x 1 scales (E8M0) codec (<- f8_e8m0);
}

/// One row of the table.
pub struct DtypeInfo {
    /// The type that this row describes.
    pub dtype: Dtype,
    /// ggml's name in upper case, or safetensors' where ggml has no such type.
    pub name: &'static str,
    /// The number that stands for the type in a GGUF file.
    pub gguf_id: Option<u32>,
    /// The name that stands for the type in a safetensors header.
    pub safetensors: Option<&'static str>,
    /// Weights per block; the length of a row is a multiple of it.
    pub block_len: usize,
    /// Bytes per block.
    pub block_bytes: usize,
    /// The numbers of a block that must be finite.
    pub scales: Scales,
    /// Encoder, if this crate can write the type: some do with the feature `std` only, as they keep tables that they make
    /// when they are first used.
    pub quantize: Option<Quantize>,
    /// Without importance the type cannot be encoded.
    pub needs_importance: bool,
    /// Decoder, if this crate can read the type.
    pub dequantize: Option<Dequantize>,
}

/// Where a block keeps the floating-point numbers that scale its weights.
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub enum Scales {
    /// Nowhere, or ggml does not look.
    None,
    /// An f64 at the start.
    F64,
    /// An f32 at the start.
    F32,
    /// A bf16 at the start.
    BF16,
    /// f16 numbers at these offsets in bytes.
    F16(&'static [usize]),
    /// A power of two in the first byte, whose 255 means NaN.
    E8M0,
    /// One f16 spread over the upper four bits of the last four 16-bit words, the lowest bits first.
    IQ1_M,
}

impl Dtype {
    /// All types, in the order of the table.
    pub fn all() -> impl Iterator<Item = Dtype> {
        TABLE.iter().map(|row| row.dtype)
    }

    /// The type's row of the table.
    pub fn info(self) -> &'static DtypeInfo {
        &TABLE[self as usize]
    }

    /// ggml's name in upper case, as in `Q4_K`.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// The type of this number in a GGUF file.
    pub fn from_gguf_id(id: u32) -> Option<Dtype> {
        TABLE.iter().find(|row| row.gguf_id == Some(id)).map(|row| row.dtype)
    }

    /// The type of this name in a safetensors header.
    pub fn from_safetensors(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|row| row.safetensors == Some(name)).map(|row| row.dtype)
    }

    /// The type of this name, in any case.
    pub fn from_name(name: &str) -> Option<Dtype> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.dtype)
    }

    /// True for types whose blocks hold more than one weight.
    pub fn is_quantized(self) -> bool {
        self.info().block_len > 1
    }

    /// Bytes of `weights` weights; `None` if they do not fill whole blocks or the size overflows.
    pub fn byte_size(self, weights: u64) -> Option<u64> {
        let info = self.info();
        if !weights.is_multiple_of(info.block_len as u64) {
            return None;
        }
        (weights / info.block_len as u64).checked_mul(info.block_bytes as u64)
    }
}

impl core::fmt::Display for Dtype {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}
