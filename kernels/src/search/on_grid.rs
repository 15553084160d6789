//! One scale for magnitudes whose levels are points of a grid group by group: `x ~ scale * (2 level + 1)`
//! (`quantize_row_iq2_xxs_impl` and the like).

use super::nearest::{Nearest, ODD, next_level};
use crate::grid::{Grid, Neighbours, Place};
use crate::simd::Simd;

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

/// The scale that was found and the levels of each group.
pub(crate) struct Found {
    pub scale: f32,
    pub codes: [u16; GROUPS],
}

/// What a search works with; to be used again and again, as it takes time to clear.
pub(crate) struct OnGrid<G, S: Simd> {
    nearest: Nearest<G>,
    neighbours: &'static Neighbours,
    /// The levels of each group for all steps.
    chosen: [[S::I32; VECTORS]; GROUPS],
}

impl<G: Grid, S: Simd> OnGrid<G, S> {
    #[inline(always)]
    pub fn new(s: S) -> Self {
        OnGrid { nearest: Nearest::new(), neighbours: G::neighbours(), chosen: [[s.splat_i32(0); VECTORS]; GROUPS] }
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
        let steps = Steps::<S>::new::<G>(s, rules, mapped, numbers.x);

        // For each group the steps at which its levels change, the steps at which they are points by themselves.
        let (mut starts, mut points) = (1, [0u32; GROUPS]);
        for group in 0..groups {
            let at = group * G::DIMS..(group + 1) * G::DIMS;
            starts |= self.choose(s, &steps, group, &numbers.x[at.clone()], &numbers.root[at], &mut points[group]);
        }

        // What the fits to the levels of each step lower the error by.
        let mut sums = [[0.0; STEPS]; 2];
        for vector in 0..steps.vectors {
            let [sum_qx, sum_q2] = self.sums(s, numbers, groups, vector);
            s.store(sum_qx, &mut sums[0][vector * S::LANES..]);
            s.store(sum_q2, &mut sums[1][vector * S::LANES..]);
        }
        let mut best = (0.0, scale, None);
        let mut left = starts;
        while left != 0 {
            // Steps of the same levels as the one before would change nothing.
            let step = left.trailing_zeros() as usize;
            left &= left - 1;
            let [sum_qx, sum_q2] = [sums[0][step], sums[1][step]];
            if sum_q2 > 0.0 && sum_qx * sum_qx > best.0 * sum_q2 {
                let scale = sum_qx / sum_q2;
                best = (scale * sum_qx, scale, Some(step));
            }
        }
        let (_, scale, step) = best;
        let mut found = Found { scale, codes: [0; GROUPS] };
        // Without a step the levels are all zero, which is a point of every grid.
        let mut moved = if step.is_none() && rules.refine == Refine::AllIfMoved { !0 } else { 0 };
        if let Some(step) = step {
            for group in 0..groups {
                let mut codes = [0; 64];
                s.store_i32(self.chosen[group][step / S::LANES], &mut codes);
                found.codes[group] = codes[step % S::LANES] as u16;
                moved |= (!points[group] >> step & 1) << group;
            }
        }
        let refined = match rules.refine {
            Refine::All => !0,
            Refine::AllIfMoved if moved != 0 => !0,
            _ => moved,
        };
        if refined != 0 && scale > 0.0 {
            self.refine(s, numbers, refined, groups, &mut found);
        }
        found
    }

    /// Chooses the points of a group for all steps. Sets bits of the steps at which the levels are points by themselves, and
    /// returns those of the steps at which the choice is made anew.
    #[inline(always)]
    fn choose(&mut self, s: S, steps: &Steps<S>, group: usize, x: &[f32], root: &[f32], points: &mut u32) -> u32 {
        // One more element, so that each step's levels can be compared with those of the step before.
        let mut codes = [-1; STEPS + 16];
        for vector in 0..steps.vectors {
            let levels = steps.levels::<G>(s, vector, x);
            s.store_i32(levels, &mut codes[1 + vector * S::LANES..]);
        }
        let mut runs = 0;
        for vector in 0..steps.vectors {
            let at = vector * S::LANES;
            let same = s.eq_i32(s.load_i32(&codes[at..]), s.load_i32(&codes[at + 1..]));
            runs |= s.bits(s.not(same)) << at;
        }
        runs &= u32::MAX >> (STEPS - steps.count);

        let (mut starts, mut aimed) = (runs, None);
        while runs != 0 {
            let first = runs.trailing_zeros() as usize;
            runs &= runs - 1;
            let last = if runs == 0 { steps.count } else { runs.trailing_zeros() as usize } - 1;
            let code = codes[1 + first] as u16;
            let near = match self.neighbours.place(code) {
                Place::Point(_) => {
                    *points |= (u32::MAX >> (STEPS - 1 - (last - first))) << first;
                    self.fill(s, steps, group, first, code);
                    continue;
                }
                Place::Between(near) => near,
            };
            let scales = *aimed.get_or_insert_with(
                #[inline(always)]
                || {
                    self.nearest.aim(s, x, root, &ODD[usize::from(G::BITS == 3)]);
                    self.nearest.scales(steps.scales[steps.count - 1], steps.scales[0])
                },
            );
            self.nearest.survey(s, near);
            let (mut at, sure) = self.nearest.find(s, near, steps.scales[first], scales);
            self.fill(s, steps, group, first, near.code(at));
            if first == last || sure && self.nearest.stands_out(s, near, at, steps.scales[last], scales) {
                continue;
            }
            for step in first + 1..=last {
                if !self.nearest.stands_out(s, near, at, steps.scales[step], scales) {
                    let next = self.nearest.find(s, near, steps.scales[step], scales).0;
                    if next != at {
                        at = next;
                        starts |= 1 << step;
                        self.fill(s, steps, group, step, near.code(at));
                    }
                }
            }
        }
        starts
    }

    /// Sets the choice of all steps from `first` on.
    #[inline(always)]
    fn fill(&mut self, s: S, steps: &Steps<S>, group: usize, first: usize, code: u16) {
        let code = s.splat_i32(code.into());
        for vector in 0..steps.vectors {
            let later = s.gt_i32(steps.numbers[vector], s.splat_i32(first as i32 - 1));
            let chosen = &mut self.chosen[group][vector];
            *chosen = s.select_i32(later, code, *chosen);
        }
    }

    /// The sums of `w q x` and `w q q` over the numbers for the levels chosen for a vector of steps.
    #[inline(always)]
    fn sums(&self, s: S, numbers: Magnitudes, groups: usize, vector: usize) -> [S::F32; 2] {
        let values: &[f32; 8] = ODD[usize::from(G::BITS == 3)].first_chunk().expect("8 entries");
        let mut sums = [s.splat(0.0); 2];
        for group in 0..groups {
            let mut levels = self.chosen[group][vector];
            for i in group * G::DIMS..(group + 1) * G::DIMS {
                let value = s.lookup(values, levels);
                levels = next_level::<G, S>(s, levels);
                sums[0] = s.add(sums[0], s.mul(s.splat(numbers.wx[i]), value));
                sums[1] = s.add(sums[1], s.mul(s.mul(s.splat(numbers.w[i]), value), value));
            }
        }
        sums
    }

    /// Fits groups to the scale that was found, and then the scale to all groups.
    #[inline(always)]
    fn refine(&mut self, s: S, numbers: Magnitudes, refined: u32, groups: usize, found: &mut Found) {
        let mut levels = [0; LEN];
        let inverse = s.splat(1.0 / found.scale);
        for at in (0..groups * G::DIMS).step_by(S::LANES) {
            s.store_i32(level::<G, S>(s, s.mul(inverse, s.load(&numbers.x[at..]))), &mut levels[at..]);
        }
        for group in (0..groups).filter(|group| refined >> group & 1 == 1) {
            let at = group * G::DIMS..(group + 1) * G::DIMS;
            let code = levels[at.clone()].iter().rev().fold(0, |code, level| code << G::BITS | *level as u16);
            found.codes[group] = match self.neighbours.place(code) {
                Place::Point(_) => code,
                Place::Between(near) => {
                    self.nearest.aim(s, &numbers.x[at.clone()], &numbers.root[at], &ODD[usize::from(G::BITS == 3)]);
                    self.nearest.survey(s, near);
                    let scales = self.nearest.scales(found.scale, found.scale);
                    near.code(self.nearest.find(s, near, found.scale, scales).0)
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

/// The inverse scales that are tried, one per lane.
struct Steps<S: Simd> {
    count: usize,
    vectors: usize,
    inverses: [S::F32; VECTORS],
    /// 0, 1, 2 ...
    numbers: [S::I32; VECTORS],
    scales: [f32; STEPS],
    /// All products of an inverse and a number are so small that they can be rounded as floats.
    small: bool,
}

/// Rounds to an even number when added, and leaves the half of it in the lowest bits of the sum.
const ROUND: f32 = 25_165_824.0;

impl<S: Simd> Steps<S> {
    #[inline(always)]
    fn new<G: Grid>(s: S, rules: Rules, mapped: f32, x: &[f32]) -> Self {
        let count = 2 * rules.steps + 1;
        let mut steps = Steps {
            count,
            vectors: count.div_ceil(S::LANES),
            inverses: [s.splat(0.0); VECTORS],
            numbers: [s.splat_i32(0); VECTORS],
            scales: [0.0; STEPS],
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
            steps.numbers[vector] = number;
            s.store(s.div(s.splat(1.0), inverse), &mut steps.scales[at..]);
        }
        let mut most = s.splat(0.0);
        for x in x[..rules.len].chunks_exact(S::LANES) {
            most = s.max(s.abs(s.load(x)), most);
        }
        let greatest = ((2 * G::TOP + 1) as f32 + rules.steps as f32 * rules.delta) / mapped;
        steps.small = s.reduce_max(most) * greatest < 4e6;
        steps
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
