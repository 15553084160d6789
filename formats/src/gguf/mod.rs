//! GGUF: llama.cpp's file format. Little-endian header, typed metadata, tensor table, aligned tensors.
//!
//! Versions 2 and 3 are read, which differ in nothing but the number; version 3 is written. Facts: `gguf.h`,
//! `gguf.cpp` and `docs/gguf.md` of ggml.

mod declared;
mod layout;
mod read;
mod split;
mod value;

use weightmill_kernels::Dtype;

use crate::error::{Error, Item, Kind, Result};
use crate::{Metadata, Value};

pub use declared::{MAX_EXPERTS, MAX_LAYERS, check_declared};
pub use layout::{layout, layout_split, trimmed};
pub use read::{Header, parse};
pub use split::{PartName, open, part_name};
pub use value::MAX_ARRAY_DEPTH;

/// First bytes of every GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";

/// Alignment of tensors without the key `general.alignment` (`GGUF_DEFAULT_ALIGNMENT`).
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// Largest alignment that is read. llama.cpp has no limit; files in use have 32 to 4096.
pub const MAX_ALIGNMENT: u32 = 1 << 20;

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
pub const MAX_DIMENSIONS: usize = 4;

/// Longest tensor name that llama.cpp reads, in bytes (`GGML_MAX_NAME` less the terminator).
pub const MAX_NAME: usize = 63;

/// Longest tensor name that is written, in bytes: what runtimes of diffusion models read (stable-diffusion.cpp, which
/// builds ggml so, and ComfyUI-GGUF). Longer ones are only read.
pub const MAX_LONG_NAME: usize = 127;

const ALIGNMENT_KEY: &str = "general.alignment";
const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// The alignment that `metadata` declares.
fn alignment(metadata: &Metadata) -> Result<u64> {
    let fail = |kind| Error::new(kind).item(Item::Key(ALIGNMENT_KEY.to_owned()));
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(DEFAULT_ALIGNMENT.into()),
        Some(&Value::U32(n)) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n.into()),
        Some(&Value::U32(found)) => Err(fail(Kind::Alignment { found, limit: MAX_ALIGNMENT })),
        Some(other) => Err(fail(Kind::WrongType { expected: "u32", found: other.type_name() })),
    }
}

/// Bytes of a tensor of row-major `shape`, if GGUF can hold it: 1 to 4 dimensions, none of them zero, fewer than 2^63
/// weights and bytes, whole blocks in every row.
fn check_shape(shape: &[u64], dtype: Dtype) -> std::result::Result<u64, Kind> {
    if shape.is_empty() || shape.len() > MAX_DIMENSIONS {
        return Err(Kind::Dimensions { found: shape.len() as u64, limit: MAX_DIMENSIONS as u64 });
    }
    if shape.contains(&0) {
        return Err(Kind::ZeroDimension { shape: shape.to_vec() });
    }
    let (columns, block) = (shape[shape.len() - 1], dtype.info().block_len as u64);
    if !columns.is_multiple_of(block) {
        return Err(Kind::RowLength { columns, block, dtype: dtype.name() });
    }
    let weights = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
    weights
        .filter(|&weights| weights <= i64::MAX as u64)
        .and_then(|weights| dtype.byte_size(weights))
        .filter(|&bytes| bytes <= i64::MAX as u64)
        .ok_or_else(|| Kind::Overflow { shape: shape.to_vec() })
}
