//! What follows when all steps of a super-block have been tried: the best ones, and fits to their scales. Here a lane holds a
//! sub-block.

use super::steps::{level, shift};
use super::{ALL, Fits, GROUPS, LEN, Magnitudes, OnGrid, ROOM, Refine, Rules, STEPS, SUBS, margin_of, reach, sums};
use crate::grid::{Grid, Place};
use crate::simd::{Simd, TILE};

impl<G: Grid, S: Simd> OnGrid<G, S> {
    /// Decides for steps of a vector of sub-blocks, fits groups to their scales, and then the scales to all groups.
    #[inline(always)]
    pub(super) fn settle(&mut self, s: S, rules: Rules, numbers: Magnitudes, first: usize, fits: &mut Fits) {
        let steps = self.best_steps(s, rules, first, fits);
        let refined = self.take(rules, first, &steps, fits);
        if refined != [0; ROOM] {
            self.refine(s, rules, numbers, first, &refined, fits);
            self.rescale(s, rules, numbers, first, &refined, fits);
        }
    }

    /// The best steps, or -1 where none is better than none. Sets the scales to theirs.
    #[inline(always)]
    fn best_steps(&self, s: S, rules: Rules, first: usize, fits: &mut Fits) -> [i32; ROOM] {
        let count = 2 * rules.steps + 1;
        let start = |lane: usize| (first + lane).min(SUBS - 1) * STEPS;
        let [mut sum_qx, mut sum_q2] = [[s.splat(0.0); STEPS]; 2];
        s.transpose(&self.sums[0], start, &mut sum_qx[..count.next_multiple_of(TILE)]);
        s.transpose(&self.sums[1], start, &mut sum_q2[..count.next_multiple_of(TILE)]);
        let (mut best, mut scale, mut step) = (s.splat(0.0), s.load(&fits.scales[first..]), s.splat_i32(-1));
        for (at, (&sum_qx, &sum_q2)) in sum_qx[..count].iter().zip(&sum_q2[..count]).enumerate() {
            let lowers = s.gt(s.mul(sum_qx, sum_qx), s.mul(best, sum_q2));
            let better = s.and(s.gt(sum_q2, s.splat(0.0)), lowers);
            let fit = s.div(sum_qx, sum_q2);
            scale = s.select(better, fit, scale);
            best = s.select(better, s.mul(fit, sum_qx), best);
            step = s.select_i32(better, s.splat_i32(at as i32), step);
        }
        s.store(scale, &mut fits.scales[first..]);
        let mut steps = [-1; ROOM];
        s.store_i32(step, &mut steps);
        steps
    }

    /// Takes the levels of these steps. Returns a bit for each group that is to be fitted, by lane.
    #[inline(always)]
    fn take(&self, rules: Rules, first: usize, steps: &[i32; ROOM], fits: &mut Fits) -> [u32; ROOM] {
        let (groups, subs) = (rules.len / G::DIMS, ALL / rules.len);
        let mut refined = [0; ROOM];
        for (lane, sub) in (first..subs.min(first + S::LANES)).enumerate() {
            if fits.searched >> sub & 1 == 0 {
                continue;
            }
            // Without a step the levels are all zero, which is a point of every grid.
            let mut moved = if steps[lane] < 0 && rules.refine == Refine::AllIfMoved { !0 } else { 0 };
            if let Ok(step) = usize::try_from(steps[lane]) {
                for (group, of_all) in (sub * groups..(sub + 1) * groups).enumerate() {
                    fits.codes[group][sub] = self.chosen[of_all][step];
                    moved |= (!self.points[of_all] >> step & 1) << group;
                }
            }
            refined[lane] = match rules.refine {
                _ if fits.scales[sub] <= 0.0 || fits.scales[sub].is_nan() => 0,
                Refine::All => !0,
                Refine::AllIfMoved if moved != 0 => !0,
                _ => moved,
            };
        }
        refined
    }

    /// Fits groups to the scales.
    #[inline(always)]
    fn refine(
        &mut self,
        s: S,
        rules: Rules,
        numbers: Magnitudes,
        first: usize,
        refined: &[u32; ROOM],
        fits: &mut Fits,
    ) {
        let groups = rules.len / G::DIMS;
        let mut x = [s.splat(0.0); LEN];
        s.transpose(numbers.x, starts(rules, first), &mut x[..rules.len]);
        let inverse = s.div(s.splat(1.0), s.load(&fits.scales[first..]));
        for (group, x) in x[..rules.len].chunks_exact(G::DIMS).enumerate() {
            let mut levels = s.splat_i32(0);
            for &x in x.iter().rev() {
                levels = s.add_i32(shift::<G, S>(s, levels), level::<G, S>(s, s.mul(inverse, x)));
            }
            let mut rounded = [0; ROOM];
            s.store_i32(levels, &mut rounded);
            for lane in (0..S::LANES).filter(|&lane| refined[lane] >> group & 1 == 1) {
                let sub = first + lane;
                fits.codes[group][sub] =
                    self.nearest(s, numbers, [sub, sub * groups + group], fits.scales[sub], rounded[lane]);
            }
        }
    }

    /// The levels of a group for a scale, where `rounded` are those by rounding alone.
    #[inline(always)]
    fn nearest(&mut self, s: S, numbers: Magnitudes, [sub, group]: [usize; 2], scale: f32, rounded: i32) -> i32 {
        match self.neighbours.place(rounded as u16) {
            Place::Point(_) => rounded,
            Place::Between(near) => {
                let target = numbers.target::<G>(group);
                self.shares.set::<G, S>(s, target);
                self.survey.set::<G, S>(s, &self.shares, near);
                // Scales are seldom greater than those tried.
                let greater = (scale / self.greatest[sub]).max(1.0);
                let margin = margin_of(reach::<G>(&self.reaches, group) * (greater * greater), scale);
                self.survey.nearest::<G, S>(s, target, scale, margin)
            }
        }
    }

    /// Fits the scales to the levels of all groups.
    #[inline(always)]
    fn rescale(&self, s: S, rules: Rules, numbers: Magnitudes, first: usize, refined: &[u32; ROOM], fits: &mut Fits) {
        let groups = rules.len / G::DIMS;
        let [mut wx, mut w] = [[s.splat(0.0); LEN]; 2];
        s.transpose(numbers.wx, starts(rules, first), &mut wx[..rules.len]);
        s.transpose(numbers.w, starts(rules, first), &mut w[..rules.len]);
        let mut levels = [s.splat_i32(0); GROUPS];
        for (levels, codes) in levels[..groups].iter_mut().zip(&fits.codes) {
            *levels = s.load_i32(&codes[first..]);
        }
        let [sum_qx, sum_q2] = sums::<G, S>(
            s,
            &levels[..groups],
            #[inline(always)]
            |i| [wx[i], w[i]],
        );
        let fitted = (0..S::LANES).fold(0, |bits, lane| bits | u32::from(refined[lane] != 0) << lane);
        let better = s.and(s.mask(fitted), s.gt(sum_q2, s.splat(0.0)));
        let scale = s.select(better, s.div(sum_qx, sum_q2), s.load(&fits.scales[first..]));
        s.store(scale, &mut fits.scales[first..]);
    }
}

/// Where the sub-block of a lane starts; the last one is repeated.
fn starts(rules: Rules, first: usize) -> impl Fn(usize) -> usize {
    move |lane| (first + lane).min(ALL / rules.len - 1) * rules.len
}
