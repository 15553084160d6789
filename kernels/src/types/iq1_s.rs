//! IQ1_S: 8 sub-blocks of 32 weights, levels -1, 0 and 1 on a grid of 2048 points, 3-bit scales.
//!
//! Bytes of a block: `d` (f16); 32 with the low 8 bits of the points of the groups of 8 weights; for each sub-block a word
//! with the high 3 bits of its points, those of the first one lowest, the scale, and whether levels are lessened by an
//! eighth instead of being raised.

use super::decode::{self, Decode, f16};
use super::ternary_points;
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 50;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq1S, BYTES, LEN>(level, src, dst);
}

struct Iq1S;

impl Decode<BYTES, LEN> for Iq1S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, words) = block[2..].split_at(32);
        let words = words.as_chunks::<2>().0;
        for (group, (out, &low)) in out.as_chunks_mut::<8>().0.iter_mut().zip(low).enumerate() {
            let word = u16::from_le_bytes(words[group / 4]);
            let scale = d * f32::from(2 * (word >> 12 & 7) + 1);
            let high = word >> (group % 4 * 3) & 7;
            ternary_points::decode(usize::from(low) | usize::from(high) << 8, word >> 15 == 1, scale, out);
        }
    }
}
