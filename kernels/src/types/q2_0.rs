//! Q2_0: 64 weights, levels -1 to 2.
//!
//! Bytes of a block: `d` (f16), then 16 that hold four levels each, from the lowest bits up. Levels are stored plus 1.

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode, f16};
use super::ternary;
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 64;
const BYTES: usize = 18;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Q2_0>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q2_0, BYTES, LEN>(level, src, dst);
}

struct Q2_0;

impl ByMagnitude for Q2_0 {
    const GROUP: usize = LEN;
    const GROUPS: usize = 1;
    const BYTES: usize = BYTES;

    /// The scale of ternary levels, so that level 2 is never used.
    #[inline(always)]
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
        ternary::scale(s, magnitude)
    }

    #[inline(always)]
    fn level<S: Simd>(s: S, x: S::F32, inverse: S::F32, _magnitude: f32) -> S::I32 {
        // With an infinite inverse nothing fits, and the reference ends up with the lowest level.
        s.max_i32(ternary::level(s, x, inverse), s.splat_i32(0))
    }

    #[inline(always)]
    fn store(block: &mut [u8], _group: usize, d: u32, levels: &[u8]) {
        let (head, bytes) = block.split_at_mut(2);
        head.copy_from_slice(&(d as u16).to_le_bytes());
        for (byte, [a, b, c, d]) in bytes.iter_mut().zip(levels.as_chunks::<4>().0) {
            *byte = a | b << 2 | c << 4 | d << 6;
        }
    }
}

impl Decode<BYTES, LEN> for Q2_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let mut levels = [[0; 4]; LEN / 4];
        for (levels, &byte) in levels.iter_mut().zip(&block[2..]) {
            // Halves move apart, then pairs.
            let halves = (u32::from(byte) | u32::from(byte) << 12) & 0x000f_000f;
            *levels = ((halves | halves << 6) & 0x0303_0303).to_le_bytes();
        }
        decode::centred(s, levels.as_flattened(), 1, f16(s, block), out);
    }
}
