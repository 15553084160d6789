//! What Q2_K, Q4_K and Q5_K share: super-blocks of 256 weights whose sub-blocks have a scale and a minimum each,
//! `x ~ d * scale * level - dmin * min`, where scale and minimum are small integers themselves.
//!
//! A lane holds one super-block.

use super::batch::{self, Batch, sixteen};
use super::sums::sum_of_squares;
use crate::search::{Fit, Positive, Room, ScaleMin};
use crate::simd::{Simd, TILE, Twice};

/// Weights of a super-block.
pub(crate) const LEN: usize = 256;

/// The super-block of each lane, or the importance of its columns.
pub(crate) type Rows<'a> = batch::LaneRows<'a, LEN>;

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
    pub fn scales<S: Simd, const SUBS: usize, const N: usize>(
        self,
        s: S,
        batch: &Batch,
        rows: &Rows,
    ) -> SubScales<S, SUBS> {
        match batch.importance {
            None => self.plain_scales::<S, SUBS, N>(s, rows),
            Some(importance) => self.weighted_scales::<S, SUBS, N>(s, rows, &batch.importance_rows(importance)),
        }
    }

    #[inline(always)]
    fn plain_scales<S: Simd, const SUBS: usize, const N: usize>(self, s: S, rows: &Rows) -> SubScales<S, SUBS> {
        let t = Twice(s);
        let mut room = Room::<_, N>::new(t);
        let mut fits = [Fit::flat(s); SUBS];
        for (pair, fits) in fits.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let [x, w] = room.numbers();
            load_pair(s, rows, pair, x);
            let mut rms = t.splat(0.0);
            if self.add_rms {
                let mut sum = t.splat(0.0);
                for &x in &*x {
                    sum = t.add(sum, t.mul(x, x));
                }
                rms = t.sqrt(t.div(sum, t.splat(N as f32)));
            }
            for (w, &x) in w.iter_mut().zip(&*x) {
                *w = if self.add_rms { t.add(rms, t.abs(x)) } else { t.abs(x) };
            }
            *fits = self.plain.search(t, &mut room).halves();
        }
        let (mut scales, mut mins) = ([s.splat(0.0); SUBS], [s.splat(0.0); SUBS]);
        for (sub, fit) in fits.iter().enumerate() {
            // Blocks store minima as positive numbers.
            (scales[sub], mins[sub]) = (fit.scale, s.neg(fit.min));
        }
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
        rows: &Rows,
        importance: &Rows,
    ) -> SubScales<S, SUBS> {
        let t = Twice(s);
        let sum = sum_of_squares(
            s,
            LEN,
            #[inline(always)]
            |lane| rows[lane],
        );
        let variance = s.div(s.mul(s.splat(self.variance_factor), sum), s.splat(LEN as f32));
        let variance = (variance, variance);

        let mut room = Room::<_, N>::new(t);
        let mut totals = [s.splat(0.0); SUBS];
        let mut fits = [Fit::flat(s); SUBS];
        for pair in 0..SUBS / 2 {
            let [x, w] = room.numbers();
            load_pair(s, rows, pair, x);
            load_pair(s, importance, pair, w);
            let mut total = t.splat(0.0);
            for (w, &x) in w.iter_mut().zip(&*x) {
                *w = t.mul(*w, t.sqrt(t.add(variance, t.mul(x, x))));
                total = t.add(total, *w);
            }
            (totals[2 * pair], totals[2 * pair + 1]) = total;
            [fits[2 * pair], fits[2 * pair + 1]] = self.weighted.search(t, &mut room).halves();
        }
        // Each waits for its own last step most of the time, so scales and minima go in step.
        let mut numbers = [t.splat(0.0); SUBS];
        for (number, fit) in numbers.iter_mut().zip(&fits) {
            *number = (fit.scale, s.neg(fit.min));
        }
        let totals = totals.map(
            #[inline(always)]
            |total| (total, total),
        );
        let Positive { scale, levels } = Positive::search(t, &numbers, &totals, self.max_scale);
        let mut halves = [scale.0, scale.1].map(
            #[inline(always)]
            |scale| Quantized { d: s.to_f16_bits(scale), levels: [s.splat_i32(0); SUBS] },
        );
        for (sub, level) in levels.into_iter().enumerate() {
            (halves[0].levels[sub], halves[1].levels[sub]) = level;
        }
        let [scale, min] = halves;
        SubScales { scale, min, fits }
    }

    /// The levels of sub-block `sub`, given its scale and minimum as the block stores them.
    #[inline(always)]
    pub fn levels<S: Simd, const SUBS: usize, const N: usize>(
        self,
        s: S,
        rows: &Rows,
        scales: &SubScales<S, SUBS>,
        sub: usize,
        [scale, min]: [S::I32; 2],
    ) -> [S::I32; N] {
        let scale = s.mul(s.from_f16_bits(scales.scale.d), s.to_f32(scale));
        let min = s.mul(s.from_f16_bits(scales.min.d), s.to_f32(min));
        let (zero, top) = (s.splat_i32(0), s.splat_i32(self.plain.max_level as i32));
        let mut x = [s.splat(0.0); N];
        batch::load(s, rows, N * sub, &mut x);
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

/// The weights, or importances, of the sub-blocks `2 * pair` and `2 * pair + 1` of super-blocks, one per lane.
#[inline(always)]
fn load_pair<S: Simd, const N: usize>(s: S, rows: &Rows, pair: usize, x: &mut [(S::F32, S::F32); N]) {
    for tile in (0..N).step_by(TILE) {
        s.columns(
            #[inline(always)]
            |lane| sixteen(rows[lane], N * 2 * pair + tile),
            #[inline(always)]
            |i, column| x[tile + i].0 = column,
        );
        s.columns(
            #[inline(always)]
            |lane| sixteen(rows[lane], N * (2 * pair + 1) + tile),
            #[inline(always)]
            |i, column| x[tile + i].1 = column,
        );
    }
}
