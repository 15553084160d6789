//! IQ2_XXS: 8 sub-blocks of 32 weights, 2-bit levels on a grid of 256 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16), then for each sub-block 4 with the points of its groups of 8 weights, and a word with 7 bits
//! of signs for each group, those of the first one lowest, and the scale above them. An even number of signs of a group is
//! negative, so that the eighth one follows.

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
const BYTES: usize = 66;

/// Importance is needed: without it the reference refuses.
#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    grid_block::quantize::<Iq2Xxs>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2Xxs, BYTES, LEN>(level, src, dst);
}

struct Iq2Xxs;

#[cfg(feature = "std")]
impl GridBlock for Iq2Xxs {
    type Grid = grid::Grid2Of256;
    const BYTES: usize = BYTES;
    const RULES: Rules = Rules { len: 32, steps: 6, delta: 0.1, refine: Refine::All };
    const EVEN_SIGNS: bool = true;
    const VARIANCE_FACTOR: f32 = 1.0;
    const EPSILON: f32 = 1e-15;
    const SEARCH_FIRST: bool = true;
    const FACTOR: f32 = 1.0;

    #[inline(always)]
    fn plain<S: Simd>(_: S, _: S::F32, _: S::F32) -> S::F32 {
        panic!("IQ2_XXS needs importance")
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found<Self::Grid>) {
        if found.flat {
            return;
        }
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        let subs = block[2..].as_chunks_mut::<8>().0.iter_mut().zip(found.scales);
        let groups = found.points.as_chunks::<4>().0.iter().zip(found.signs.as_chunks::<4>().0);
        for ((bytes, scale), (points, signs)) in subs.zip(groups) {
            let mut word = u32::from(scale) << 28;
            for i in 0..4 {
                bytes[i] = points[i] as u8;
                word |= u32::from(signs[i] & 127) << (7 * i);
            }
            bytes[4..].copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl Decode<BYTES, LEN> for Iq2Xxs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let subs = out.as_chunks_mut::<32>().0.iter_mut().zip(block[2..].as_chunks::<8>().0);
        for (out, &[a, b, c, d0, e, f, g, h]) in subs {
            let word = u32::from_le_bytes([e, f, g, h]);
            let scale = s.mul(s.mul(d, s.splat(0.5 + (word >> 28) as f32)), s.splat(0.25));
            for (i, (out, points)) in out.as_chunks_mut().0.iter_mut().zip([[a, b], [c, d0]]).enumerate() {
                let values = points.map(|point| grid::IQ2_XXS[usize::from(point)]);
                let signs = [word >> (14 * i), word >> (14 * i + 7)].map(signed_points::even);
                signed_points::decode(s, values, signs, scale, out);
            }
        }
    }
}
