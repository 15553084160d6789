//! What IQ1_S and IQ1_M share: groups of 8 weights that are points of a [grid](crate::grid) of the levels -1, 0 and 1, moved
//! by an eighth either way.

use crate::grid;

/// Writes the 8 weights of a point; the eighth is taken away if `minus`.
#[inline(always)]
pub(super) fn decode(point: usize, minus: bool, scale: f32, out: &mut [f32; 8]) {
    let delta = if minus { -0.125 } else { 0.125 };
    for (x, &level) in out.iter_mut().zip(&grid::IQ1[point]) {
        *x = scale * (f32::from(level) + delta);
    }
}
