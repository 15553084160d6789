//! What IQ1_S and IQ1_M share: groups of 8 weights that are points of a [grid](crate::grid) of the levels -1, 0 and 1, moved
//! by an eighth either way.

use crate::grid;
use crate::simd::Simd;

/// Writes the weights of two points; an eighth is taken away where `minus` instead of added.
#[inline(always)]
pub(super) fn decode<S: Simd>(s: S, points: [u16; 2], minus: [bool; 2], scale: S::F32, out: &mut [f32; 16]) {
    let levels = points.map(|point| grid::IQ1[usize::from(point)].map(|level| level as u8));
    let minus = (u32::from(minus[0]) * 0x00ff) | (u32::from(minus[1]) * 0xff00);
    let vectors = levels.as_flattened().chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES));
    for (i, (levels, out)) in vectors.enumerate() {
        let delta = s.select(s.mask(minus >> (i * S::LANES)), s.splat(-0.125), s.splat(0.125));
        s.store(s.mul(scale, s.add(s.to_f32(s.load_i8(levels)), delta)), out);
    }
}
