//! F32: IEEE 754 single precision, little-endian.

use crate::simd::Level;

/// A copy. Importance has no influence.
pub fn quantize(_level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    assert_eq!(dst.len(), 4 * src.len());
    for (src, dst) in src.iter().zip(dst.as_chunks_mut().0) {
        *dst = src.to_le_bytes();
    }
}

/// A copy.
pub fn dequantize(_level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len(), 4 * dst.len());
    for (src, dst) in src.as_chunks().0.iter().zip(dst) {
        *dst = f32::from_le_bytes(*src);
    }
}
