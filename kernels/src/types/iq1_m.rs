//! IQ1_M: 16 sub-blocks of 16 weights, levels -1, 0 and 1 on a grid of 2048 points, 3-bit scales.
//!
//! Bytes of a block: 32 with the low 8 bits of the points of the groups of 8 weights; for each sub-block one with two halves
//! that hold the high 3 bits of a group's point and whether its levels are lessened by an eighth instead of being raised; 4
//! words with four scales each, the first one lowest, and above them four bits of `d` (f16), the lowest first.

use super::decode::{self, Decode, f16};
use super::ternary_points;
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 56;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq1M, BYTES, LEN>(level, src, dst);
}

struct Iq1M;

impl Decode<BYTES, LEN> for Iq1M {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (low, high, words) = (&block[..32], &block[32..48], block[48..].as_chunks::<2>().0);
        let mut d = 0;
        for (i, &word) in words.iter().enumerate() {
            d |= u16::from_le_bytes(word) >> 12 << (4 * i);
        }
        let d = f16(s, &d.to_le_bytes());
        for (group, (out, &low)) in out.as_chunks_mut::<8>().0.iter_mut().zip(low).enumerate() {
            let scale = u16::from_le_bytes(words[group / 8]) >> (group / 2 % 4 * 3) & 7;
            let high = high[group / 2] >> (group % 2 * 4);
            let point = usize::from(low) | usize::from(high & 7) << 8;
            ternary_points::decode(point, high & 8 == 8, d * f32::from(2 * scale + 1), out);
        }
    }
}
