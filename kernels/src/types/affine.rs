//! What Q2_K, Q4_K and Q5_K share: super-blocks of 256 weights whose sub-blocks have a scale and a minimum each,
//! `x ~ d * scale * level - dmin * min`, where scale and minimum are small integers themselves.
//!
//! A lane holds one super-block.

use super::batch::Batch;
use super::sums::sum_of_squares;
use crate::search::{Fit, Positive, ScaleMin};
use crate::simd::{Simd, Twice};
use core::array::from_fn;

/// Weights of a super-block.
pub(crate) const LEN: usize = 256;

/// What tells the types apart.
#[derive(Clone, Copy)]
pub(crate) struct Affine {
    /// The search without importance.
    pub plain: ScaleMin,
    /// The search with importance.
    pub weighted: ScaleMin,
    /// Without importance, a weight counts by its magnitude, plus the sub-block's root mean square if this is set.
    pub add_rms: bool,
    /// With importance, a weight counts by its column's times `sqrt(variance_factor * mean(x * x) + x * x)`.
    pub variance_factor: f32,
    /// The largest scale and minimum of a sub-block.
    pub max_scale: u8,
}

/// SubScales of super-blocks of `SUBS` sub-blocks, one per lane.
pub(crate) struct SubScales<S: Simd, const SUBS: usize> {
    pub scale: Quantized<S, SUBS>,
    pub min: Quantized<S, SUBS>,
    fits: [Fit<S>; SUBS],
}

/// Numbers `d * levels`.
pub(crate) struct Quantized<S: Simd, const SUBS: usize> {
    /// As f16 bits.
    pub d: S::I32,
    /// Bytes.
    pub levels: [S::I32; SUBS],
}

impl Affine {
    /// Chooses the scales of one super-block per lane: `SUBS` sub-blocks of `N` weights.
    #[inline(always)]
    pub fn scales<S: Simd, const SUBS: usize, const N: usize>(self, s: S, batch: &Batch) -> SubScales<S, SUBS> {
        match batch.importance {
            None => self.plain_scales::<S, SUBS, N>(s, batch),
            Some(importance) => self.weighted_scales::<S, SUBS, N>(s, batch, importance),
        }
    }

    #[inline(always)]
    fn plain_scales<S: Simd, const SUBS: usize, const N: usize>(self, s: S, batch: &Batch) -> SubScales<S, SUBS> {
        let t = Twice(s);
        let fits = fit_pairs(s, |pair| {
            let x = load_pair::<S, N>(s, batch, pair);
            let mut rms = t.splat(0.0);
            if self.add_rms {
                let sum = x.iter().fold(rms, |sum, &x| t.add(sum, t.mul(x, x)));
                rms = t.sqrt(t.div(sum, t.splat(N as f32)));
            }
            let w = x.map(|x| if self.add_rms { t.add(rms, t.abs(x)) } else { t.abs(x) });
            self.plain.search(t, &x, &w)
        });
        let quantize = |values: [S::F32; SUBS]| {
            let zero = s.splat(0.0);
            let max = values.iter().fold(zero, |max, &v| s.max(v, max));
            let top = s.splat(f32::from(self.max_scale));
            let inverse = s.select(s.gt(max, zero), s.div(top, max), zero);
            let level = |v| s.and_i32(s.nearest_i32(s.mul(inverse, v)), s.splat_i32(0xff));
            Quantized { d: s.to_f16_bits(s.div(max, top)), levels: values.map(level) }
        };
        let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| s.neg(fit.min)));
        SubScales { scale: quantize(scales), min: quantize(mins), fits }
    }

    #[inline(always)]
    fn weighted_scales<S: Simd, const SUBS: usize, const N: usize>(
        self,
        s: S,
        batch: &Batch,
        importance: &[f32],
    ) -> SubScales<S, SUBS> {
        let t = Twice(s);
        let variance = s.div(
            s.mul(s.splat(self.variance_factor), sum_of_squares(s, batch.weights, |lane| batch.start(lane), LEN)),
            s.splat(LEN as f32),
        );
        let variance = (variance, variance);
        let mut totals = [s.splat(0.0); SUBS];
        let fits = fit_pairs(s, |pair| {
            let x = load_pair::<S, N>(s, batch, pair);
            let mut w = [t.splat(0.0); N];
            t.transpose(importance, |l| batch.importance_start(l % S::LANES) + N * (2 * pair + l / S::LANES), &mut w);
            for (w, &x) in w.iter_mut().zip(&x) {
                *w = t.mul(*w, t.sqrt(t.add(variance, t.mul(x, x))));
            }
            (totals[2 * pair], totals[2 * pair + 1]) = w.iter().fold(t.splat(0.0), |sum, &w| t.add(sum, w));
            self.weighted.search(t, &x, &w)
        });
        let quantize = |values: [S::F32; SUBS]| {
            let Positive { scale, levels } = Positive::search(s, &values, &totals, self.max_scale);
            Quantized { d: s.to_f16_bits(scale), levels }
        };
        let (scales, mins) = (fits.map(|fit| fit.scale), fits.map(|fit| s.neg(fit.min)));
        SubScales { scale: quantize(scales), min: quantize(mins), fits }
    }

    /// The levels of sub-block `sub`, given its scale and minimum as the block stores them.
    #[inline(always)]
    pub fn levels<S: Simd, const SUBS: usize, const N: usize>(
        self,
        s: S,
        batch: &Batch,
        scales: &SubScales<S, SUBS>,
        sub: usize,
        [scale, min]: [S::I32; 2],
    ) -> [S::I32; N] {
        let times = |d, level| s.mul(s.from_f16_bits(d), s.to_f32(level));
        let (scale, min) = (times(scales.scale.d, scale), times(scales.min.d, min));
        let (zero, top) = (s.splat_i32(0), s.splat_i32(self.plain.max_level as i32));
        let mut x = [s.splat(0.0); N];
        s.transpose(batch.weights, |lane| batch.start(lane) + N * sub, &mut x);
        let levels = x.map(|x| {
            let level = s.nearest_i32(s.div(s.add(x, min), scale));
            s.max_i32(s.min_i32(level, top), zero)
        });
        // Where the stored scale is zero, the levels that the search ended with remain.
        let void = s.eq(scale, s.splat(0.0));
        if !s.any(void) {
            return levels;
        }
        from_fn(|i| s.select_i32(void, scales.fits[sub].level(s, x[i]), levels[i]))
    }
}

/// Fits sub-blocks, two at a time.
#[inline(always)]
fn fit_pairs<S: Simd, const SUBS: usize>(s: S, mut fit: impl FnMut(usize) -> Fit<Twice<S>>) -> [Fit<S>; SUBS] {
    let mut fits = [Fit::flat(s); SUBS];
    for pair in 0..SUBS / 2 {
        [fits[2 * pair], fits[2 * pair + 1]] = fit(pair).halves();
    }
    fits
}

/// The weights of the sub-blocks `2 * pair` and `2 * pair + 1`.
#[inline(always)]
fn load_pair<S: Simd, const N: usize>(s: S, batch: &Batch, pair: usize) -> [(S::F32, S::F32); N] {
    let t = Twice(s);
    let mut x = [t.splat(0.0); N];
    t.transpose(batch.weights, |lane| batch.start(lane % S::LANES) + N * (2 * pair + lane / S::LANES), &mut x);
    x
}
