//! Encoding and decoding by type: where lengths are checked, once for every type.
#![forbid(unsafe_code)]

use crate::{Dtype, Level};

/// Quantizes whole rows to the blocks of `dtype`.
///
/// `src` holds rows of `columns` weights, row-major. `importance`, if given, holds one finite, non-negative weight per
/// column, the same for each row. `dst` receives exactly the bytes of these rows.
///
/// # Panics
///
/// If the type has no encoder or none without importance, `columns` is not a positive multiple of its block length, or a length does not fit.
pub fn quantize(level: Level, dtype: Dtype, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    let info = dtype.info();
    let Some(quantize) = info.quantize else { panic!("{dtype} has no encoder") };
    assert!(columns > 0 && columns.is_multiple_of(info.block_len), "{columns} columns do not fill blocks of {dtype}");
    assert_eq!(src.len() % columns, 0, "{} weights do not fill rows of {columns}", src.len());
    assert!(importance.is_some() || !info.needs_importance, "{dtype} needs importance");
    assert!(importance.is_none_or(|i| i.len() == columns), "importance is not one weight per column");
    assert_eq!(dtype.byte_size(src.len() as u64), Some(dst.len() as u64), "room for the rows' bytes");
    quantize(level, src, columns, importance, dst);
}

/// Decodes the blocks of exactly `dst.len()` weights.
///
/// # Panics
///
/// If the type has no decoder or a length does not fit.
pub fn dequantize(level: Level, dtype: Dtype, src: &[u8], dst: &mut [f32]) {
    let Some(dequantize) = dtype.info().dequantize else { panic!("{dtype} has no decoder") };
    assert_eq!(dtype.byte_size(dst.len() as u64), Some(src.len() as u64), "the bytes of the weights asked for");
    dequantize(level, src, dst);
}
