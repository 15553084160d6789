//! One scale for numbers of either sign by moving single levels: `x ~ scale * level`, levels `-HALF ..= HALF - 1`
//! (`make_q3_quants`).
//!
//! A number weighs its square. The levels start from the scale that maps the number of greatest magnitude to `-HALF`. Then
//! each in turn takes the value that fits best to the scale of all the others, if that lowers the error of the least-squares
//! fit; up to five passes.

use super::symmetric::extreme;
use crate::simd::Simd;

/// What is known of groups of numbers, one group per lane, before any level moves.
pub(crate) struct Start<S: Simd> {
    /// The scale that fits best to the levels.
    pub scale: S::F32,
    /// Groups of which a level may move. In the others each fits best as it is, which needs no turns to see. With random
    /// weights it is every fourth: the sums of those whose extreme is positive are negative, and nothing moves there.
    pub may_move: S::Mask,
}

impl<S: Simd> Start<S> {
    #[inline(always)]
    pub fn new<const N: usize, const HALF: i32>(s: S, x: &[S::F32; N]) -> Self {
        let mut levels = [s.splat(0.0); N];
        let (sums, zeros) = start::<S, N, HALF>(s, x, &mut levels);
        let mut may_move = s.lt(sums.lx, sums.lx);
        for (&x, &level) in x.iter().zip(&levels) {
            may_move = s.or(may_move, Number::new(s, x).candidate::<HALF>(s, level, sums).0);
        }
        Start { scale: sums.scale(s, zeros), may_move }
    }
}

/// The scale, and the levels that it was fitted to.
pub(crate) struct Descent<S: Simd, const N: usize> {
    pub scale: S::F32,
    /// Plus `HALF`; but 0 in groups that hold nothing but zeros.
    pub levels: [S::I32; N],
}

impl<S: Simd, const N: usize> Descent<S, N> {
    /// Searches groups, one per lane.
    #[inline(always)]
    pub fn search<const HALF: i32>(s: S, x: &[S::F32; N]) -> Self {
        let mut levels = [s.splat(0.0); N];
        let (mut sums, zeros) = start::<S, N, HALF>(s, x, &mut levels);
        let mut numbers = [Number::new(s, x[0]); N];
        for (number, &x) in numbers.iter_mut().zip(x) {
            *number = Number::new(s, x);
        }
        // The reference ends a group with the first pass that moves nothing; further passes would not either.
        for _ in 0..5 {
            let mut moved = s.lt(sums.lx, sums.lx);
            for (number, old) in numbers.iter().zip(&mut levels) {
                let (candidate, level, rest) = number.candidate::<HALF>(s, *old, sums);
                let new = rest.with(s, number, level);
                let [before, after] = [s.mul(s.mul(sums.lx, sums.lx), new.l2), s.mul(s.mul(new.lx, new.lx), sums.l2)];
                let accepted = s.and_lt(s.and_lt(candidate, s.splat(0.0), new.l2), before, after);
                // Of a selection alone LLVM makes a masked store, for which the next pass would wait long.
                *old = s.max(s.select(accepted, level, *old), s.splat(-HALF as f32));
                sums.lx = s.select(accepted, new.lx, sums.lx);
                sums.l2 = s.select(accepted, new.l2, sums.l2);
                moved = s.or(moved, accepted);
            }
            if !s.any(moved) {
                break;
            }
        }
        let mut stored = [s.splat_i32(0); N];
        for (stored, &level) in stored.iter_mut().zip(&levels) {
            *stored = s.select_i32(zeros, *stored, s.add_i32(s.trunc_i32(level), s.splat_i32(HALF)));
        }
        Descent { scale: sums.scale(s, zeros), levels: stored }
    }
}

/// A number of each group.
#[derive(Clone, Copy)]
struct Number<S: Simd> {
    x: S::F32,
    w: S::F32,
    /// The product of both.
    wx: S::F32,
}

impl<S: Simd> Number<S> {
    #[inline(always)]
    fn new(s: S, x: S::F32) -> Self {
        let w = s.mul(x, x);
        Number { x, w, wx: s.mul(w, x) }
    }

    /// The level that fits best to the scale of the other numbers, where that is another one than it has, and the sums of the
    /// others.
    #[inline(always)]
    fn candidate<const HALF: i32>(&self, s: S, old: S::F32, sums: Sums<S>) -> (S::Mask, S::F32, Sums<S>) {
        let rest = Sums { lx: s.sub(sums.lx, s.mul(self.wx, old)), l2: s.sub(sums.l2, s.mul(s.mul(self.w, old), old)) };
        let level = level::<S, HALF>(s, s.div(s.mul(self.x, rest.l2), rest.lx));
        (s.and_ne(s.lt(s.splat(0.0), rest.lx), level, old), level, rest)
    }
}

/// The sums of `w x l` and `w l l`.
#[derive(Clone, Copy)]
struct Sums<S: Simd> {
    lx: S::F32,
    l2: S::F32,
}

impl<S: Simd> Sums<S> {
    /// With one more number.
    #[inline(always)]
    fn with(self, s: S, number: &Number<S>, level: S::F32) -> Self {
        Sums { lx: s.add(self.lx, s.mul(number.wx, level)), l2: s.add(self.l2, s.mul(s.mul(number.w, level), level)) }
    }

    /// The scale that fits best to the levels.
    #[inline(always)]
    fn scale(self, s: S, zeros: S::Mask) -> S::F32 {
        let zero = s.splat(0.0);
        let scale = s.select(s.gt(self.l2, zero), s.div(self.lx, self.l2), zero);
        s.select(zeros, zero, scale)
    }
}

/// Sets the levels that the search starts from; their sums, and the groups that hold nothing but zeros.
#[inline(always)]
fn start<S: Simd, const N: usize, const HALF: i32>(
    s: S,
    x: &[S::F32; N],
    levels: &mut [S::F32; N],
) -> (Sums<S>, S::Mask) {
    let [extreme, magnitude] = extreme(s, x);
    let inverse = s.div(s.splat(-HALF as f32), extreme);
    let mut sums = Sums { lx: s.splat(0.0), l2: s.splat(0.0) };
    for (&x, at) in x.iter().zip(levels) {
        *at = level::<S, HALF>(s, s.mul(inverse, x));
        sums = sums.with(s, &Number::new(s, x), *at);
    }
    (sums, s.lt(magnitude, s.splat(1e-15)))
}

/// `v` rounded to a level; also for values that are too large for rounding as floats, and for NaN.
#[inline(always)]
fn level<S: Simd, const HALF: i32>(s: S, v: S::F32) -> S::F32 {
    let level = s.min_i32(s.nearest_i32(v), s.splat_i32(HALF - 1));
    s.to_f32(s.max_i32(level, s.splat_i32(-HALF)))
}
