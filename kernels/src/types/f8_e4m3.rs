//! F8_E4M3: one byte of sign, 4 bits of exponent, 3 of mantissa (`float8_e4m3fn`). No infinities; the largest number is
//! 448, and what would follow it is NaN.

use super::bytes::{self, Byte};
use crate::simd::{Level, Simd};

/// Exact.
pub fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    bytes::decode::<E4M3>(level, src, dst);
}

struct E4M3;

/// Exponents are stored plus this; those of an f32 plus 127.
const BIAS: i32 = 7;

impl Byte for E4M3 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, bytes: S::I32) -> S::F32 {
        let magnitude = s.and_i32(bytes, s.splat_i32(0x7f));
        let normal = s.from_bits(s.add_i32(s.shl_i32::<20>(magnitude), s.splat_i32((127 - BIAS) << 23)));
        let denormal = s.mul(s.to_f32(magnitude), s.splat(1.0 / 512.0));
        let value = s.select(s.gt_i32(s.splat_i32(8), magnitude), denormal, normal);
        let value = s.select(s.eq_i32(magnitude, s.splat_i32(0x7f)), s.splat(f32::NAN), value);
        let sign = s.shl_i32::<24>(s.and_i32(bytes, s.splat_i32(0x80)));
        s.from_bits(s.or_i32(s.to_bits(value), sign))
    }
}
