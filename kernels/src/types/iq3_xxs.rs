//! IQ3_XXS: 8 sub-blocks of 32 weights, 3-bit levels on a grid of 256 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 64 with the points of the groups of 4 weights; for each sub-block a word with 7 bits of signs
//! for 8 weights each, the first ones lowest, and the scale above them. Of 8 weights an even number is negative, so that the
//! eighth sign follows.

use super::decode::{self, Decode, f16};
#[cfg(feature = "std")]
use super::grid_block::{self, Found, GridBlock};
use super::signed_points;
use crate::Level;
use crate::grid;
#[cfg(feature = "std")]
use crate::search::{Refine, Rules};
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 98;

#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    grid_block::quantize::<Iq3Xxs>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq3Xxs, BYTES, LEN>(level, src, dst);
}

struct Iq3Xxs;

#[cfg(feature = "std")]
impl GridBlock for Iq3Xxs {
    type Grid = grid::Grid3Of256;
    const BYTES: usize = BYTES;
    const RULES: Rules = Rules { len: 32, steps: 15, delta: 0.2, refine: Refine::Moved };
    const EVEN_SIGNS: bool = true;
    const VARIANCE_FACTOR: f32 = 2.0;
    const EPSILON: f32 = 1e-8;
    const SEARCH_FIRST: bool = false;
    const FACTOR: f32 = 1.0125;

    #[inline(always)]
    fn plain<S: Simd>(s: S, x: S::F32, _: S::F32) -> S::F32 {
        s.mul(x, x)
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found<Self::Grid>) {
        if found.flat {
            return;
        }
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        let (points, words) = block[2..].split_at_mut(64);
        for (byte, &point) in points.iter_mut().zip(&found.points) {
            *byte = point as u8;
        }
        let subs = found.scales.iter().zip(found.signs.as_chunks::<4>().0);
        for (word, (&scale, signs)) in words.as_chunks_mut::<4>().0.iter_mut().zip(subs) {
            let signs = signs.iter().rev().fold(0, |word, signs| word << 7 | u32::from(signs & 127));
            *word = (u32::from(scale) << 28 | signs).to_le_bytes();
        }
    }
}

impl Decode<BYTES, LEN> for Iq3Xxs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (points, words) = block[2..].split_at(64);
        let words = words.as_chunks::<4>().0;
        let halves = out.as_chunks_mut().0.iter_mut().zip(points.as_chunks::<4>().0);
        for (half, (out, points)) in halves.enumerate() {
            let word = u32::from_le_bytes(words[half / 2]);
            let scale = s.mul(s.mul(d, s.splat(0.5 + (word >> 28) as f32)), s.splat(0.5));
            let [a, b, c, d] = points.map(|point| &grid::IQ3_XXS[usize::from(point)]);
            let signs = [word >> (half % 2 * 14), word >> (half % 2 * 14 + 7)].map(signed_points::even);
            signed_points::decode(s, [signed_points::pair(a, b), signed_points::pair(c, d)], signs, scale, out);
        }
    }
}
