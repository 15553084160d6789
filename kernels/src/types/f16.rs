//! F16: IEEE 754 half precision, little-endian.

use super::words::{self, Word};
use crate::simd::{Level, Simd};

/// Rounds to nearest even, also to denormals; what is too large becomes an infinity. Importance has no influence.
pub fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    words::encode::<Half>(level, src, dst);
}

/// Exact.
pub fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    words::decode::<Half>(level, src, dst);
}

struct Half;

impl Word for Half {
    #[inline(always)]
    fn encode<S: Simd>(s: S, v: S::F32) -> S::I32 {
        s.to_f16_bits(v)
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, words: S::I32) -> S::F32 {
        s.from_f16_bits(words)
    }
}
