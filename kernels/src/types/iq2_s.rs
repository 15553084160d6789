//! IQ2_S: 16 sub-blocks of 16 weights, 2-bit levels on a grid of 1024 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 32 with the low 8 bits of the points of the groups of 8 weights; 32 with their signs; 8 with
//! the high 2 bits of four points each, those of the first one lowest; 8 that hold scales `2 i` (low) and `2 i + 1` (high).

use super::decode::{self, Decode, f16};
use super::signed_points;
use crate::Level;
use crate::grid;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 82;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2S, BYTES, LEN>(level, src, dst);
}

struct Iq2S;

impl Decode<BYTES, LEN> for Iq2S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
        for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = scales[group / 4] >> (group / 2 % 2 * 4) & 15;
            let high = high[group / 4] >> (group % 4 * 2) & 3;
            let scale = d * (0.5 + f32::from(scale)) * 0.25;
            let point = usize::from(low[group]) | usize::from(high) << 8;
            signed_points::decode(grid::IQ2_S[point], signs[group], scale, out);
        }
    }
}
