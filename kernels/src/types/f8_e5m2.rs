//! F8_E5M2: one byte of sign, 5 bits of exponent, 2 of mantissa: the upper half of an f16, infinities and NaN included.

use super::bytes::{self, Byte};
use crate::simd::{Level, Simd};

/// Exact.
pub fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    bytes::decode::<E5M2>(level, src, dst);
}

struct E5M2;

impl Byte for E5M2 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, bytes: S::I32) -> S::F32 {
        s.from_f16_bits(s.shl_i32::<8>(bytes))
    }
}
