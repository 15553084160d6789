//! F64: IEEE 754 double precision, little-endian. Sources only.

use crate::simd::Level;

/// Rounds to nearest even.
pub fn dequantize(_level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len(), 8 * dst.len());
    for (src, dst) in src.as_chunks().0.iter().zip(dst) {
        *dst = f64::from_le_bytes(*src) as f32;
    }
}
