//! IQ2_S: 16 sub-blocks of 16 weights, 2-bit levels on a grid of 1024 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); 32 with the low 8 bits of the points of the groups of 8 weights; 32 with their signs; 8 with
//! the high 2 bits of four points each, those of the first one lowest; 8 that hold scales `2 i` (low) and `2 i + 1` (high).

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
const BYTES: usize = 82;

#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    grid_block::quantize::<Iq2S>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2S, BYTES, LEN>(level, src, dst);
}

struct Iq2S;

#[cfg(feature = "std")]
impl GridBlock for Iq2S {
    type Grid = grid::Grid2Of1024;
    const BYTES: usize = BYTES;
    const RULES: Rules = Rules { len: 16, steps: 9, delta: 0.1, refine: Refine::Moved };
    const EVEN_SIGNS: bool = false;
    const VARIANCE_FACTOR: f32 = 2.0;
    const EPSILON: f32 = 1e-8;
    const SEARCH_FIRST: bool = false;
    const FACTOR: f32 = 0.9875;

    #[inline(always)]
    fn plain<S: Simd>(s: S, x: S::F32, variance: S::F32) -> S::F32 {
        s.add(s.mul(s.splat(0.25), variance), s.mul(x, x))
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found<Self::Grid>) {
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        for (group, &point) in found.points[..32].iter().enumerate() {
            block[2 + group] = point as u8;
            block[66 + group / 4] |= ((point >> 8) as u8) << (group % 4 * 2);
        }
        block[34..66].copy_from_slice(&found.signs);
        grid_block::store_scales(&found.scales, &mut block[74..]);
    }
}

impl Decode<BYTES, LEN> for Iq2S {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (low, signs, high, scales) = (&block[2..34], &block[34..66], &block[66..74], &block[74..]);
        let subs = low.as_chunks::<2>().0.iter().zip(signs.as_chunks().0).zip(out.as_chunks_mut().0);
        for (sub, ((low, &signs), out)) in subs.enumerate() {
            let scale = f32::from(scales[sub / 2] >> (sub % 2 * 4) & 15);
            let scale = s.mul(s.mul(d, s.splat(0.5 + scale)), s.splat(0.25));
            let high = u16::from(high[sub / 2] >> (sub % 2 * 4));
            let points = [u16::from(low[0]) | (high & 3) << 8, u16::from(low[1]) | (high >> 2 & 3) << 8];
            let values = points.map(|point| grid::IQ2_S[usize::from(point)]);
            signed_points::decode(s, values, signs, scale, out);
        }
    }
}
