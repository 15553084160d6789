//! IQ3_S: 8 sub-blocks of 32 weights, 3-bit levels on a grid of 512 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 64 with the low 8 bits of the points of the groups of 4 weights; 8 with the ninth bit of eight
//! points each, that of the first one lowest; 32 with the signs; 4 that hold scales `2 i` (low) and `2 i + 1` (high).

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
const BYTES: usize = 110;

#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    grid_block::quantize::<Iq3S>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq3S, BYTES, LEN>(level, src, dst);
}

struct Iq3S;

#[cfg(feature = "std")]
impl GridBlock for Iq3S {
    type Grid = grid::Grid3Of512;
    const BYTES: usize = BYTES;
    const RULES: Rules = Rules { len: 32, steps: 9, delta: 0.2, refine: Refine::AllIfMoved };
    const EVEN_SIGNS: bool = false;
    const VARIANCE_FACTOR: f32 = 2.0;
    const EPSILON: f32 = f32::from_bits(1);
    const SEARCH_FIRST: bool = false;
    const FACTOR: f32 = 1.033;

    #[inline(always)]
    fn plain<S: Simd>(s: S, x: S::F32, _: S::F32) -> S::F32 {
        s.mul(x, x)
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found<Self::Grid>) {
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        for (group, &point) in found.points.iter().enumerate() {
            block[66 + group / 8] |= ((point >> 8) as u8) << (group % 8);
        }
        // The reference does not leave room for empty sub-blocks here: what follows one moves up, and is decoded as other
        // weights than it was made from. Equal bytes are worth more than better ones.
        let searched = (0..8).filter(|sub| found.empty >> sub & 1 == 0);
        for (at, sub) in searched.enumerate() {
            for i in 0..8 {
                block[2 + 8 * at + i] = found.points[8 * sub + i] as u8;
            }
            block[74 + 4 * at..][..4].copy_from_slice(&found.signs[4 * sub..][..4]);
        }
        grid_block::store_scales(&found.scales, &mut block[106..]);
    }
}

impl Decode<BYTES, LEN> for Iq3S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, high, signs, scales) = (&block[2..66], &block[66..74], &block[74..106], &block[106..]);
        let halves = low.as_chunks::<4>().0.iter().zip(signs.as_chunks().0).zip(out.as_chunks_mut().0);
        for (half, ((low, &signs), out)) in halves.enumerate() {
            let scale = scales[half / 4] >> (half / 2 % 2 * 4) & 15;
            let scale = s.mul(d, s.splat(f32::from(1 + 2 * scale)));
            let ninths = u16::from(high[half / 2] >> (half % 2 * 4));
            let point = |i: usize| &grid::IQ3_S[usize::from(u16::from(low[i]) | (ninths >> i & 1) << 8)];
            let values = [signed_points::pair(point(0), point(1)), signed_points::pair(point(2), point(3))];
            signed_points::decode(s, values, signs, scale, out);
        }
    }
}
