//! One scale for magnitudes whose levels are points of a grid group by group: `x ~ scale * (2 level + 1)`
//! (`quantize_row_iq2_xxs_impl` and the like).

use super::nearest::{LevelValues, Shares, Survey, Target, margin as margin_of};
use crate::grid::{Grid, Neighbours, Place};
use crate::simd::Simd;
use core::marker::PhantomData;

/// The most numbers of a sub-block.
const LEN: usize = 32;
/// The most groups.
const GROUPS: usize = 8;
/// Room for the inverse scales that are tried.
const STEPS: usize = 32;
/// The most vectors that they fill: none has less than 4 lanes.
const VECTORS: usize = STEPS / 4;

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

/// A sub-block: magnitudes, of which some may be negative, and their weights.
#[derive(Clone, Copy)]
pub(crate) struct Magnitudes<'a> {
    pub x: &'a [f32],
    pub w: &'a [f32],
    /// The products of both.
    pub wx: &'a [f32],
    /// The roots of the weights: what counts in the choice of points.
    pub root: &'a [f32],
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

/// The scale that was found and the levels of each group.
pub(crate) struct Found {
    pub scale: f32,
    pub codes: [u16; GROUPS],
}

/// What a search works with; to be used again and again, as it takes time to clear.
pub(crate) struct OnGrid<G, S> {
    neighbours: &'static Neighbours,
    survey: Survey,
    shares: Shares,
    /// The levels of each group for each step, with room for a vector more.
    chosen: [[i32; STEPS + ROOM]; GROUPS],
    /// A bit for each step at which a group's levels were points by themselves.
    points: [u32; GROUPS],
    grid: PhantomData<(G, S)>,
}

/// For so many steps the points near by are compared in lanes, a step at a time; for more of them steps are in lanes.
const FEW: usize = 2;

/// The most lanes of a vector.
const ROOM: usize = 16;

impl<G: Grid, S: Simd> OnGrid<G, S> {
    #[inline(always)]
    pub fn new() -> Self {
        OnGrid {
            neighbours: G::neighbours(),
            survey: Survey::new(),
            shares: Shares::ZERO,
            chosen: [[0; STEPS + ROOM]; GROUPS],
            points: [0; GROUPS],
            grid: PhantomData,
        }
    }

    /// The index of the point that these levels are.
    pub fn index(&self, code: u16) -> u16 {
        self.neighbours.index(code)
    }

    /// Searches a sub-block. `mapped` is the number that is mapped to the largest value, `scale` the scale if no step gives
    /// a better one than none.
    #[inline(always)]
    pub fn search(&mut self, s: S, rules: Rules, numbers: Magnitudes, mapped: f32, scale: f32) -> Found {
        let groups = rules.len / G::DIMS;
        let steps = Steps::<S>::new::<G>(s, rules, mapped, numbers);
        for group in 0..groups {
            self.choose(s, &steps, numbers, group);
        }
        // What the fits to the levels lower the error by.
        let mut sums = [[0.0; STEPS]; 2];
        for at in (0..steps.count).step_by(S::LANES) {
            let mut levels = [s.splat_i32(0); GROUPS];
            for (levels, chosen) in levels[..groups].iter_mut().zip(&self.chosen) {
                *levels = s.load_i32(&chosen[at..]);
            }
            let [sum_qx, sum_q2] = self.sums(s, numbers, &levels[..groups]);
            s.store(sum_qx, &mut sums[0][at..]);
            s.store(sum_q2, &mut sums[1][at..]);
        }
        let (mut best, mut scale, mut step) = (0.0, scale, None);
        // Cut before: of `take` LLVM keeps the state in memory.
        let [qx, q2] = [&sums[0][..steps.count], &sums[1][..steps.count]];
        for (at, (&sum_qx, &sum_q2)) in qx.iter().zip(q2).enumerate() {
            if sum_q2 > 0.0 && sum_qx * sum_qx > best * sum_q2 {
                scale = sum_qx / sum_q2;
                best = scale * sum_qx;
                step = Some(at);
            }
        }

        // Without a step the levels are all zero, which is a point of every grid.
        let mut found = Found { scale, codes: [0; GROUPS] };
        let mut moved = if step.is_none() && rules.refine == Refine::AllIfMoved { !0 } else { 0 };
        if let Some(step) = step {
            for group in 0..groups {
                found.codes[group] = self.chosen[group][step] as u16;
                moved |= (!self.points[group] >> step & 1) << group;
            }
        }
        let refined = match rules.refine {
            Refine::All => !0,
            Refine::AllIfMoved if moved != 0 => !0,
            _ => moved,
        };
        if refined != 0 && scale > 0.0 {
            self.refine(s, &steps, numbers, refined, groups, &mut found);
        }
        found
    }

    /// Chooses the points of a group for all steps.
    #[inline(always)]
    fn choose(&mut self, s: S, steps: &Steps<S>, numbers: Magnitudes, group: usize) {
        let target = numbers.target::<G>(group);
        let mut codes = [0; STEPS];
        for vector in 0..steps.vectors {
            s.store_i32(steps.levels::<G>(s, vector, target.x), &mut codes[vector * S::LANES..]);
        }
        let (chosen, points) = (&mut self.chosen[group], &mut self.points[group]);
        *points = 0;
        let of_steps = u32::MAX >> (STEPS - steps.count);
        let mut margin = None;
        let mut left = changes(s, &codes) & of_steps;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            left &= left - 1;
            let end = if left == 0 { steps.count } else { left.trailing_zeros() as usize };
            match self.neighbours.place(codes[first] as u16) {
                Place::Point(_) => {
                    *points |= (u32::MAX >> (STEPS - (end - first))) << first;
                    for at in (first..end).step_by(S::LANES) {
                        s.store_i32(s.splat_i32(codes[first]), &mut chosen[at..]);
                    }
                }
                Place::Between(near) => {
                    let margin = *margin.get_or_insert_with(
                        #[inline(always)]
                        || {
                            self.shares.set::<G, S>(s, target);
                            margin_of(steps.reach::<G>(group), steps.scales[steps.count - 1])
                        },
                    );
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
    }

    /// The sums of `w q x` and `w q q` over the numbers for levels of the groups, of one step in each lane.
    #[inline(always)]
    fn sums(&self, s: S, numbers: Magnitudes, groups: &[S::I32]) -> [S::F32; 2] {
        let values: &[f32; 8] = if G::BITS == 2 { &[1.0, 3.0, 5.0, 0.0, 1.0, 3.0, 5.0, 0.0] } else { &EIGHT };
        let mut sums = [s.splat(0.0); 2];
        for (group, &levels) in groups.iter().enumerate() {
            let mut levels = levels;
            for i in group * G::DIMS..(group + 1) * G::DIMS {
                let value = s.lookup(values, levels);
                levels = if G::BITS == 2 { s.shr_i32::<2>(levels) } else { s.shr_i32::<3>(levels) };
                sums[0] = s.add(sums[0], s.mul(s.splat(numbers.wx[i]), value));
                sums[1] = s.add(sums[1], s.mul(s.mul(s.splat(numbers.w[i]), value), value));
            }
        }
        sums
    }

    /// Fits groups to the scale that was found, and then the scale to all groups.
    #[inline(always)]
    fn refine(&mut self, s: S, steps: &Steps<S>, numbers: Magnitudes, refined: u32, groups: usize, found: &mut Found) {
        let mut levels = [0; LEN];
        let inverse = s.splat(1.0 / found.scale);
        for at in (0..groups * G::DIMS).step_by(S::LANES) {
            s.store_i32(level::<G, S>(s, s.mul(inverse, s.load(&numbers.x[at..]))), &mut levels[at..]);
        }
        for group in (0..groups).filter(|group| refined >> group & 1 == 1) {
            let of_group = &levels[group * G::DIMS..(group + 1) * G::DIMS];
            let code = of_group.iter().rev().fold(0, |code, level| code << G::BITS | *level as u16);
            found.codes[group] = match self.neighbours.place(code) {
                Place::Point(_) => code,
                Place::Between(near) => {
                    let target = numbers.target::<G>(group);
                    self.shares.set::<G, S>(s, target);
                    self.survey.set::<G, S>(s, &self.shares, near);
                    // Scales are seldom greater than those tried.
                    let greater = (found.scale / steps.scales[0]).max(1.0);
                    let margin = margin_of(steps.reach::<G>(group) * (greater * greater), found.scale);
                    self.survey.nearest::<G, S>(s, target, found.scale, margin) as u16
                }
            };
        }
        let (mut sum_qx, mut sum_q2) = (0.0, 0.0);
        for group in 0..groups {
            let mut code = found.codes[group];
            for i in group * G::DIMS..(group + 1) * G::DIMS {
                let value = f32::from(2 * (code & ((1 << G::BITS) - 1)) + 1);
                code >>= G::BITS;
                sum_qx += numbers.wx[i] * value;
                sum_q2 += numbers.w[i] * value * value;
            }
        }
        if sum_q2 > 0.0 {
            found.scale = sum_qx / sum_q2;
        }
    }
}

/// Bits of the steps whose levels differ from those of the step before; that of the first step is set.
#[inline(always)]
fn changes<S: Simd>(s: S, levels: &[i32; STEPS]) -> u32 {
    let mut before = [-1; STEPS];
    before[1..].copy_from_slice(&levels[..STEPS - 1]);
    let mut changes = 0;
    for at in (0..STEPS).step_by(S::LANES) {
        let same = s.eq_i32(s.load_i32(&levels[at..]), s.load_i32(&before[at..]));
        changes |= s.bits(s.not(same)) << at;
    }
    changes
}

/// The inverse scales that are tried, one per lane.
struct Steps<S: Simd> {
    count: usize,
    vectors: usize,
    inverses: [S::F32; VECTORS],
    /// With room for a vector more.
    scales: [f32; STEPS + ROOM],
    /// For each number its root of the weight times `(scale |q| + |x|)^2` for the greatest scale and value `q`.
    reaches: [f32; LEN],
    /// All products of an inverse and a number are so small that they can be rounded as floats.
    small: bool,
}

/// Rounds to an even number when added, and leaves the half of it in the lowest bits of the sum.
const ROUND: f32 = 25_165_824.0;

impl<S: Simd> Steps<S> {
    #[inline(always)]
    fn new<G: Grid>(s: S, rules: Rules, mapped: f32, numbers: Magnitudes) -> Self {
        let count = 2 * rules.steps + 1;
        let mut steps = Steps {
            count,
            vectors: count.div_ceil(S::LANES),
            inverses: [s.splat(0.0); VECTORS],
            scales: [0.0; STEPS + ROOM],
            reaches: [0.0; LEN],
            small: false,
        };
        const NUMBERS: [i32; STEPS] = {
            let mut numbers = [0; STEPS];
            let mut i = 0;
            while i < STEPS {
                numbers[i] = i as i32;
                i += 1;
            }
            numbers
        };
        for vector in 0..steps.vectors {
            let at = vector * S::LANES;
            let number = s.load_i32(&NUMBERS[at..]);
            // The lanes after the last step repeat it.
            let step = s.min_i32(number, s.splat_i32(2 * rules.steps as i32));
            let step = s.to_f32(s.sub_i32(step, s.splat_i32(rules.steps as i32)));
            let value = s.add(s.splat((2 * G::TOP + 1) as f32), s.mul(step, s.splat(rules.delta)));
            let inverse = s.div(value, s.splat(mapped));
            steps.inverses[vector] = inverse;
            s.store(s.div(s.splat(1.0), inverse), &mut steps.scales[at..]);
        }
        let (mut most, farthest) = (s.splat(0.0), s.splat((2 * G::TOP + 1) as f32 * steps.scales[0]));
        for at in (0..rules.len).step_by(S::LANES) {
            let x = s.abs(s.load(&numbers.x[at..]));
            most = s.max(x, most);
            let reach = s.add(farthest, x);
            s.store(s.mul(s.mul(s.load(&numbers.root[at..]), reach), reach), &mut steps.reaches[at..]);
        }
        let greatest = ((2 * G::TOP + 1) as f32 + rules.steps as f32 * rules.delta) / mapped;
        steps.small = s.reduce_max(most) * greatest < 4e6;
        steps
    }

    /// What [the margin](margin_of) wants to know of a group.
    #[inline(always)]
    fn reach<G: Grid>(&self, group: usize) -> f32 {
        self.reaches[group * G::DIMS..(group + 1) * G::DIMS].iter().sum()
    }

    /// The levels of a group's numbers for a vector of steps.
    #[inline(always)]
    fn levels<G: Grid>(&self, s: S, vector: usize, x: &[f32]) -> S::I32 {
        let inverse = self.inverses[vector];
        let mut code = s.splat_i32(0);
        if self.small {
            let one = s.splat(1.0);
            let (low, high) = (s.splat(ROUND), s.splat(ROUND + 2.0 * G::TOP as f32));
            for &x in x[..G::DIMS].iter().rev() {
                // Twice the level is what is to be rounded; that it is rounded to even numbers does the same.
                let twice = s.add(s.sub(s.mul(inverse, s.splat(x)), one), low);
                let level = s.to_bits(s.max(s.min(twice, high), low));
                code = s.add_i32(shift::<G, S>(s, code), level);
            }
            let offset = (0..G::DIMS)
                .fold(0i32, |sum, dim| sum.wrapping_add((ROUND.to_bits() as i32).wrapping_shl((G::BITS * dim) as u32)));
            s.sub_i32(code, s.splat_i32(offset))
        } else {
            for &x in x[..G::DIMS].iter().rev() {
                code = s.add_i32(shift::<G, S>(s, code), level::<G, S>(s, s.mul(inverse, s.splat(x))));
            }
            code
        }
    }
}

/// The level of `v = 2 level + 1`; also of what is too large for rounding as floats.
#[inline(always)]
fn level<G: Grid, S: Simd>(s: S, v: S::F32) -> S::I32 {
    let level = s.nearest_i32(s.mul(s.splat(0.5), s.sub(v, s.splat(1.0))));
    s.max_i32(s.min_i32(level, s.splat_i32(G::TOP)), s.splat_i32(0))
}

/// Makes room for another level below.
#[inline(always)]
fn shift<G: Grid, S: Simd>(s: S, levels: S::I32) -> S::I32 {
    if G::BITS == 2 { s.shl_i32::<2>(levels) } else { s.shl_i32::<3>(levels) }
}
