//! One scale for non-negative numbers: `x ~ scale * level` (`make_qp_quants`).

use crate::simd::Simd;

/// The scale and the levels, as the low byte of each lane.
pub(crate) struct Positive<S: Simd, const N: usize> {
    pub scale: S::F32,
    pub levels: [S::I32; N],
}

impl<S: Simd, const N: usize> Positive<S, N> {
    /// Searches groups of `N` numbers `x` with weights `w`, one group per lane, for levels up to `max_level`.
    ///
    /// Some other inverse scales are tried first; then single levels are moved while that helps. Numbers are expected to
    /// be non-negative; levels of others wrap to a byte, as they do in the reference.
    #[inline(always)]
    pub fn search(s: S, x: &[S::F32; N], w: &[S::F32; N], max_level: u8) -> Self {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let top = f32::from(max_level);
        let most = s.splat_i32(i32::from(max_level));
        let byte = |level| s.and_i32(level, s.splat_i32(0xff));
        let mut max = zero;
        for &x in x {
            max = s.max(max, x);
        }
        // Groups without numbers worth a level go along as if their largest were 1.
        let empty = s.lt(max, s.splat(1e-15));
        let max = s.select(empty, one, max);
        let mut inverse = s.div(s.splat(top), max);
        // The first levels are cut down to a byte instead of limited.
        let mut best = error(
            s,
            x,
            w,
            inverse,
            #[inline(always)]
            |level| s.and_i32(level, s.splat_i32(0xff)),
        );
        for step in [-4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0f32] {
            let tried = s.div(s.splat(0.1 * step + top), max);
            let sum = error(
                s,
                x,
                w,
                tried,
                #[inline(always)]
                |level| s.min_i32(level, most),
            );
            let better = s.lt(sum, best);
            best = s.select(better, sum, best);
            inverse = s.select(better, tried, inverse);
        }

        let mut levels = [s.splat_i32(0); N];
        let (mut sum_lx, mut sum_l2) = (zero, zero);
        for i in 0..N {
            let level = s.min_i32(s.nearest_i32(s.mul(inverse, x[i])), most);
            levels[i] = byte(level);
            let level = s.to_f32(level);
            sum_lx = s.add(sum_lx, s.mul(s.mul(w[i], x[i]), level));
            sum_l2 = s.add(sum_l2, s.mul(s.mul(w[i], level), level));
        }
        // The reference stops a group whose levels did not change in a pass; a further pass would not change them either.
        for _ in 0..5 {
            let mut changed = s.lt(one, zero);
            for i in 0..N {
                let wx = s.mul(w[i], x[i]);
                let old = s.to_f32(levels[i]);
                let rest_lx = s.sub(sum_lx, s.mul(wx, old));
                let rest_l2 = s.sub(sum_l2, s.mul(s.mul(w[i], old), old));
                let level = s.min_i32(s.nearest_i32(s.div(s.mul(x[i], rest_l2), rest_lx)), most);
                let new = s.to_f32(level);
                let new_lx = s.add(rest_lx, s.mul(wx, new));
                let new_l2 = s.add(rest_l2, s.mul(s.mul(w[i], new), new));
                let possible = s.and(s.gt(rest_lx, zero), s.gt(rest_l2, zero));
                let moved = s.and(possible, s.not(s.eq_i32(level, levels[i])));
                let gain = s.gt(s.mul(s.mul(new_lx, new_lx), sum_l2), s.mul(s.mul(sum_lx, sum_lx), new_l2));
                let accepted = s.and(moved, gain);
                levels[i] = s.select_i32(accepted, byte(level), levels[i]);
                sum_lx = s.select(accepted, new_lx, sum_lx);
                sum_l2 = s.select(accepted, new_l2, sum_l2);
                changed = s.or(changed, accepted);
            }
            if !s.any(changed) {
                break;
            }
        }
        let scale = s.select(s.gt(sum_l2, zero), s.div(sum_lx, sum_l2), zero);
        for level in &mut levels {
            *level = s.select_i32(empty, s.splat_i32(0), *level);
        }
        Positive { scale: s.select(empty, zero, scale), levels }
    }
}

/// The weighted sum of squared differences.
#[inline(always)]
fn error<S: Simd, const N: usize>(
    s: S,
    x: &[S::F32; N],
    w: &[S::F32; N],
    inverse: S::F32,
    limit: impl Fn(S::I32) -> S::I32,
) -> S::F32 {
    let scale = s.div(s.splat(1.0), inverse);
    let mut sum = s.splat(0.0);
    for i in 0..N {
        let level = limit(s.nearest_i32(s.mul(inverse, x[i])));
        let difference = s.sub(x[i], s.mul(scale, s.to_f32(level)));
        sum = s.add(sum, s.mul(s.mul(w[i], difference), difference));
    }
    sum
}
