//! One scale for magnitudes whose levels are points of a grid group by group: `x ~ scale * (2 level + 1)`
//! (`quantize_row_iq2_xxs_impl` and the like).

mod settle;
mod steps;

use super::nearest::{LevelValues, Shares, Survey, Target, margin as margin_of};
use crate::grid::{Grid, Neighbours, Place};
use crate::simd::Simd;
use core::marker::PhantomData;
use steps::Steps;

/// Numbers of a super-block.
const ALL: usize = 256;
/// The most sub-blocks of it.
pub(crate) const SUBS: usize = 16;
/// The most numbers of a sub-block.
const LEN: usize = 32;
/// The most groups of a sub-block.
pub(crate) const GROUPS: usize = 8;
/// The most groups of a super-block.
const ALL_GROUPS: usize = 64;
/// Room for the inverse scales that are tried.
const STEPS: usize = 32;

/// Which groups are fitted to the scale that was found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refine {
    /// Those whose levels were not points by themselves.
    Moved,
    /// All, if there is one whose levels were not.
    AllIfMoved,
    All,
}

/// How a sub-block is searched.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    /// Numbers of a sub-block.
    pub len: usize,
    /// Inverse scales are tried from `-steps` to `steps`: such that a number of some size, mostly the largest one, is mapped
    /// to the largest value plus `delta` times the step.
    pub steps: usize,
    pub delta: f32,
    pub refine: Refine,
}

/// A super-block: magnitudes, of which some may be negative, and their weights.
#[derive(Clone, Copy)]
pub(crate) struct Magnitudes<'a> {
    pub x: &'a [f32; ALL],
    pub w: &'a [f32; ALL],
    /// The products of both.
    pub wx: &'a [f32; ALL],
    /// The roots of the weights: what counts in the choice of points.
    pub root: &'a [f32; ALL],
}

impl<'a> Magnitudes<'a> {
    /// A group.
    #[inline(always)]
    fn target<G: Grid>(self, group: usize) -> Target<'a> {
        static THREE: LevelValues = LevelValues::new(&[1.0, 3.0, 5.0]);
        static EIGHT_LEVELS: LevelValues = LevelValues::new(&EIGHT);
        let of_group = group * G::DIMS..(group + 1) * G::DIMS;
        let values = if G::BITS == 2 { &THREE } else { &EIGHT_LEVELS };
        Target { x: &self.x[of_group.clone()], w: &self.root[of_group], values }
    }
}

const EIGHT: [f32; 8] = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0];

/// What is known of sub-blocks before they are searched, and what is found.
pub(crate) struct Fits {
    /// A bit for each sub-block that is to be searched; others may be set beyond the last one.
    pub searched: u32,
    /// The number that is mapped to the largest value.
    pub mapped: [f32; SUBS],
    /// The scale: at first, what it is to be if no step gives a better one than none.
    pub scales: [f32; SUBS],
    /// The levels of each group, by the group and then the sub-block.
    pub codes: [[i32; SUBS]; GROUPS],
}

/// What a search works with; to be used again and again, as it takes time to clear.
pub(crate) struct OnGrid<G, S> {
    neighbours: &'static Neighbours,
    survey: Survey,
    shares: Shares,
    /// The levels of a sub-block's groups for each step, by rounding alone.
    rounded: [[i32; STEPS]; GROUPS],
    /// The levels of each group for each step, with room for a vector more.
    chosen: [[i32; STEPS + ROOM]; ALL_GROUPS],
    /// A bit for each step at which a group's levels were points by themselves.
    points: [u32; ALL_GROUPS],
    /// The sums of `w q x` and `w q q` of each step, by sub-block.
    sums: [[f32; SUBS * STEPS]; 2],
    /// For each number its root of the weight times `(scale |q| + |x|)^2` for the greatest scale and value `q`.
    reaches: [f32; ALL],
    /// The greatest scale of each sub-block.
    greatest: [f32; SUBS],
    grid: PhantomData<(G, S)>,
}

/// The most lanes of a vector.
const ROOM: usize = 16;
/// For so many steps the points near by are compared in lanes, a step at a time; for more of them steps are in lanes.
const FEW: usize = 2;

impl<G: Grid, S: Simd> OnGrid<G, S> {
    #[inline(always)]
    pub fn new() -> Self {
        OnGrid {
            neighbours: G::neighbours(),
            survey: Survey::new(),
            shares: Shares::ZERO,
            rounded: [[0; STEPS]; GROUPS],
            chosen: [[0; STEPS + ROOM]; ALL_GROUPS],
            points: [0; ALL_GROUPS],
            sums: [[0.0; SUBS * STEPS]; 2],
            reaches: [0.0; ALL],
            greatest: [0.0; SUBS],
            grid: PhantomData,
        }
    }

    /// The index of the point that these levels are.
    pub fn index(&self, code: u16) -> u16 {
        self.neighbours.index(code)
    }

    /// Searches the sub-blocks of a super-block.
    #[inline(always)]
    pub fn search(&mut self, s: S, rules: Rules, numbers: Magnitudes, fits: &mut Fits) {
        for sub in 0..ALL / rules.len {
            if fits.searched >> sub & 1 == 1 {
                self.try_steps(s, rules, numbers, sub, fits.mapped[sub]);
            }
        }
        for first in (0..ALL / rules.len).step_by(S::LANES) {
            self.settle(s, rules, numbers, first, fits);
        }
    }

    /// Chooses the points of a sub-block's groups for all steps, and sums up what the fits to them lower the error by.
    #[inline(always)]
    fn try_steps(&mut self, s: S, rules: Rules, numbers: Magnitudes, sub: usize, mapped: f32) {
        let (groups, start) = (rules.len / G::DIMS, sub * rules.len);
        let steps = Steps::<S>::new::<G>(s, rules, mapped, numbers, start, &mut self.reaches);
        self.greatest[sub] = steps.scales[0];
        let mut runs = [Runs { starts: 0, between: 0 }; GROUPS];
        for (group, runs) in runs[..groups].iter_mut().enumerate() {
            *runs = self.round(s, &steps, numbers.target::<G>(sub * groups + group), group);
        }
        for (group, &runs) in runs[..groups].iter().enumerate() {
            let of_all = sub * groups + group;
            self.choose(s, &steps, numbers.target::<G>(of_all), runs, [group, of_all]);
        }
        for at in (0..steps.count).step_by(S::LANES) {
            let mut levels = [s.splat_i32(0); GROUPS];
            for (group, levels) in levels[..groups].iter_mut().enumerate() {
                let of_all = sub * groups + group;
                let points = s.mask(self.points[of_all] >> at);
                let chosen = &mut self.chosen[of_all][at..];
                *levels = s.select_i32(points, s.load_i32(&self.rounded[group][at..]), s.load_i32(chosen));
                s.store_i32(*levels, chosen);
            }
            let [sum_qx, sum_q2] = sums::<G, S>(
                s,
                &levels[..groups],
                #[inline(always)]
                |i| [s.splat(numbers.wx[start + i]), s.splat(numbers.w[start + i])],
            );
            s.store(sum_qx, &mut self.sums[0][sub * STEPS + at..]);
            s.store(sum_q2, &mut self.sums[1][sub * STEPS + at..]);
        }
    }

    /// Works out the levels of a group for all steps by rounding alone.
    #[inline(always)]
    fn round(&mut self, s: S, steps: &Steps<S>, target: Target, group: usize) -> Runs {
        let rounded = &mut self.rounded[group];
        let (mut changes, mut before) = (0, s.splat_i32(-1));
        for vector in 0..steps.vectors {
            let of_steps = steps.levels::<G>(s, vector, target.x);
            s.store_i32(of_steps, &mut rounded[vector * S::LANES..]);
            changes |= s.bits(s.not(s.eq_i32(of_steps, s.after_i32(before, of_steps)))) << (vector * S::LANES);
            before = of_steps;
        }
        let mut runs = Runs { starts: changes & steps.all(), between: 0 };
        let mut left = runs.starts;
        while left != 0 {
            let first = left.trailing_zeros();
            left &= left - 1;
            runs.between |= u32::from(!self.neighbours.is_point(rounded[first as usize] as u16)) << first;
        }
        runs
    }

    /// Chooses the points of a group for all steps at which its levels are no points.
    #[inline(always)]
    fn choose(&mut self, s: S, steps: &Steps<S>, target: Target, runs: Runs, [group, of_all]: [usize; 2]) {
        let (rounded, chosen, points) = (&self.rounded[group], &mut self.chosen[of_all], &mut self.points[of_all]);
        *points = steps.all();
        if runs.between == 0 {
            return;
        }
        self.shares.set::<G, S>(s, target);
        let margin = margin_of(reach::<G>(&self.reaches, of_all), steps.scales[steps.count - 1]);
        let mut left = runs.between;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            left &= left - 1;
            let later = runs.starts & u32::MAX << first << 1;
            let end = (later.trailing_zeros() as usize).min(steps.count);
            *points &= !((u32::MAX >> (STEPS - (end - first))) << first);
            let Place::Between(near) = self.neighbours.place(rounded[first] as u16) else { continue };
            self.survey.set::<G, S>(s, &self.shares, near);
            let (scales, chosen) = (&steps.scales[first..], &mut chosen[first..]);
            if end - first <= FEW {
                for (chosen, &scale) in chosen.iter_mut().zip(scales).take(end - first) {
                    *chosen = self.survey.nearest::<G, S>(s, target, scale, margin);
                }
            } else {
                self.survey.nearest_for::<G, S>(s, target, scales, end - first, margin, chosen);
            }
        }
    }
}

/// Steps in a row at which a group's levels are the same.
#[derive(Clone, Copy)]
struct Runs {
    /// A bit for the first step of each.
    starts: u32,
    /// Those of them whose levels are no points.
    between: u32,
}

/// What [the margin](margin_of) wants to know of a group.
#[inline(always)]
fn reach<G: Grid>(reaches: &[f32; ALL], group: usize) -> f32 {
    reaches[group * G::DIMS..(group + 1) * G::DIMS].iter().sum()
}

/// The sums of `w q x` and `w q q` over numbers of which `number` gives `w x` and `w`, for the levels of their groups.
#[inline(always)]
fn sums<G: Grid, S: Simd>(s: S, groups: &[S::I32], number: impl Fn(usize) -> [S::F32; 2]) -> [S::F32; 2] {
    let values: &[f32; 8] = if G::BITS == 2 { &[1.0, 3.0, 5.0, 0.0, 1.0, 3.0, 5.0, 0.0] } else { &EIGHT };
    let mut sums = [s.splat(0.0); 2];
    for (group, &levels) in groups.iter().enumerate() {
        let mut levels = levels;
        for i in group * G::DIMS..(group + 1) * G::DIMS {
            let value = s.lookup(values, levels);
            levels = if G::BITS == 2 { s.shr_i32::<2>(levels) } else { s.shr_i32::<3>(levels) };
            let [wx, w] = number(i);
            sums[0] = s.add(sums[0], s.mul(wx, value));
            sums[1] = s.add(sums[1], s.mul(s.mul(w, value), value));
        }
    }
    sums
}
