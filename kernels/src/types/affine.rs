//! What Q2_K, Q4_K and Q5_K share: super-blocks of 256 weights whose sub-blocks have a scale and a minimum each,
//! `x ~ d * scale * level - dmin * min`, where scale and minimum are small integers themselves.
//!
//! A lane holds one super-block.

use super::batch::Batch;
use super::sums::sum_of_squares;
use crate::search::{Fit, Positive, ScaleMin};
use crate::simd::{Simd, Twice};

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
        let mut fits = [Fit::flat(s); SUBS];
        for (pair, fits) in fits.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let x = load_pair::<S, N>(
                s,
                batch.weights,
                #[inline(always)]
                |lane| batch.start(lane),
                pair,
            );
            let mut rms = t.splat(0.0);
            if self.add_rms {
                let mut sum = t.splat(0.0);
                for &x in &x {
                    sum = t.add(sum, t.mul(x, x));
                }
                rms = t.sqrt(t.div(sum, t.splat(N as f32)));
            }
            let mut w = x;
            for w in &mut w {
                *w = if self.add_rms { t.add(rms, t.abs(*w)) } else { t.abs(*w) };
            }
            *fits = self.plain.search(t, &x, &w).halves();
        }
        let [scales, mins] = numbers(s, &fits);
        SubScales { scale: self.plain_levels(s, scales), min: self.plain_levels(s, mins), fits }
    }

    /// Levels of numbers whose largest gets the largest one.
    #[inline(always)]
    fn plain_levels<S: Simd, const SUBS: usize>(self, s: S, numbers: [S::F32; SUBS]) -> Quantized<S, SUBS> {
        let zero = s.splat(0.0);
        let mut max = zero;
        for number in numbers {
            max = s.max(number, max);
        }
        let top = s.splat(f32::from(self.max_scale));
        let inverse = s.select(s.gt(max, zero), s.div(top, max), zero);
        let mut levels = [s.splat_i32(0); SUBS];
        for (level, number) in levels.iter_mut().zip(numbers) {
            *level = s.and_i32(s.nearest_i32(s.mul(inverse, number)), s.splat_i32(0xff));
        }
        Quantized { d: s.to_f16_bits(s.div(max, top)), levels }
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
            s.mul(
                s.splat(self.variance_factor),
                sum_of_squares(
                    s,
                    batch.weights,
                    #[inline(always)]
                    |lane| batch.start(lane),
                    LEN,
                ),
            ),
            s.splat(LEN as f32),
        );
        let variance = (variance, variance);

        let mut totals = [s.splat(0.0); SUBS];
        let mut fits = [Fit::flat(s); SUBS];
        for pair in 0..SUBS / 2 {
            let x = load_pair::<S, N>(
                s,
                batch.weights,
                #[inline(always)]
                |lane| batch.start(lane),
                pair,
            );
            let mut w = load_pair::<S, N>(
                s,
                importance,
                #[inline(always)]
                |lane| batch.importance_start(lane),
                pair,
            );
            let mut total = t.splat(0.0);
            for (w, &x) in w.iter_mut().zip(&x) {
                *w = t.mul(*w, t.sqrt(t.add(variance, t.mul(x, x))));
                total = t.add(total, *w);
            }
            (totals[2 * pair], totals[2 * pair + 1]) = total;
            [fits[2 * pair], fits[2 * pair + 1]] = self.weighted.search(t, &x, &w).halves();
        }
        let [scales, mins] = numbers(s, &fits);
        let scales = Positive::search(s, &scales, &totals, self.max_scale);
        let mins = Positive::search(s, &mins, &totals, self.max_scale);
        SubScales {
            scale: Quantized { d: s.to_f16_bits(scales.scale), levels: scales.levels },
            min: Quantized { d: s.to_f16_bits(mins.scale), levels: mins.levels },
            fits,
        }
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
        let scale = s.mul(s.from_f16_bits(scales.scale.d), s.to_f32(scale));
        let min = s.mul(s.from_f16_bits(scales.min.d), s.to_f32(min));
        let (zero, top) = (s.splat_i32(0), s.splat_i32(self.plain.max_level as i32));
        let mut x = [s.splat(0.0); N];
        s.transpose(
            batch.weights,
            #[inline(always)]
            |lane| batch.start(lane) + N * sub,
            &mut x,
        );
        let mut levels = [zero; N];
        for (level, &x) in levels.iter_mut().zip(&x) {
            let nearest = s.nearest_i32(s.div(s.add(x, min), scale));
            *level = s.max_i32(s.min_i32(nearest, top), zero);
        }
        // Where the stored scale is zero, the levels that the search ended with remain.
        let void = s.eq(scale, s.splat(0.0));
        if s.any(void) {
            for (level, &x) in levels.iter_mut().zip(&x) {
                *level = s.select_i32(void, scales.fits[sub].level(s, x), *level);
            }
        }
        levels
    }
}

/// The weights, or importances, of the sub-blocks `2 * pair` and `2 * pair + 1` of super-blocks that start there.
#[inline(always)]
fn load_pair<S: Simd, const N: usize>(
    s: S,
    src: &[f32],
    start: impl Fn(usize) -> usize,
    pair: usize,
) -> [(S::F32, S::F32); N] {
    let t = Twice(s);
    let mut x = [t.splat(0.0); N];
    let sub_block = |lane| start(lane % S::LANES) + N * (2 * pair + lane / S::LANES);
    t.transpose(src, sub_block, &mut x);
    x
}

/// Scales and minima, the latter as the positive numbers that blocks store.
#[inline(always)]
fn numbers<S: Simd, const SUBS: usize>(s: S, fits: &[Fit<S>; SUBS]) -> [[S::F32; SUBS]; 2] {
    let mut numbers = [[s.splat(0.0); SUBS]; 2];
    for (sub, fit) in fits.iter().enumerate() {
        numbers[0][sub] = fit.scale;
        numbers[1][sub] = s.neg(fit.min);
    }
    numbers
}
