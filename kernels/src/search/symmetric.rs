//! One scale for numbers of either sign: `x ~ scale * level`, levels `-HALF ..= HALF - 1` (`make_qx_quants`).

use crate::simd::Simd;

/// Groups of `N` numbers, one per lane, for levels `-HALF ..= HALF - 1`.
pub(crate) struct Symmetric<'a, S: Simd, const N: usize, const HALF: i32> {
    pub x: &'a [S::F32; N],
    /// The weights of the numbers.
    pub w: &'a [S::F32; N],
    /// The products `w * x`.
    pub wx: &'a [S::F32; N],
    /// All `x` are known to be finite. Otherwise levels are rounded as integers: NaN then gets level 0.
    pub finite: bool,
}

/// The best scale, and the levels that it was fitted to.
#[derive(Clone, Copy)]
pub(crate) struct SymmetricFit<S: Simd, const HALF: i32> {
    pub scale: S::F32,
    /// Level of `x`: `nearest(inverse * x)`, clamped.
    inverse: S::F32,
    /// Groups that hold nothing but zeros.
    zeros: S::Mask,
}

impl<S: Simd, const HALF: i32> SymmetricFit<S, HALF> {
    /// The scale of zeros.
    #[inline(always)]
    pub fn zero(s: S) -> Self {
        let zero = s.splat(0.0);
        SymmetricFit { scale: zero, inverse: zero, zeros: s.eq(zero, zero) }
    }

    /// The level of `x` that the fit was made with, plus `HALF`; but 0 in groups of zeros.
    #[inline(always)]
    pub fn level(&self, s: S, x: S::F32) -> S::I32 {
        let level = unsigned_level::<S, HALF>(s, s.mul(self.inverse, x));
        s.select_i32(self.zeros, s.splat_i32(0), level)
    }
}

/// `v` rounded to a level, plus `HALF`.
#[inline(always)]
pub(crate) fn unsigned_level<S: Simd, const HALF: i32>(s: S, v: S::F32) -> S::I32 {
    let level = s.add_i32(s.nearest_i32(v), s.splat_i32(HALF));
    s.max_i32(s.min_i32(level, s.splat_i32(2 * HALF - 1)), s.splat_i32(0))
}

/// The number of greatest magnitude, of several the first one, and its magnitude.
#[inline(always)]
pub(crate) fn extreme<S: Simd, const N: usize>(s: S, x: &[S::F32; N]) -> [S::F32; 2] {
    let (mut magnitude, mut extreme) = (s.splat(0.0), s.splat(0.0));
    for &x in x {
        let larger = s.gt(s.abs(x), magnitude);
        // Not a selection, which the next comparison would have to wait for.
        magnitude = s.max(s.abs(x), magnitude);
        extreme = s.select(larger, x, extreme);
    }
    [extreme, magnitude]
}

/// Which clamps the levels need.
#[derive(Clone, Copy)]
enum Clamp {
    None,
    Upper,
    Both,
}

/// What the search knows so far.
struct Best<S: Simd> {
    extreme: S::F32,
    scale: S::F32,
    inverse: S::F32,
    /// What a better fit has to exceed: by how much the fit lowers the weighted squared error.
    gain: S::F32,
}

impl<S: Simd, const N: usize, const HALF: i32> Symmetric<'_, S, N, HALF> {
    /// Tries inverse scales that map the number of greatest magnitude to `-(HALF + step / 10)`, for steps -9 to 9; the
    /// scale of each is the weighted least-squares fit to the levels that it gives.
    #[inline(always)]
    pub fn search(self, s: S) -> SymmetricFit<S, HALF> {
        let zero = s.splat(0.0);
        let [extreme, magnitude] = extreme(s, self.x);

        // Step 0 comes first and needs no gain.
        let inverse = s.div(s.splat(-HALF as f32), extreme);
        let [[sum_lx, sum_l2]] = self.sums(s, [inverse], Clamp::Upper);
        let scale = s.select(s.eq(sum_l2, zero), zero, s.div(sum_lx, sum_l2));
        let mut best = Best { extreme, scale, inverse, gain: s.mul(scale, sum_lx) };

        // The extreme is mapped to -(HALF + step / 10), everything else between that and its opposite. So levels below
        // -HALF come up from step 5 on, levels above HALF - 1 from step -5 on (a number half-way between HALF - 1 and
        // HALF rounds to the even one). The sums of a step do not depend on other steps. Written out one after another, the
        // CPU overlaps those of few numbers (a loop is 8 % slower on Zen 4, two at a time have too many registers); of
        // more numbers, two at a time keep it busier.
        macro_rules! attempt {
            ($($clamp:ident: $([$($step:literal),*])*;)*) => {
                $($(self.attempt(s, [$($step as f32),*], Clamp::$clamp, &mut best);)*)*
            };
        }
        if N > 16 {
            attempt! {
                None: [-9, -8] [-7, -6];
                Upper: [-5, -4] [-3, -2] [-1, 1] [2, 3];
                Both: [4, 5] [6, 7] [8, 9];
            }
        } else {
            attempt! {
                None: [-9] [-8] [-7] [-6];
                Upper: [-5] [-4] [-3] [-2] [-1] [1] [2] [3] [4];
                Both: [5] [6] [7] [8] [9];
            }
        }

        let zeros = s.lt(magnitude, s.splat(1e-15));
        SymmetricFit { scale: s.select(zeros, zero, best.scale), inverse: best.inverse, zeros }
    }

    /// Tries steps.
    #[inline(always)]
    fn attempt<const K: usize>(&self, s: S, steps: [f32; K], clamp: Clamp, best: &mut Best<S>) {
        let inverses = steps.map(
            #[inline(always)]
            |step| s.div(s.splat(-(HALF as f32 + 0.1 * step)), best.extreme),
        );
        let sums = self.sums(s, inverses, clamp);
        for (inverse, [sum_lx, sum_l2]) in inverses.into_iter().zip(sums) {
            let better = s.gt(s.mul(sum_lx, sum_lx), s.mul(best.gain, sum_l2));
            let better = s.and(better, s.gt(sum_l2, s.splat(0.0)));
            let scale = s.div(sum_lx, sum_l2);
            best.scale = s.select(better, scale, best.scale);
            best.inverse = s.select(better, inverse, best.inverse);
            best.gain = s.select(better, s.mul(scale, sum_lx), best.gain);
        }
    }

    /// The sums of `w x l` and `w l l` over the numbers, where `l` is the level of `x`, for each of the inverse scales.
    #[inline(always)]
    fn sums<const K: usize>(&self, s: S, inverses: [S::F32; K], clamp: Clamp) -> [[S::F32; 2]; K] {
        let (low, high) = (s.splat(-HALF as f32), s.splat((HALF - 1) as f32));
        let mut sums = [[s.splat(0.0); 2]; K];
        for i in 0..N {
            for (sums, inverse) in sums.iter_mut().zip(inverses) {
                let v = s.mul(inverse, self.x[i]);
                let level = match clamp {
                    _ if !self.finite => s.to_f32(s.sub_i32(unsigned_level::<S, HALF>(s, v), s.splat_i32(HALF))),
                    Clamp::None => s.round_even(v),
                    Clamp::Upper => s.min(s.round_even(v), high),
                    Clamp::Both => s.max(s.min(s.round_even(v), high), low),
                };
                sums[0] = s.add(sums[0], s.mul(self.wx[i], level));
                sums[1] = s.add(sums[1], s.mul(s.mul(self.w[i], level), level));
            }
        }
        sums
    }
}
