//! BF16: the upper half of an f32, little-endian.

use super::words::{self, Word};
use crate::simd::{Level, Simd};

/// Rounds to nearest even; denormals are kept, NaN becomes quiet. Importance has no influence.
pub fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    words::encode::<Brain>(level, src, dst);
}

/// Exact.
pub fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    words::decode::<Brain>(level, src, dst);
}

struct Brain;

impl Word for Brain {
    #[inline(always)]
    fn encode<S: Simd>(s: S, v: S::F32) -> S::I32 {
        let bits = s.to_bits(v);
        let upper = s.shr_i32::<16>(bits);
        // Half a unit of the last place that stays, less one where an even number would be rounded up from a tie.
        let odd = s.and_i32(upper, s.splat_i32(1));
        let rounded = s.shr_i32::<16>(s.add_i32(bits, s.add_i32(odd, s.splat_i32(0x7fff))));
        let quiet = s.or_i32(upper, s.splat_i32(0x40));
        let number = s.eq(v, v);
        s.select_i32(number, rounded, quiet)
    }

    #[inline(always)]
    fn decode<S: Simd>(s: S, words: S::I32) -> S::F32 {
        s.from_bits(s.shl_i32::<16>(words))
    }
}
