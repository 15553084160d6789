//! Numbers of either sign as levels -1, 0 and 1, all moved by an eighth one way or the other (`quantize_row_iq1_s_impl`,
//! `quantize_row_iq1_m_impl`).
//!
//! For three levels the best fit is found exactly, if no grid restricts them: in ascending order the numbers split into a run
//! of each level, and all pairs of places to split at are tried. Here a lane holds one sub-block.

use crate::simd::Simd;

/// By how much levels are moved.
const DELTA: f32 = 0.125;
/// What levels are when moved up.
const PLUS: [f32; 3] = [-1.0 + DELTA, DELTA, 1.0 + DELTA];
/// What levels are when moved down.
const MINUS: [f32; 3] = [-1.0 - DELTA, -DELTA, 1.0 - DELTA];

/// The most numbers of a sub-block.
const MOST: usize = 32;
/// The most lanes of a vector.
const LANES: usize = 16;

/// The best split.
pub(crate) struct Split<S: Simd, const N: usize> {
    /// Not negative.
    pub scale: S::F32,
    /// Bits of the parts whose levels are moved down, the last part's lowest. A whole sub-block is one part.
    pub minus: S::I32,
    /// There is a split.
    pub found: S::Mask,
    /// Plus 1.
    pub levels: [S::I32; N],
}

/// The levels, by the way they are moved.
const WAYS: [[f32; 3]; 2] = [PLUS, MINUS];

impl<S: Simd> Split<S, 32> {
    /// Splits sub-blocks whose levels are all moved the same way. `w` is what the numbers count.
    #[inline(always)]
    pub fn whole(s: S, x: &[S::F32; 32], w: &[S::F32; 32]) -> Self {
        const N: usize = 32;
        let zero = s.splat(0.0);
        let ranks = ranks(s, x);
        let [sums_x, sums_w] = running(s, &sort(s, &ranks, x, w), N);
        // What the run of the highest level adds to the sums of `w q x` and `w q q`, by where it starts.
        let mut highest = [[[zero; 2]; 2]; N + 1];
        for at in 0..=N {
            let [x, w] = [s.sub(sums_x[N], sums_x[at]), s.sub(sums_w[N], sums_w[at])];
            for way in 0..2 {
                highest[at][way] = run(s, x, w, WAYS[way][2]);
            }
        }
        let mut best = Best::new(s);
        for first in 0..=N {
            let mut lowest = [[zero; 2]; 2];
            for way in 0..2 {
                lowest[way] = run(s, sums_x[first], sums_w[first], WAYS[way][0]);
            }
            for second in first..=N {
                let [x, w] = [s.sub(sums_x[second], sums_x[first]), s.sub(sums_w[second], sums_w[first])];
                // The middle levels are opposite, so their squares are equal.
                let [x, w] = run(s, x, w, DELTA);
                let [plus, minus] = highest[second];
                let plus = [s.add(s.add(lowest[0][0], x), plus[0]), s.add(s.add(lowest[0][1], w), plus[1])];
                let minus = [s.add(s.sub(lowest[1][0], x), minus[0]), s.add(s.add(lowest[1][1], w), minus[1])];
                best.attempt(s, [plus, minus], [first, second]);
            }
        }
        best.finish(s, &ranks, 1)
    }
}

/// What a run of this level adds to the sums of `w q x` and `w q q`.
#[inline(always)]
fn run<S: Simd>(s: S, x: S::F32, w: S::F32, level: f32) -> [S::F32; 2] {
    let level = s.splat(level);
    [s.mul(x, level), s.mul(s.mul(w, level), level)]
}

impl<S: Simd> Split<S, 16> {
    /// Splits sub-blocks either half of which may be moved up or down.
    #[inline(always)]
    pub fn halves(s: S, x: &[S::F32; 16], w: &[S::F32; 16]) -> Self {
        const N: usize = 16;
        let zero = s.splat(0.0);
        let ranks = ranks(s, x);
        // Neighbouring levels are 1 apart, so that a sum of `w q x` is the highest level times the sum of all `w x` without
        // the sums up to both places; and these are what the squares of neighbouring levels differ by.
        const STEPS: [[f32; 2]; 2] = {
            let mut steps = [[0.0; 2]; 2];
            let mut way = 0;
            while way < 2 {
                let [low, middle, high] = WAYS[way];
                steps[way] = [low * low - middle * middle, middle * middle - high * high];
                way += 1;
            }
            steps
        };
        let mut sums = [[[zero; MOST + 1]; 2]; 2];
        // By half and way.
        let mut highest = [[[zero; 2]; 2]; 2];
        let mut falls = [[[zero; 2]; 2]; N + 1];
        for half in 0..2 {
            // Where the other half's numbers are there are zeros.
            let mut of_half = [zero; N];
            of_half[half * N / 2..][..N / 2].copy_from_slice(&w[half * N / 2..][..N / 2]);
            sums[half] = running(s, &sort(s, &ranks, x, &of_half), N);
            let [sums_x, sums_w] = &sums[half];
            for way in 0..2 {
                highest[half][way] = run(s, sums_x[N], sums_w[N], WAYS[way][2]);
                for at in 0..=N {
                    falls[at][half][way] = s.mul(sums_w[at], s.splat(STEPS[way][1]));
                }
            }
        }
        let mut best = Best::new(s);
        for first in 0..=N {
            let mut starts = [[zero; 2]; 2];
            for half in 0..2 {
                for way in 0..2 {
                    let rise = s.mul(sums[half][1][first], s.splat(STEPS[way][0]));
                    starts[half][way] = s.add(highest[half][way][1], rise);
                }
            }
            for second in first..=N {
                let mut fits = [[[zero; 2]; 2]; 2];
                for half in 0..2 {
                    let below = s.add(sums[half][0][first], sums[half][0][second]);
                    for way in 0..2 {
                        let sum_qx = s.sub(highest[half][way][0], below);
                        fits[half][way] = [sum_qx, s.add(starts[half][way], falls[second][half][way])];
                    }
                }
                let mut candidates = [[zero; 2]; 4];
                for (ways, sums) in candidates.iter_mut().enumerate() {
                    let [a, b] = [fits[0][ways / 2], fits[1][ways % 2]];
                    *sums = [s.add(a[0], b[0]), s.add(a[1], b[1])];
                }
                best.attempt(s, candidates, [first, second]);
            }
        }
        best.finish(s, &ranks, 3)
    }
}

/// How many numbers come before each in ascending order; equal ones keep their order.
#[inline(always)]
fn ranks<S: Simd, const N: usize>(s: S, x: &[S::F32; N]) -> [S::I32; N] {
    let mut ranks = [s.splat_i32(0); N];
    for i in 1..N {
        let mut rank = s.splat_i32(0);
        for j in 0..i {
            let before = s.le(x[j], x[i]);
            rank = s.add_one_i32(before, rank);
            ranks[j] = s.add_one_i32(s.not(before), ranks[j]);
        }
        ranks[i] = rank;
    }
    ranks
}

/// The products `w x` and the `w` by rank.
#[inline(always)]
fn sort<S: Simd, const N: usize>(
    s: S,
    ranks: &[S::I32; N],
    x: &[S::F32; N],
    w: &[S::F32; N],
) -> [[f32; LANES * MOST]; 2] {
    let (mut of_ranks, mut lanes, mut at) = ([[0.0; LANES * MOST]; 2], [[0.0; LANES]; 2], [0; LANES]);
    for i in 0..N {
        s.store(s.mul(w[i], x[i]), &mut lanes[0]);
        s.store(w[i], &mut lanes[1]);
        s.store_i32(ranks[i], &mut at);
        for lane in 0..S::LANES {
            let at = (at[lane] as usize % MOST) * S::LANES + lane;
            of_ranks[0][at] = lanes[0][lane];
            of_ranks[1][at] = lanes[1][lane];
        }
    }
    of_ranks
}

/// The sums of the first 0, 1, 2 ... `count` numbers, of both kinds.
#[inline(always)]
fn running<S: Simd>(s: S, numbers: &[[f32; LANES * MOST]; 2], count: usize) -> [[S::F32; MOST + 1]; 2] {
    let mut sums = [[s.splat(0.0); MOST + 1]; 2];
    for (sums, numbers) in sums.iter_mut().zip(numbers) {
        for i in 0..count {
            sums[i + 1] = s.add(sums[i], s.load(&numbers[i * S::LANES..]));
        }
    }
    sums
}

/// What the search knows so far.
struct Best<S: Simd> {
    scale: S::F32,
    /// What a better split has to exceed: by how much the fit lowers the weighted squared error.
    gain: S::F32,
    first: S::I32,
    second: S::I32,
    /// The number of the candidate; negative before there is one.
    candidate: S::I32,
}

impl<S: Simd> Best<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        let (gain, zero) = (s.splat(-f32::MAX), s.splat_i32(0));
        Best { scale: s.splat(0.0), gain, first: zero, second: zero, candidate: s.splat_i32(-1) }
    }

    /// True where these sums of `w q x` and `w q q` make a better fit.
    #[inline(always)]
    fn is_less_than(&self, s: S, [sum_qx, sum_q2]: [S::F32; 2]) -> S::Mask {
        let better = s.gt(s.mul(sum_qx, sum_qx), s.mul(self.gain, sum_q2));
        s.and(better, s.gt(sum_q2, s.splat(0.0)))
    }

    /// Tries candidates in their order.
    #[inline(always)]
    fn attempt<const K: usize>(&mut self, s: S, candidates: [[S::F32; 2]; K], [first, second]: [usize; 2]) {
        let mut any = self.is_less_than(s, candidates[0]);
        for &sums in &candidates[1..] {
            any = s.or(any, self.is_less_than(s, sums));
        }
        if !s.any(any) {
            return;
        }
        for (number, &sums) in candidates.iter().enumerate() {
            let better = self.is_less_than(s, sums);
            let scale = s.div(sums[0], sums[1]);
            self.scale = s.select(better, scale, self.scale);
            self.gain = s.select(better, s.mul(scale, sums[0]), self.gain);
            self.candidate = s.select_i32(better, s.splat_i32(number as i32), self.candidate);
            self.first = s.select_i32(better, s.splat_i32(first as i32), self.first);
            self.second = s.select_i32(better, s.splat_i32(second as i32), self.second);
        }
    }

    /// The levels. The number of a candidate is its `minus`; `all` has the bits of all parts.
    #[inline(always)]
    fn finish<const N: usize>(self, s: S, ranks: &[S::I32; N], all: i32) -> Split<S, N> {
        let zero = s.splat_i32(0);
        let negative = s.lt(self.scale, s.splat(0.0));
        let mut levels = [zero; N];
        for (level, &rank) in levels.iter_mut().zip(ranks) {
            let above = s.add_one_i32(s.not(s.gt_i32(self.first, rank)), zero);
            *level = s.add_one_i32(s.not(s.gt_i32(self.second, rank)), above);
            *level = s.select_i32(negative, s.sub_i32(s.splat_i32(2), *level), *level);
        }
        let opposite = s.sub_i32(s.splat_i32(all), self.candidate);
        Split {
            scale: s.select(negative, s.neg(self.scale), self.scale),
            minus: s.select_i32(negative, opposite, self.candidate),
            found: s.gt_i32(self.candidate, s.splat_i32(-1)),
            levels,
        }
    }
}
