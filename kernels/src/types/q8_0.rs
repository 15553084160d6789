//! Q8_0: 32 weights, 8-bit levels.
//!
//! Bytes of a block: `d` (f16), then 32 signed levels.

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode, f16};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::simd::Simd;

const LEN: usize = 32;
const BYTES: usize = 34;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Q8_0>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q8_0, BYTES, LEN>(level, src, dst);
}

/// As the encoder does, -128 is left out.
pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: Points::Even { first: -127, count: 255 },
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets.fill(0.0);
    },
    set: |scales, _, block| levels::set_f16(scales[0], block),
    store: |levels, block| {
        block[2..].iter_mut().zip(levels).for_each(|(byte, level)| *byte = level.wrapping_sub(127));
    },
};

struct Q8_0;

impl ByMagnitude for Q8_0 {
    const GROUP: usize = LEN;
    const GROUPS: usize = 1;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
        let d = s.div(magnitude, s.splat(127.0));
        let zero = s.splat(0.0);
        (s.to_f16_bits(d), s.select(s.eq(d, zero), zero, s.div(s.splat(1.0), d)))
    }

    #[inline(always)]
    fn level<S: Simd>(s: S, x: S::F32, inverse: S::F32, _magnitude: f32) -> S::I32 {
        s.round_away_i32(s.mul(x, inverse))
    }

    #[inline(always)]
    fn store(block: &mut [u8], _group: usize, d: u32, levels: &[u8]) {
        let (head, bytes) = block.split_at_mut(2);
        head.copy_from_slice(&(d as u16).to_le_bytes());
        bytes.copy_from_slice(levels);
    }
}

impl Decode<BYTES, LEN> for Q8_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        decode::signed(s, &block[2..], f16(s, block), out);
    }
}
