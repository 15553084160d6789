//! IQ1_M: 16 sub-blocks of 16 weights, levels -1, 0 and 1 on a grid of 2048 points, 3-bit scales.
//!
//! Bytes of a block: 32 with the low 8 bits of the points of the groups of 8 weights; for each sub-block one with two halves
//! that hold the high 3 bits of a group's point and whether its levels are lessened by an eighth instead of being raised; 4
//! words with four scales each, the first one lowest, and above them four bits of `d` (f16), the lowest first.

use super::decode::{self, Decode, f16};
#[cfg(feature = "std")]
use super::ternary_block::{self, Found, TernaryBlock};
use super::ternary_points;
use crate::Level;
#[cfg(feature = "std")]
use crate::search::Split;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 56;

/// Weights of a sub-block.
#[cfg(feature = "std")]
const SUB: usize = 16;

#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    ternary_block::quantize::<Iq1M, SUB>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq1M, BYTES, LEN>(level, src, dst);
}

struct Iq1M;

#[cfg(feature = "std")]
impl TernaryBlock<SUB> for Iq1M {
    const BYTES: usize = BYTES;
    const EPSILON: f32 = 1e-7;
    const FACTOR: f32 = 1.1125;
    const REFIT: bool = true;

    #[inline(always)]
    fn split<S: Simd>(s: S, x: &[S::F32; SUB], w: &[S::F32; SUB]) -> Split<S, SUB> {
        Split::halves(s, x, w)
    }

    #[inline(always)]
    fn is_minus(minus: u8, group: usize) -> bool {
        minus >> (1 - group % 2) & 1 == 1
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found) {
        let (low, rest) = block.split_at_mut(32);
        let (high, words) = rest.split_at_mut(16);
        for (low, point) in low.iter_mut().zip(found.points) {
            *low = point as u8;
        }
        for (high, (&[a, b], &minus)) in high.iter_mut().zip(found.points.as_chunks::<2>().0.iter().zip(&found.minus)) {
            *high = (a >> 8 | b >> 8 << 4) as u8 | (minus >> 1) << 3 | (minus & 1) << 7;
        }
        let scales = found.scales.as_chunks::<4>().0.iter().enumerate();
        for (word, (i, scales)) in words.as_chunks_mut::<2>().0.iter_mut().zip(scales) {
            let scales = scales.iter().rev().fold(0, |word, &scale| word << 3 | u16::from(scale));
            *word = (scales | (found.d >> (4 * i) & 15) << 12).to_le_bytes();
        }
    }
}

impl Decode<BYTES, LEN> for Iq1M {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (low, high, words) = (&block[..32], &block[32..48], block[48..].as_chunks::<2>().0);
        let mut d = 0;
        for (i, &word) in words.iter().enumerate() {
            d |= u16::from_le_bytes(word) >> 12 << (4 * i);
        }
        let d = f16(s, &d.to_le_bytes());
        let subs = low.as_chunks::<2>().0.iter().zip(high).zip(out.as_chunks_mut().0);
        for (sub, ((low, &high), out)) in subs.enumerate() {
            let scale = u16::from_le_bytes(words[sub / 4]) >> (sub % 4 * 3) & 7;
            let scale = s.mul(d, s.splat(f32::from(2 * scale + 1)));
            let points =
                [u16::from(low[0]) | u16::from(high & 7) << 8, u16::from(low[1]) | u16::from(high >> 4 & 7) << 8];
            ternary_points::decode(s, points, [high & 8 != 0, high & 128 != 0], scale, out);
        }
    }
}
