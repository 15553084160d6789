//! IQ3_XXS: 8 sub-blocks of 32 weights, 3-bit levels on a grid of 256 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 64 with the points of the groups of 4 weights; for each sub-block a word with 7 bits of signs
//! for 8 weights each, the first ones lowest, and the scale above them. Of 8 weights an even number is negative, so that the
//! eighth sign follows.

use super::decode::{self, Decode, f16};
use super::signed_points;
use crate::Level;
use crate::grid;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 98;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq3Xxs, BYTES, LEN>(level, src, dst);
}

struct Iq3Xxs;

impl Decode<BYTES, LEN> for Iq3Xxs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (points, words) = block[2..].split_at(64);
        let words = words.as_chunks::<4>().0;
        let groups = out.as_chunks_mut::<8>().0.iter_mut().zip(points.as_chunks::<2>().0);
        for (group, (out, &[first, second])) in groups.enumerate() {
            let word = u32::from_le_bytes(words[group / 4]);
            let scale = d * (0.5 + (word >> 28) as f32) * 0.5;
            let signs = signed_points::even(word >> (group % 4 * 7));
            let values = signed_points::pair(&grid::IQ3_XXS[usize::from(first)], &grid::IQ3_XXS[usize::from(second)]);
            signed_points::decode(values, signs, scale, out);
        }
    }
}
