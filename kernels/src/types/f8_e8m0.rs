//! F8_E8M0: the power of two of one biased exponent, 2^-127 to 2^127; 255 is NaN. Scales, in sources only.

use super::bytes::{self, Byte};
use crate::simd::{Level, Simd};

/// Exact.
pub fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    bytes::decode::<E8M0>(level, src, dst);
}

struct E8M0;

impl Byte for E8M0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, bytes: S::I32) -> S::F32 {
        // The exponents of an f32 are the same, but 0 stands for its denormals and 255 for infinity.
        let bits = s.shl_i32::<23>(bytes);
        let bits = s.select_i32(s.eq_i32(bytes, s.splat_i32(0)), s.splat_i32(1 << 22), bits);
        let nan = s.to_bits(s.splat(f32::NAN));
        s.from_bits(s.select_i32(s.eq_i32(bytes, s.splat_i32(255)), nan, bits))
    }
}
