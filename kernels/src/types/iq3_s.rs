//! IQ3_S: 8 sub-blocks of 32 weights, 3-bit levels on a grid of 512 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 64 with the low 8 bits of the points of the groups of 4 weights; 8 with the ninth bit of eight
//! points each, that of the first one lowest; 32 with the signs; 4 that hold scales `2 i` (low) and `2 i + 1` (high).

use super::decode::{self, Decode, f16};
use super::signed_points;
use crate::Level;
use crate::grid;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 110;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq3S, BYTES, LEN>(level, src, dst);
}

struct Iq3S;

impl Decode<BYTES, LEN> for Iq3S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
        for (eight, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let scale = scales[eight / 8] >> (eight / 4 % 2 * 4) & 15;
            let scale = d * f32::from(1 + 2 * scale);
            let [first, second] = [2 * eight, 2 * eight + 1].map(|group| {
                let ninth = high[group / 8] >> (group % 8) & 1;
                &grid::IQ3_S[usize::from(low[group]) | usize::from(ninth) << 8]
            });
            signed_points::decode(signed_points::pair(first, second), signs[eight], scale, out);
        }
    }
}
