//! Levels -1, 0 and 1 restricted to points of a grid, group by group of 8, for a scale that is known.

use super::nearest::{LevelValues, Shares, Survey, Target, margin};
use crate::grid::{Grid, Grid1Of2048, Neighbours, Place};
use crate::simd::Simd;

/// Numbers of a group.
const DIMS: usize = Grid1Of2048::DIMS;

/// A sub-block with the levels that fit it without the grid.
pub(crate) struct Ternary<'a> {
    pub x: &'a [f32],
    /// What numbers count.
    pub w: &'a [f32],
    /// Plus 1, by group.
    pub codes: &'a [u16],
    /// Whether a group's levels are moved down by an eighth instead of up.
    pub minus: &'a [bool],
    pub scale: f32,
}

/// What a search works with; to be used again and again, as it takes time to clear.
pub(crate) struct OnTernary {
    neighbours: &'static Neighbours,
    survey: Survey,
    shares: Shares,
}

impl OnTernary {
    #[inline(always)]
    pub fn new() -> Self {
        OnTernary { neighbours: Grid1Of2048::neighbours(), survey: Survey::new(), shares: Shares::ZERO }
    }

    /// Writes the index of each group's point; the result is the scale that fits them.
    #[inline(always)]
    pub fn search<S: Simd>(&mut self, s: S, block: Ternary, points: &mut [u16]) -> f32 {
        static VALUES: [LevelValues; 2] =
            [LevelValues::new(&[-0.875, 0.125, 1.125]), LevelValues::new(&[-1.125, -0.125, 0.875])];
        let targets = block.x.as_chunks::<DIMS>().0.iter().zip(block.w.as_chunks::<DIMS>().0).zip(block.minus);
        let mut scale = block.scale;
        let mut moved = false;
        let [mut sum_qx, mut sum_q2] = [0.0; 2];
        for (((x, w), &minus), (&code, point)) in targets.zip(block.codes.iter().zip(points)) {
            let values = &VALUES[usize::from(minus)];
            let mut levels = code;
            *point = match self.neighbours.place(code) {
                Place::Point(index) => index,
                Place::Between(near) => {
                    moved = true;
                    let target = Target { x, w, values };
                    self.shares.set::<Grid1Of2048, S>(s, target);
                    self.survey.set::<Grid1Of2048, S>(s, &self.shares, near);
                    let reach = x.iter().zip(w).map(|(x, w)| w * (1.125 * scale + x.abs()) * (1.125 * scale + x.abs()));
                    let margin = margin(reach.sum(), scale);
                    levels = self.survey.nearest::<Grid1Of2048, S>(s, target, scale, margin) as u16;
                    self.neighbours.index(levels)
                }
            };
            for (x, w) in x.iter().zip(w) {
                let q = values.first[usize::from(levels & 3)];
                sum_qx += w * q * x;
                sum_q2 += w * q * q;
                levels >>= 2;
            }
        }
        if moved && sum_qx > 0.0 && sum_q2 > 0.0 {
            scale = sum_qx / sum_q2;
        }
        scale
    }
}
