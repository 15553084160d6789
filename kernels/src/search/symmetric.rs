//! One scale for numbers of either sign: `x ~ scale * level`, levels `-N ..= N - 1` (`make_qx_quants`).

use crate::simd::Simd;

/// The search for levels `-HALF ..= HALF - 1`.
pub(crate) struct Symmetric<const HALF: i32>;

/// The best scale, and the levels that it was fitted to.
#[derive(Clone, Copy)]
pub(crate) struct SymmetricFit<S: Simd, const HALF: i32> {
    pub scale: S::F32,
    /// Level of `x`: `nearest(inverse * x)`, clamped. Zero for groups that hold nothing but zeros.
    inverse: S::F32,
}

impl<S: Simd, const HALF: i32> SymmetricFit<S, HALF> {
    /// The scale of zeros.
    #[inline(always)]
    pub fn zero(s: S) -> Self {
        SymmetricFit { scale: s.splat(0.0), inverse: s.splat(0.0) }
    }

    /// The level of `x` that the fit was made with, plus `HALF`; but 0 in groups of zeros.
    #[inline(always)]
    pub fn level(&self, s: S, x: S::F32) -> S::I32 {
        let level = unsigned_level::<S, HALF>(s, s.mul(self.inverse, x));
        s.select_i32(s.eq(self.inverse, s.splat(0.0)), s.splat_i32(0), level)
    }
}

/// `v` rounded to a level, plus `HALF`.
#[inline(always)]
pub(crate) fn unsigned_level<S: Simd, const HALF: i32>(s: S, v: S::F32) -> S::I32 {
    let level = s.add_i32(s.nearest_i32(v), s.splat_i32(HALF));
    s.max_i32(s.min_i32(level, s.splat_i32(2 * HALF - 1)), s.splat_i32(0))
}

/// Which clamps an inverse scale needs.
#[derive(Clone, Copy)]
enum Clamp {
    None,
    Upper,
    Both,
}

/// What the search knows so far.
struct Best<S: Simd> {
    scale: S::F32,
    inverse: S::F32,
    /// What a better fit has to exceed: the drop in the weighted squared error.
    gain: S::F32,
}

impl<const HALF: i32> Symmetric<HALF> {
    /// Searches groups of `N` numbers `x` with weights `w`, one group per lane; `wx` are the products `w * x`.
    ///
    /// Inverse scales that map the number of greatest magnitude to `-(HALF + step / 10)` are tried for steps -9 to 9;
    /// the scale of each is the weighted least-squares fit to its levels.
    #[inline(always)]
    pub fn search<S: Simd, const N: usize>(
        s: S,
        x: &[S::F32; N],
        w: &[S::F32; N],
        wx: &[S::F32; N],
    ) -> SymmetricFit<S, HALF> {
        let zero = s.splat(0.0);
        // Of several numbers of the same magnitude the first one decides the sign.
        let (mut magnitude, mut extreme) = (zero, zero);
        for &x in x {
            let larger = s.gt(s.abs(x), magnitude);
            magnitude = s.select(larger, s.abs(x), magnitude);
            extreme = s.select(larger, x, extreme);
        }

        // The untouched range comes first and needs no gain.
        let inverse = s.div(s.splat(-HALF as f32), extreme);
        let [[sum_lx, sum_l2]] = Self::sums(s, x, w, wx, [inverse], Clamp::Upper);
        let scale = s.select(s.eq(sum_l2, zero), zero, s.div(sum_lx, sum_l2));
        let mut best = Best { scale, inverse, gain: s.mul(scale, sum_lx) };

        // The extreme is at -(HALF + step / 10), everything else between that and its opposite. So levels below -HALF
        // come up from step 5 on, levels above HALF - 1 from step -5 on: at -5 a number half-way between HALF - 1 and HALF
        // rounds to the even one. Several steps at a time hide the latency of the sums.
        let mut attempt = |steps, clamp| Self::attempt(s, x, w, wx, extreme, steps, clamp, &mut best);
        attempt([-9, -8], Clamp::None);
        attempt([-7, -6], Clamp::None);
        attempt([-5, -4], Clamp::Upper);
        attempt([-3, -2], Clamp::Upper);
        attempt([-1, 1], Clamp::Upper);
        attempt([2, 3], Clamp::Upper);
        attempt([4, 5], Clamp::Both);
        attempt([6, 7], Clamp::Both);
        attempt([8, 9], Clamp::Both);

        let zeros = s.lt(magnitude, s.splat(1e-15));
        SymmetricFit { scale: s.select(zeros, zero, best.scale), inverse: s.select(zeros, zero, best.inverse) }
    }

    /// Tries some steps, in their order.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn attempt<S: Simd, const N: usize, const K: usize>(
        s: S,
        x: &[S::F32; N],
        w: &[S::F32; N],
        wx: &[S::F32; N],
        extreme: S::F32,
        steps: [i8; K],
        clamp: Clamp,
        best: &mut Best<S>,
    ) {
        let inverses = steps.map(|step| s.div(s.splat(-(HALF as f32 + 0.1 * f32::from(step))), extreme));
        let sums = Self::sums(s, x, w, wx, inverses, clamp);
        for (inverse, [sum_lx, sum_l2]) in inverses.into_iter().zip(sums) {
            let better = s.gt(s.mul(sum_lx, sum_lx), s.mul(best.gain, sum_l2));
            let better = s.and(better, s.gt(sum_l2, s.splat(0.0)));
            let scale = s.div(sum_lx, sum_l2);
            best.scale = s.select(better, scale, best.scale);
            best.inverse = s.select(better, inverse, best.inverse);
            best.gain = s.select(better, s.mul(scale, sum_lx), best.gain);
        }
    }

    /// The sums of `w x l` and `w l l` over the elements, where `l` is the level of `x` for each of the inverse scales.
    #[inline(always)]
    fn sums<S: Simd, const N: usize, const K: usize>(
        s: S,
        x: &[S::F32; N],
        w: &[S::F32; N],
        wx: &[S::F32; N],
        inverses: [S::F32; K],
        clamp: Clamp,
    ) -> [[S::F32; 2]; K] {
        let (low, high) = (s.splat(-HALF as f32), s.splat((HALF - 1) as f32));
        let mut sums = [[s.splat(0.0); 2]; K];
        for i in 0..N {
            for (inverse, sums) in inverses.into_iter().zip(&mut sums) {
                let level = s.round_even(s.mul(inverse, x[i]));
                let level = match clamp {
                    Clamp::None => level,
                    Clamp::Upper => s.min(level, high),
                    Clamp::Both => s.max(s.min(level, high), low),
                };
                sums[0] = s.add(sums[0], s.mul(wx[i], level));
                sums[1] = s.add(sums[1], s.mul(s.mul(w[i], level), level));
            }
        }
        sums
    }
}
