//! Scale and minimum of a sub-block: `x ~ scale * level + min` with `min <= 0` (`make_qkx2_quants`, `make_qkx3_quants`).

use crate::simd::{Simd, Twice};

/// How a deviation from a weight counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deviation {
    Absolute,
    Squared,
}

/// The search: which inverse scales are tried, and what makes one of them better.
///
/// Step `i` tries levels spaced such that the range of the sub-block is `max_level + (first + delta * i)` of them, fits
/// scale and minimum to these levels by weighted least squares, and keeps the fit if it deviates less.
#[derive(Clone, Copy)]
pub(crate) struct ScaleMin {
    pub max_level: f32,
    pub first: f32,
    pub delta: f32,
    /// The number of the last step; they start at 0.
    pub last: u8,
    pub deviation: Deviation,
}

/// The best scale and minimum, and the levels that they were fitted to.
#[derive(Clone, Copy)]
pub(crate) struct Fit<S: Simd> {
    pub scale: S::F32,
    pub min: S::F32,
    /// Level of `x`: `nearest(inverse * (x - origin))`, clamped. Not the same as `(x - min) / scale`.
    inverse: S::F32,
    origin: S::F32,
    max_level: f32,
}

impl<S: Simd> Fit<Twice<S>> {
    /// The fits of the lower and the upper lanes.
    #[inline(always)]
    pub fn halves(self) -> [Fit<S>; 2] {
        let Fit { scale, min, inverse, origin, max_level } = self;
        [
            Fit { scale: scale.0, min: min.0, inverse: inverse.0, origin: origin.0, max_level },
            Fit { scale: scale.1, min: min.1, inverse: inverse.1, origin: origin.1, max_level },
        ]
    }
}

impl<S: Simd> Fit<S> {
    /// The fit to zeros.
    #[inline(always)]
    pub fn flat(s: S) -> Self {
        let zero = s.splat(0.0);
        Fit { scale: zero, min: zero, inverse: zero, origin: zero, max_level: 0.0 }
    }

    /// The level of `x` that the fit was made with.
    #[inline(always)]
    pub fn level(&self, s: S, x: S::F32) -> S::I32 {
        let level = s.nearest_i32(s.mul(self.inverse, s.sub(x, self.origin)));
        s.max_i32(s.min_i32(level, s.splat_i32(self.max_level as i32)), s.splat_i32(0))
    }
}

/// A sub-block per lane, what its numbers count, and room for the levels that the search tries.
///
/// Within their pages of memory, levels lie half an array away from both numbers and weights. Zen 4 takes a load for one of
/// what was stored just before if both are at the same place of their pages and the pages share sets of the second-level
/// cache, and waits. Which pages do is the system's choice: with the arrays one after the other, one thread in seven was 5
/// to 60 % slower than the others for as long as it lived.
pub(crate) struct Room<S: Simd, const N: usize>([[S::F32; N]; 4]);

impl<S: Simd, const N: usize> Room<S, N> {
    /// Zeros.
    #[inline(always)]
    pub fn new(s: S) -> Self {
        Room([[s.splat(0.0); N]; 4])
    }

    /// The numbers and their weights.
    #[inline(always)]
    pub fn numbers(&mut self) -> [&mut [S::F32; N]; 2] {
        let [x, w, ..] = &mut self.0;
        [x, w]
    }

    /// The numbers and their weights, and the levels.
    #[inline(always)]
    fn parts(&mut self) -> ([&[S::F32; N]; 2], &mut [S::F32; N]) {
        let [x, w, rest @ ..] = &mut self.0;
        let levels = rest.as_flattened_mut()[N / 2..].first_chunk_mut().expect("half of an array is left out of two");
        ([x, w], levels)
    }
}

/// How levels are kept between 0 and the largest one.
enum Clamp {
    /// They are there already.
    None,
    /// None is above.
    Below,
    Both,
    /// They may be too large for rounding as floats.
    Integers,
}

impl ScaleMin {
    /// Searches sub-blocks of `N` elements, one per lane.
    #[inline(always)]
    pub fn search<S: Simd, const N: usize>(self, s: S, room: &mut Room<S, N>) -> Fit<S> {
        let ([x, w], levels) = room.parts();
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let (mut lowest, mut max) = (x[0], x[0]);
        let mut sum_w = w[0];
        let mut sum_x = s.mul(sum_w, x[0]);
        for i in 1..N {
            lowest = s.min(x[i], lowest);
            max = s.max(x[i], max);
            sum_w = s.add(sum_w, w[i]);
            sum_x = s.add(sum_x, s.mul(w[i], x[i]));
        }
        let mut min = s.min(zero, lowest);
        // Sub-blocks without a range take scale 0 and their minimum. They go along with a range of 1, and never improve.
        let flat = s.eq(max, min);
        let top = s.splat(self.max_level);
        let range = |min| s.select(flat, one, s.sub(max, min));

        let mut inverse = s.div(top, range(min));
        let mut origin = min;
        let mut scale = s.div(one, inverse);
        self.levels(s, inverse, [lowest, max], min, x, w, levels);
        let mut best = self.error(s, scale, min, x, w, levels);

        let spacing = |step: u8| s.splat((self.first + self.delta * f32::from(step)) + self.max_level);
        let mut tried = s.div(spacing(0), range(min));
        for step in 0..=self.last {
            let [sum_l, sum_l2, sum_xl] = self.levels(s, tried, [lowest, max], min, x, w, levels);
            let determinant = s.sub(s.mul(sum_w, sum_l2), s.mul(sum_l, sum_l));
            let new_scale = s.div(s.sub(s.mul(sum_w, sum_xl), s.mul(sum_x, sum_l)), determinant);
            let new_min = s.div(s.sub(s.mul(sum_l2, sum_x), s.mul(sum_l, sum_xl)), determinant);
            let positive = s.gt(new_min, zero);
            // Seldom: most sub-blocks have weights of both signs.
            let (new_scale, new_min) = if s.any(positive) {
                (s.select(positive, s.div(sum_xl, sum_l2), new_scale), s.select(positive, zero, new_min))
            } else {
                (new_scale, new_min)
            };
            // Divided before it is known which of them the next step takes, so that it need not wait.
            let next = spacing(step + 1);
            let next = [s.div(next, range(new_min)), s.div(next, range(min))];
            let error = self.error(s, new_scale, new_min, x, w, levels);

            let better = s.and(s.gt(determinant, zero), s.lt(error, best));
            let better = s.and(better, s.not(flat));
            best = s.select(better, error, best);
            scale = s.select(better, new_scale, scale);
            inverse = s.select(better, tried, inverse);
            origin = s.select(better, min, origin);
            // The next step's levels start from it, while the maximum stays what it was.
            min = s.select(better, new_min, min);
            tried = s.select(better, next[0], next[1]);
        }
        Fit {
            scale: s.select(flat, zero, scale),
            min,
            inverse: s.select(flat, zero, inverse),
            origin,
            max_level: self.max_level,
        }
    }

    /// The levels of all elements, as floats, and the sums of `w l`, `w l l`, `w l x`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn levels<S: Simd, const N: usize>(
        self,
        s: S,
        inverse: S::F32,
        [lowest, highest]: [S::F32; 2],
        min: S::F32,
        x: &[S::F32; N],
        w: &[S::F32; N],
        levels: &mut [S::F32; N],
    ) -> [S::F32; 3] {
        // Rounding is monotonic, so all levels lie between those of the extremes. Most steps give none above the top, and
        // many none below zero; there a level of -0 does what 0 does. Denormal ranges have infinite inverses.
        let ends = [scaled(s, lowest, min, inverse), scaled(s, highest, min, inverse)];
        let limit = s.splat(4_194_304.0);
        // In this order a NaN at either end comes through.
        let (low, high) = (s.min(ends[0], ends[1]), s.max(ends[1], ends[0]));
        let clamp = if !s.all(s.and(s.lt(s.neg(limit), low), s.lt(high, limit))) {
            Clamp::Integers
        } else if !s.all(s.lt(high, s.splat(self.max_level + 0.5))) {
            Clamp::Both
        } else if !s.all(s.le(s.splat(-0.5), low)) {
            Clamp::Below
        } else {
            Clamp::None
        };
        let mut sums = [s.splat(0.0); 3];
        macro_rules! each {
            (|$v:ident| $level:expr) => {
                for i in 0..N {
                    let $v = scaled(s, x[i], min, inverse);
                    levels[i] = $level;
                    let wl = s.mul(w[i], levels[i]);
                    sums[0] = s.add(sums[0], wl);
                    sums[1] = s.add(sums[1], s.mul(wl, levels[i]));
                    sums[2] = s.add(sums[2], s.mul(wl, x[i]));
                }
            };
        }
        // Floats that are not negative are ordered as their bits are, and integer units are less busy.
        let zero = s.splat_i32(0);
        let top = s.splat(self.max_level);
        match clamp {
            Clamp::None => each!(|v| s.round_even(v)),
            Clamp::Below => each!(|v| s.from_bits(s.max_i32(s.to_bits(s.round_even(v)), zero))),
            Clamp::Both => {
                let top = s.to_bits(top);
                each!(|v| s.from_bits(s.min_i32(s.max_i32(s.to_bits(s.round_even(v)), zero), top)));
            }
            Clamp::Integers => {
                let top = s.trunc_i32(top);
                each!(|v| s.to_f32(s.max_i32(s.min_i32(s.nearest_i32(v), top), zero)));
            }
        }
        sums
    }

    /// The weighted sum of deviations.
    #[inline(always)]
    fn error<S: Simd, const N: usize>(
        self,
        s: S,
        scale: S::F32,
        min: S::F32,
        x: &[S::F32; N],
        w: &[S::F32; N],
        levels: &[S::F32; N],
    ) -> S::F32 {
        let mut sum = s.splat(0.0);
        for i in 0..N {
            let difference = s.sub(s.add(s.mul(scale, levels[i]), min), x[i]);
            let deviation = match self.deviation {
                Deviation::Absolute => s.abs(difference),
                Deviation::Squared => s.mul(difference, difference),
            };
            sum = s.add(sum, s.mul(w[i], deviation));
        }
        sum
    }
}

/// The level of `x`, not yet rounded.
#[inline(always)]
fn scaled<S: Simd>(s: S, x: S::F32, min: S::F32, inverse: S::F32) -> S::F32 {
    s.mul(inverse, s.sub(x, min))
}
