//! IQ2_XS: 16 sub-blocks of 16 weights, 2-bit levels on a grid of 512 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); for each group of 8 weights a word with its point in 9 bits and 7 bits of signs above; 8
//! bytes that hold scales `2 i` (low) and `2 i + 1` (high). An even number of signs of a group is negative, so that the
//! eighth one follows.

use super::decode::{self, Decode, f16};
use super::signed_points;
use crate::Level;
use crate::grid;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 74;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2Xs, BYTES, LEN>(level, src, dst);
}

struct Iq2Xs;

impl Decode<BYTES, LEN> for Iq2Xs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (words, scales) = block[2..].split_at(64);
        let groups = out.as_chunks_mut::<8>().0.iter_mut().zip(words.as_chunks::<2>().0);
        for (group, (out, word)) in groups.enumerate() {
            let scale = scales[group / 4] >> (group / 2 % 2 * 4) & 15;
            let word = u16::from_le_bytes(*word);
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let signs = signed_points::even(u32::from(word >> 9));
            signed_points::decode(grid::IQ2_XS[usize::from(word & 511)], signs, scale, out);
        }
    }
}
