//! The scale with which codes come nearest to the weights of a group.
//!
//! A lane holds one group. Of every scale that is tried the squared error of the codes made with it is summed up, weighted by
//! importance where there is one; and how that error would change with the scale while the codes stay the same, which gives
//! the scale that fits them best. What counts is the error with the scale as it will be stored.

use super::grid::{E2M1, Grid, Integers, Powers, Quotients};
use super::{Groups, MOST_LANES};
use crate::Dtype;
use crate::simd::{Kernel, Level, Simd};

/// Tried in place of a scale: so many times it. A smaller one clips the greatest weights and lets all others be coded more
/// finely; a larger one has those in range that the scale itself just clips. With what fits best the error of normally
/// distributed weights in groups of 128 is 10.13 %, that of the best of 60 ratios 10.09 %.
const RATIOS: [f32; COUNT] = [1.0, 1.06, 0.93, 0.86, 0.79, 0.72];

/// The same where codes have more than 6 bits, so that little is gained by clipping.
const FINE_RATIOS: [f32; COUNT] = [1.0, 1.004, 0.998, 0.99, 0.97, 0.90];

/// The same for 4-bit floats whose scales are 8-bit ones. A larger scale puts the greatest weight where these floats are dense.
const FLOAT_RATIOS: [f32; COUNT] = [1.0, 0.87, 1.13, 1.26, 1.41, 1.54];

/// The same where scales are powers of two: all that can be of use.
const POWER_RATIOS: [f32; TOGETHER] = [1.0, 0.5, 2.0];

/// Candidates of one sign.
const COUNT: usize = 6;

/// Candidates whose errors are summed up at the same time: no sum waits for another.
const TOGETHER: usize = 3;

/// Columns that are looked at together.
const WIDTH: usize = 32;

const _: () = assert!(COUNT.is_multiple_of(TOGETHER));

/// Signs that a scale may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signs {
    /// That which it has.
    Own,
    /// The other one, too, so that the level that the other sign lacks can be of use on either side.
    Both,
}

/// Which whole numbers a weight over its scale can become.
#[derive(Clone, Copy, Debug)]
pub enum Bounds<'a> {
    /// From the first to the second.
    All([f32; 2]),
    /// From a number of each group on so many and one: codes less a zero point.
    Each {
        /// The least of each group.
        low: &'a [f32],
        /// The greatest of all less the least.
        levels: f32,
    },
}

/// How a scale of 4-bit floats is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FloatScale {
    /// As a power of two.
    Power,
    /// As an 8-bit float (`float8_e4m3fn`), which is divided by this when it is used.
    E4M3Over(f32),
}

/// Replaces each of `scales`, numbers other than zero as type `stored` holds them, by another such number that gives a smaller
/// error, if one of those that are tried does: certain multiples of it, and of each what fits its codes best.
///
/// A scale keeps its sign unless `signs` says otherwise. `importance` has a weight for every column, the same for each row.
///
/// # Panics
/// If a length does not fit, or if `stored` is none of F32, BF16 and F16.
pub fn search(
    level: Level,
    groups: Groups<'_>,
    importance: Option<&[f32]>,
    bounds: Bounds<'_>,
    stored: Dtype,
    signs: Signs,
    scales: &mut [f32],
) {
    check(&groups, importance, scales);
    assert!(matches!(stored, Dtype::F32 | Dtype::BF16 | Dtype::F16), "scales are of type F32, BF16 or F16");
    let levels = match bounds {
        Bounds::All([low, high]) => high - low,
        Bounds::Each { low, levels } => {
            assert_eq!(low.len(), scales.len(), "bounds for each group");
            levels
        }
    };
    let ratios = if levels > 63.0 { &FINE_RATIOS } else { &RATIOS };
    level.run(Search { groups, importance, grid: Integers { bounds, stored }, ratios, signs, scales });
}

/// The same for [`e2m1`](super::e2m1): `scales` are as they are stored, powers of two or 8-bit floats, and positive.
///
/// # Panics
/// If a length does not fit.
pub fn search_e2m1(
    level: Level,
    groups: Groups<'_>,
    importance: Option<&[f32]>,
    stored: FloatScale,
    scales: &mut [f32],
) {
    check(&groups, importance, scales);
    let signs = Signs::Own;
    match stored {
        FloatScale::Power => {
            let grid = E2M1 { stored: Powers };
            level.run(Search { groups, importance, grid, ratios: &POWER_RATIOS, signs, scales });
        }
        FloatScale::E4M3Over(divisor) => {
            let grid = E2M1 { stored: Quotients { divisor } };
            level.run(Search { groups, importance, grid, ratios: &FLOAT_RATIOS, signs, scales });
        }
    }
}

fn check(groups: &Groups<'_>, importance: Option<&[f32]>, scales: &[f32]) {
    assert_eq!(groups.count(), scales.len(), "one scale for each group");
    assert!(importance.is_none_or(|importance| importance.len() == groups.columns), "a weight for every column");
}

struct Search<'a, G> {
    groups: Groups<'a>,
    importance: Option<&'a [f32]>,
    grid: G,
    ratios: &'static [f32],
    signs: Signs,
    scales: &'a mut [f32],
}

impl<G: Grid> Kernel for Search<'_, G> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.scales.len();
        for first in (0..count).step_by(S::LANES) {
            let batch = Batch { first, last: count - 1 };
            let mut best = [0.0; MOST_LANES];
            s.store(self.best(s, &batch), &mut best);
            let lanes = S::LANES.min(count - first);
            self.scales[first..][..lanes].copy_from_slice(&best[..lanes]);
        }
    }
}

/// Consecutive groups, one per lane. Where fewer are left than a vector has lanes, the last one is repeated.
pub(super) struct Batch {
    first: usize,
    last: usize,
}

impl Batch {
    #[inline(always)]
    fn group(&self, lane: usize) -> usize {
        (self.first + lane).min(self.last)
    }

    /// A number of each group.
    #[inline(always)]
    pub fn load<S: Simd>(&self, s: S, numbers: &[f32]) -> S::F32 {
        let mut own = [0.0; MOST_LANES];
        for (lane, number) in own[..S::LANES].iter_mut().enumerate() {
            *number = numbers[self.group(lane)];
        }
        s.load(&own)
    }
}

/// A scale that is tried.
#[derive(Clone, Copy)]
struct Candidate<S: Simd> {
    /// As it is stored.
    stored: S::F32,
    /// Of what it is used as.
    inverse: S::F32,
    /// Sums of squared errors, and of errors times codes, in units of the scale.
    squares: S::F32,
    products: S::F32,
}

impl<G: Grid> Search<'_, G> {
    #[inline(always)]
    fn candidate<S: Simd>(&self, s: S, scale: S::F32) -> Candidate<S> {
        let stored = self.grid.stored(s, scale);
        let zero = s.splat(0.0);
        Candidate { stored, inverse: s.div(s.splat(1.0), self.grid.used(s, stored)), squares: zero, products: zero }
    }

    /// The best scale that is found.
    #[inline(always)]
    fn best<S: Simd>(&self, s: S, batch: &Batch) -> S::F32 {
        let scale = batch.load(s, self.scales);
        let bounds = self.grid.bounds(s, batch);
        let count = self.ratios.len();
        let mut candidates = [self.candidate(s, scale); 2 * COUNT];
        for (i, &ratio) in self.ratios.iter().enumerate() {
            candidates[i] = self.candidate(s, s.mul(scale, s.splat(ratio)));
        }
        let candidates = match self.signs {
            Signs::Own => &mut candidates[..count],
            Signs::Both => {
                for i in 0..count {
                    let Candidate { stored, inverse, .. } = candidates[i];
                    candidates[count + i] =
                        Candidate { stored: s.neg(stored), inverse: s.neg(inverse), ..candidates[i] };
                }
                &mut candidates[..2 * count]
            }
        };
        let unit = candidates[0].inverse;
        let mut norm = s.splat(0.0);
        self.each_part(
            s,
            batch,
            #[inline(always)]
            |x, w| {
                for together in candidates.as_chunks_mut::<TOGETHER>().0 {
                    let mut own = *together;
                    for (i, &x) in x.iter().enumerate() {
                        for candidate in &mut own {
                            let v = self.grid.folded(s, s.mul(x, candidate.inverse));
                            let code = self.grid.nearest(s, v, bounds);
                            let error = s.sub(v, code);
                            let weighted = match w {
                                Some(w) => s.mul(error, w[i]),
                                None => error,
                            };
                            candidate.squares = s.add(candidate.squares, s.mul(weighted, error));
                            if G::FITS {
                                candidate.products = s.add(candidate.products, s.mul(weighted, code));
                            }
                        }
                    }
                    *together = own;
                }
                if G::FITS {
                    for (i, &x) in x.iter().enumerate() {
                        let v = s.mul(x, unit);
                        let weighted = match w {
                            Some(w) => s.mul(v, w[i]),
                            None => v,
                        };
                        norm = s.add(norm, s.mul(weighted, v));
                    }
                }
            },
        );
        let mut best = candidates[0].stored;
        let mut least = candidates[0].squares;
        for candidate in candidates.iter() {
            // All errors in units of the first scale. What is not a number is less than none.
            let factor = s.div(unit, candidate.inverse);
            let factor = s.mul(factor, factor);
            let error = s.mul(candidate.squares, factor);
            let better = s.lt(error, least);
            best = s.select(better, candidate.stored, best);
            least = s.select(better, error, least);
            if G::FITS {
                let (fitted, squares) = self.fitted(s, candidate, s.div(norm, factor));
                let error = s.mul(squares, factor);
                let better = s.lt(error, least);
                best = s.select(better, fitted, best);
                least = s.select(better, error, least);
            }
        }
        best
    }

    /// The scale that fits a candidate's codes best, and its sum of squared errors. `norm` is the sum of squared weights, in
    /// units of the candidate's scale as these are.
    #[inline(always)]
    fn fitted<S: Simd>(&self, s: S, candidate: &Candidate<S>, norm: S::F32) -> (S::F32, S::F32) {
        let &Candidate { stored, inverse, squares, products } = candidate;
        // weights are codes plus errors
        let codes = s.sub(norm, s.add(s.add(products, products), squares));
        let wanted = s.add(s.splat(1.0), s.div(products, codes));
        let fitted = self.grid.stored(s, s.mul(stored, wanted));
        let change = s.sub(s.mul(fitted, inverse), s.splat(1.0));
        let linear = s.mul(s.add(change, change), products);
        (fitted, s.add(s.sub(squares, linear), s.mul(s.mul(change, change), codes)))
    }

    /// Hands out the columns of the groups part by part, with their importance.
    #[inline(always)]
    fn each_part<S: Simd>(&self, s: S, batch: &Batch, mut work: impl FnMut(&[S::F32], Option<&[S::F32]>)) {
        let Groups { weights, columns, group } = self.groups;
        let zero = s.splat(0.0);
        let (mut x, mut w) = ([zero; WIDTH], [zero; WIDTH]);
        for at in (0..group).step_by(WIDTH) {
            let width = WIDTH.min(group - at);
            s.transpose(
                weights,
                #[inline(always)]
                |lane| batch.group(lane) * group + at,
                &mut x[..width],
            );
            match self.importance {
                None => work(&x[..width], None),
                Some(importance) => {
                    s.transpose(
                        importance,
                        #[inline(always)]
                        |lane| batch.group(lane) * group % columns + at,
                        &mut w[..width],
                    );
                    work(&x[..width], Some(&w[..width]));
                }
            }
        }
    }
}
