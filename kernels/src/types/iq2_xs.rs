//! IQ2_XS: 16 sub-blocks of 16 weights, 2-bit levels on a grid of 512 points, 4-bit scales.
//!
//! Bytes of a block: `d` (f16); for each group of 8 weights a word with its point in 9 bits and 7 bits of signs above; 8
//! bytes that hold scales `2 i` (low) and `2 i + 1` (high). An even number of signs of a group is negative, so that the
//! eighth one follows.

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
const BYTES: usize = 74;

/// Importance is needed: without it the reference refuses.
#[cfg(feature = "std")]
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    grid_block::quantize::<Iq2Xs>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq2Xs, BYTES, LEN>(level, src, dst);
}

struct Iq2Xs;

#[cfg(feature = "std")]
impl GridBlock for Iq2Xs {
    type Grid = grid::Grid2Of512;
    const BYTES: usize = BYTES;
    const RULES: Rules = Rules { len: 16, steps: 9, delta: 0.1, refine: Refine::Moved };
    const EVEN_SIGNS: bool = true;
    const VARIANCE_FACTOR: f32 = 1.0;
    const EPSILON: f32 = 1e-15;
    const SEARCH_FIRST: bool = false;
    const FACTOR: f32 = 1.0;

    #[inline(always)]
    fn plain<S: Simd>(_: S, _: S::F32, _: S::F32) -> S::F32 {
        panic!("IQ2_XS needs importance")
    }

    #[inline(always)]
    fn store(block: &mut [u8], found: &Found<Self::Grid>) {
        if found.flat {
            return;
        }
        block[..2].copy_from_slice(&found.d.to_le_bytes());
        let (words, scales) = block[2..].split_at_mut(64);
        let groups = found.points.iter().zip(found.signs);
        for (word, (point, signs)) in words.as_chunks_mut::<2>().0.iter_mut().zip(groups) {
            *word = (point | u16::from(signs & 127) << 9).to_le_bytes();
        }
        grid_block::store_scales(&found.scales, scales);
    }
}

impl Decode<BYTES, LEN> for Iq2Xs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let (words, scales) = block[2..].split_at(64);
        let subs = out.as_chunks_mut().0.iter_mut().zip(words.as_chunks::<4>().0);
        for (sub, (out, &[a, b, c, d0])) in subs.enumerate() {
            let scale = f32::from(scales[sub / 2] >> (sub % 2 * 4) & 15);
            let scale = s.mul(s.mul(d, s.splat(0.5 + scale)), s.splat(0.25));
            let words = [[a, b], [c, d0]].map(u16::from_le_bytes);
            let values = words.map(|word| grid::IQ2_XS[usize::from(word & 511)]);
            let signs = words.map(|word| signed_points::even(u32::from(word >> 9)));
            signed_points::decode(s, values, signs, scale, out);
        }
    }
}
