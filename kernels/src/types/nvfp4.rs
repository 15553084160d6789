//! NVFP4: 4 sub-blocks of 16 weights, levels that are 4-bit floats, scales that are 8-bit floats.
//!
//! Bytes of a block: 4 scales, then for each sub-block 8 that hold the [levels](super::e2m1) `i` (low) and `i + 8` (high).
//! A scale is an unsigned E4M3: 4 bits of exponent (bias 7), 3 of mantissa; no infinity, 0x7f stands for 0.

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode};
use super::e2m1;
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 64;
const BYTES: usize = 36;
/// Sub-blocks.
const SUBS: usize = 4;
/// Weights of a sub-block.
const SUB_LEN: usize = 16;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Nvfp4>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Nvfp4, BYTES, LEN>(level, src, dst);
}

struct Nvfp4;

impl ByMagnitude for Nvfp4 {
    const GROUP: usize = SUB_LEN;
    const GROUPS: usize = SUBS;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
        // The largest value is 6.
        let scale = to_ue4m3(s, s.div(magnitude, s.splat(6.0)));
        // Of exponent 0 are multiples of 2^-9; the others have the bias 127 instead of 7. Halved, as levels are doubled.
        let small = s.mul(s.to_f32(scale), s.splat(1.0 / 1024.0));
        let normal = s.from_bits(s.shl_i32::<20>(s.add_i32(scale, s.splat_i32((120 - 1) << 3))));
        let unit = s.select(s.gt_i32(scale, s.splat_i32(7)), normal, small);
        // Where the scale is 0 all levels are; that of an infinite unit.
        (scale, s.select(s.eq_i32(scale, s.splat_i32(0)), s.splat(f32::INFINITY), unit))
    }

    #[inline(always)]
    fn level<S: Simd>(s: S, x: S::F32, unit: S::F32, magnitude: f32) -> S::I32 {
        let nearest = e2m1::nearest(s, x, unit);
        // Scales end at 448, so that the largest value is 2688. Up to here its difference to a weight is exact enough.
        const NEAR: f32 = 4_194_304.0;
        if magnitude > NEAR {
            s.select_i32(s.gt(s.abs(x), s.splat(NEAR)), e2m1::first_nearest(s, x, unit), nearest)
        } else {
            nearest
        }
    }

    #[inline(always)]
    fn store(block: &mut [u8], sub: usize, scale: u32, levels: &[u8]) {
        block[sub] = scale as u8;
        e2m1::pack(levels, &mut block[SUBS + sub * SUB_LEN / 2..][..SUB_LEN / 2]);
    }
}

/// The unsigned E4M3 number next to `v`, halves rounded up, but 448 for everything from 256 on.
#[inline(always)]
fn to_ue4m3<S: Simd>(s: S, v: S::F32) -> S::I32 {
    // Rounded to 3 bits of mantissa, with the bias of 7 instead of 127.
    let rounded = s.shr_i32::<20>(s.add_i32(s.to_bits(v), s.splat_i32(1 << 19)));
    let normal = s.sub_i32(rounded, s.splat_i32((127 - 7) << 3));
    let normal = s.select_i32(s.gt_i32(normal, s.splat_i32(0x77)), s.splat_i32(0x7e), normal);
    // Below 2^-6 multiples of 2^-9, but at most 7 of them.
    let small = s.trunc_i32(s.add(s.mul(v, s.splat(512.0)), s.splat(0.5)));
    let small = s.min_i32(small, s.splat_i32(7));
    s.select_i32(s.lt(v, s.splat(1.0 / 64.0)), small, normal)
}

impl Decode<BYTES, LEN> for Nvfp4 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (scales, levels) = block.split_at(SUBS);
        let subs = levels.as_chunks::<{ SUB_LEN / 2 }>().0.iter().zip(out.as_chunks_mut::<SUB_LEN>().0);
        for (&scale, (bytes, out)) in scales.iter().zip(subs) {
            let number = u32::from(scale & 0x7f);
            // Halved, as levels are doubled.
            let unit = match scale {
                0x7f => 0.0,
                _ if number < 8 => number as f32 / 1024.0,
                _ => f32::from_bits((number + ((120 - 1) << 3)) << 20),
            };
            e2m1::unpack(s, bytes, s.splat(unit), out);
        }
    }
}
