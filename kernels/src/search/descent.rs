//! One scale for numbers of either sign by moving single levels: `x ~ scale * level`, levels `-N ..= N - 1`
//! (`make_q3_quants`).

use crate::simd::Simd;

/// The scale, and the levels that it was fitted to.
pub(crate) struct Descent<S: Simd, const N: usize> {
    pub scale: S::F32,
    /// Plus `half`; but 0 in groups that hold nothing but zeros.
    pub levels: [S::I32; N],
}

impl<S: Simd, const N: usize> Descent<S, N> {
    /// Searches groups of `N` numbers, one group per lane, for levels `-half ..= half - 1`.
    ///
    /// A number weighs its square. The levels start from the scale that maps the number of greatest magnitude to
    /// `-half`. Then each in turn takes the value that fits best to the scale of all the others, if that lowers the error
    /// of the least-squares fit; up to five passes.
    #[inline(always)]
    pub fn search(s: S, x: &[S::F32; N], half: u8) -> Self {
        let zero = s.splat(0.0);
        let (mut magnitude, mut extreme) = (zero, zero);
        for &x in x {
            let larger = s.gt(s.abs(x), magnitude);
            magnitude = s.select(larger, s.abs(x), magnitude);
            extreme = s.select(larger, x, extreme);
        }
        let zeros = s.lt(magnitude, s.splat(1e-15));

        let half = i32::from(half);
        let (low, high) = (s.splat_i32(-half), s.splat_i32(half - 1));
        let nearest = |v| s.max_i32(s.min_i32(s.nearest_i32(v), high), low);
        let inverse = s.div(s.splat(-half as f32), extreme);
        let mut levels = x.map(|x| s.to_f32(nearest(s.mul(inverse, x))));
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for i in 0..N {
            let w = s.mul(x[i], x[i]);
            sum_lx = s.add(sum_lx, s.mul(s.mul(w, x[i]), levels[i]));
            sum_l2 = s.add(sum_l2, s.mul(s.mul(w, levels[i]), levels[i]));
        }
        // The reference ends a group with the first pass that moves nothing; further passes would not either.
        for _ in 0..5 {
            let mut moved = s.lt(zero, zero);
            for i in 0..N {
                let w = s.mul(x[i], x[i]);
                let wx = s.mul(w, x[i]);
                let rest_lx = s.sub(sum_lx, s.mul(wx, levels[i]));
                let rest_l2 = s.sub(sum_l2, s.mul(s.mul(w, levels[i]), levels[i]));
                let level = s.to_f32(nearest(s.div(s.mul(x[i], rest_l2), rest_lx)));
                let candidate = s.and(s.gt(rest_lx, zero), s.not(s.eq(level, levels[i])));
                // Most passes move few levels or none.
                if !s.any(candidate) {
                    continue;
                }
                let new_lx = s.add(rest_lx, s.mul(wx, level));
                let new_l2 = s.add(rest_l2, s.mul(s.mul(w, level), level));
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
        let scale = s.select(s.gt(sum_l2, zero), s.div(sum_lx, sum_l2), zero);
        let stored = |level| s.add_i32(s.trunc_i32(level), s.splat_i32(half));
        Descent {
            scale: s.select(zeros, zero, scale),
            levels: levels.map(|level| s.select_i32(zeros, s.splat_i32(0), stored(level))),
        }
    }
}
