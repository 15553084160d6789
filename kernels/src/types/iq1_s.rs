//! IQ1_S: 8 sub-blocks of 32 weights, levels -1, 0 and 1 on a grid of 2048 points, 3-bit scales.
//!
//! Bytes of a block: `d` (f16); 32 with the low 8 bits of the points of the groups of 8 weights; for each sub-block a word
//! with the high 3 bits of its points, those of the first one lowest, the scale, and whether levels are lessened by an
//! eighth instead of being raised.

use super::decode::{self, Decode, f16};
#[cfg(feature = "std")]
use super::ternary_block::{self, Found, TernaryBlock};
use super::ternary_points;
use crate::Level;
#[cfg(feature = "std")]
use crate::search::Split;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 50;

/// Weights of a sub-block.
#[cfg(feature = "std")]
const SUB: usize = 32;

/// Importance is needed: without it the reference refuses.
#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    ternary_block::quantize::<Iq1S, SUB>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq1S, BYTES, LEN>(level, src, dst);
}

struct Iq1S;

#[cfg(feature = "std")]
impl TernaryBlock<SUB> for Iq1S {
    const BYTES: usize = BYTES;
    const EPSILON: f32 = 1e-12;
    const FACTOR: f32 = 1.125;
    const REFIT: bool = false;

    #[inline(always)]
    fn split<S: Simd>(s: S, x: &[S::F32; SUB], w: &[S::F32; SUB]) -> Split<S, SUB> {
        Split::whole(s, x, w)
    }

    #[inline(always)]
    fn is_minus(minus: u8, _: usize) -> bool {
        minus == 1
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found) {
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        let (low, words) = block[2..].split_at_mut(32);
        for (low, point) in low.iter_mut().zip(found.points) {
            *low = point as u8;
        }
        let subs = found.scales.iter().zip(&found.minus).zip(found.points.as_chunks::<4>().0);
        for (word, ((&scale, &minus), points)) in words.as_chunks_mut::<2>().0.iter_mut().zip(subs) {
            let high = points.iter().rev().fold(0, |word, point| word << 3 | point >> 8);
            *word = (high | u16::from(scale) << 12 | u16::from(minus) << 15).to_le_bytes();
        }
    }
}

impl Decode<BYTES, LEN> for Iq1S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, words) = block[2..].split_at(32);
        let words = words.as_chunks::<2>().0;
        for (half, (out, low)) in out.as_chunks_mut().0.iter_mut().zip(low.as_chunks::<2>().0).enumerate() {
            let word = u16::from_le_bytes(words[half / 2]);
            let scale = s.mul(d, s.splat(f32::from(2 * (word >> 12 & 7) + 1)));
            let high = word >> (half % 2 * 6);
            let points = [u16::from(low[0]) | (high & 7) << 8, u16::from(low[1]) | (high >> 3 & 7) << 8];
            ternary_points::decode(s, points, [word >> 15 == 1; 2], scale, out);
        }
    }
}
