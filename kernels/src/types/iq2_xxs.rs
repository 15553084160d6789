//! IQ2_XXS: 8 sub-blocks of 32 weights, 2-bit levels on a grid of 256 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16), then for each sub-block 4 with the points of its groups of 8 weights, and a word with 7 bits
//! of signs for each group, those of the first one lowest, and the scale above them. An even number of signs of a group is
//! negative, so that the eighth one follows.

use super::decode::{self, Decode, f16};
use super::signed_points;
use crate::Level;
use crate::grid;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 66;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2Xxs, BYTES, LEN>(level, src, dst);
}

struct Iq2Xxs;

impl Decode<BYTES, LEN> for Iq2Xxs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let subs = out.as_chunks_mut::<8>().0.as_chunks_mut::<4>().0.iter_mut().zip(block[2..].as_chunks::<8>().0);
        for (groups, &[a, b, c, d0, e, f, g, h]) in subs {
            let word = u32::from_le_bytes([e, f, g, h]);
            let scale = d * (0.5 + (word >> 28) as f32) * 0.25;
            for (i, (out, point)) in groups.iter_mut().zip([a, b, c, d0]).enumerate() {
                let signs = signed_points::even(word >> (7 * i));
                signed_points::decode(grid::IQ2_XXS[usize::from(point)], signs, scale, out);
            }
        }
    }
}
