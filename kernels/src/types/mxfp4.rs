//! MXFP4: 32 weights, levels that are 4-bit floats, a scale that is a power of two.
//!
//! Bytes of a block: the scale's exponent plus 127, then 16 that hold the [levels](super::e2m1) `i` (low) and `i + 16`
//! (high).

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode};
use super::e2m1;
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 32;
const BYTES: usize = 17;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Mxfp4>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Mxfp4, BYTES, LEN>(level, src, dst);
}

struct Mxfp4;

impl ByMagnitude for Mxfp4 {
    const GROUP: usize = LEN;
    const GROUPS: usize = 1;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
        // The largest value is 6: an exponent of 2. Exponents below those of a byte wrap.
        let exponent = s.sub_i32(floor_log2(s, magnitude), s.splat_i32(2 - 127));
        let zero = s.splat(0.0);
        let exponent = s.select_i32(s.eq(magnitude, zero), s.splat_i32(0), exponent);
        let exponent = s.and_i32(exponent, s.splat_i32(0xff));
        (exponent, half_power(s, exponent))
    }

    #[inline(always)]
    fn level<S: Simd>(s: S, x: S::F32, unit: S::F32, magnitude: f32) -> S::I32 {
        // The rounded logarithm of the largest numbers is 128, and with the scale that belongs to it the values from 8 on
        // overflow, so that none of them is chosen. With lesser scales the bound lies beyond them all.
        let bound = s.splat(7.0 * f32::from_bits((125 + 127) << 23));
        let x = if magnitude > 3.4e38 { s.max(s.min(x, bound), s.neg(bound)) } else { x };
        e2m1::nearest(s, x, unit)
    }

    #[inline(always)]
    fn store(block: &mut [u8], _group: usize, exponent: u32, levels: &[u8]) {
        block[0] = exponent as u8;
        e2m1::pack(levels, &mut block[1..]);
    }
}

/// C's `floorf(log2f(v))` of a positive number.
///
/// The logarithm is rounded to an f32: just below a power of two it becomes the whole number, and all the earlier the
/// greater that is. There the logarithm of `2^n (1 - e)` is `n - e / ln(2)`, and nowhere is that further than 0.73 from `n`.
/// The bounds so found are those of glibc's `log2f`, for every exponent.
#[inline(always)]
fn floor_log2<S: Simd>(s: S, v: S::F32) -> S::I32 {
    let denormal = s.lt(v, s.splat(f32::MIN_POSITIVE));
    let bits = s.to_bits(s.select(denormal, s.mul(v, s.splat(8_388_608.0)), v));
    let bias = s.select_i32(denormal, s.splat_i32(126 + 23), s.splat_i32(126));
    // The next power of two above `v`, and how many steps of 2^-24 of it `v` lies below.
    let next = s.sub_i32(s.shr_i32::<23>(bits), bias);
    let steps = s.sub_i32(s.splat_i32(0x0080_0000), s.and_i32(bits, s.splat_i32(0x007f_ffff)));
    let power = s.to_f32(next);
    let step = core::f32::consts::LOG2_E / 16_777_216.0;
    let logarithm = s.sub(power, s.mul(s.to_f32(steps), s.splat(step)));
    s.select_i32(s.eq(logarithm, power), next, s.sub_i32(next, s.splat_i32(1)))
}

/// 2^(exponent - 128): half the scale, as levels are doubled. The least two are denormal.
#[inline(always)]
fn half_power<S: Simd>(s: S, exponent: S::I32) -> S::F32 {
    let one = s.splat_i32(1);
    let normal = s.shl_i32::<23>(s.sub_i32(exponent, one));
    let denormal = s.select_i32(s.eq_i32(exponent, one), s.splat_i32(0x0040_0000), s.splat_i32(0x0020_0000));
    s.from_bits(s.select_i32(s.gt_i32(exponent, one), normal, denormal))
}

impl Decode<BYTES, LEN> for Mxfp4 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let exponent = u32::from(block[0]);
        let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
        let levels = block.last_chunk::<{ LEN / 2 }>().expect("16 bytes");
        e2m1::unpack(s, levels, s.splat(f32::from_bits(bits)), out);
    }
}
