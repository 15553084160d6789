//! One scale for numbers of either sign by moving single levels: `x ~ scale * level`, levels `-HALF ..= HALF - 1`
//! (`make_q3_quants`).

use super::symmetric::extreme;
use crate::simd::Simd;

/// The scale, and the levels that it was fitted to.
pub(crate) struct Descent<S: Simd, const N: usize> {
    pub scale: S::F32,
    /// Plus `HALF`; but 0 in groups that hold nothing but zeros.
    pub levels: [S::I32; N],
}

impl<S: Simd, const N: usize> Descent<S, N> {
    /// Searches groups of `N` numbers, one group per lane, for levels `-HALF ..= HALF - 1`.
    ///
    /// A number weighs its square. The levels start from the scale that maps the number of greatest magnitude to
    /// `-HALF`. Then each in turn takes the value that fits best to the scale of all the others, if that lowers the error
    /// of the least-squares fit; up to five passes.
    #[inline(always)]
    pub fn search<const HALF: i32>(s: S, x: &[S::F32; N]) -> Self {
        let zero = s.splat(0.0);
        let [extreme, magnitude] = extreme(s, x);
        let inverse = s.div(s.splat(-HALF as f32), extreme);
        let (mut w, mut wx, mut levels) = ([zero; N], [zero; N], [zero; N]);
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for i in 0..N {
            w[i] = s.mul(x[i], x[i]);
            wx[i] = s.mul(w[i], x[i]);
            levels[i] = level::<S, HALF>(s, s.mul(inverse, x[i]));
            sum_lx = s.add(sum_lx, s.mul(wx[i], levels[i]));
            sum_l2 = s.add(sum_l2, s.mul(s.mul(w[i], levels[i]), levels[i]));
        }
        // The reference ends a group with the first pass that moves nothing; further passes would not either.
        for _ in 0..5 {
            let mut moved = s.lt(zero, zero);
            for i in 0..N {
                let rest_lx = s.sub(sum_lx, s.mul(wx[i], levels[i]));
                let rest_l2 = s.sub(sum_l2, s.mul(s.mul(w[i], levels[i]), levels[i]));
                let level = level::<S, HALF>(s, s.div(s.mul(x[i], rest_l2), rest_lx));
                let candidate = s.and(s.gt(rest_lx, zero), s.not(s.eq(level, levels[i])));
                // Most levels stay.
                if !s.any(candidate) {
                    continue;
                }
                let new_lx = s.add(rest_lx, s.mul(wx[i], level));
                let new_l2 = s.add(rest_l2, s.mul(s.mul(w[i], level), level));
                let gain = s.gt(s.mul(s.mul(new_lx, new_lx), sum_l2), s.mul(s.mul(sum_lx, sum_lx), new_l2));
                let accepted = s.and(s.and(candidate, gain), s.gt(new_l2, zero));
                levels[i] = s.select(accepted, level, levels[i]);
                sum_lx = s.select(accepted, new_lx, sum_lx);
                sum_l2 = s.select(accepted, new_l2, sum_l2);
                moved = s.or(moved, accepted);
            }
            if !s.any(moved) {
                break;
            }
        }
        let zeros = s.lt(magnitude, s.splat(1e-15));
        let scale = s.select(s.gt(sum_l2, zero), s.div(sum_lx, sum_l2), zero);
        let mut stored = [s.splat_i32(0); N];
        for (stored, &level) in stored.iter_mut().zip(&levels) {
            *stored = s.select_i32(zeros, *stored, s.add_i32(s.trunc_i32(level), s.splat_i32(HALF)));
        }
        Descent { scale: s.select(zeros, zero, scale), levels: stored }
    }
}

/// `v` rounded to a level; also for values that are too large for rounding as floats, and for NaN.
#[inline(always)]
fn level<S: Simd, const HALF: i32>(s: S, v: S::F32) -> S::F32 {
    let level = s.min_i32(s.nearest_i32(v), s.splat_i32(HALF - 1));
    s.to_f32(s.max_i32(level, s.splat_i32(-HALF)))
}
