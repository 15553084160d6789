//! The point of a grid that is nearest to a group of numbers (`iq2_find_best_neighbour`, `iq3_find_best_neighbour`,
//! `iq1_find_best_neighbour2`).
//!
//! Of the points near by the reference takes the one whose error `sum(w (scale q - x)^2)` is least, where `q` are the values
//! of its levels; of several the first one in the list, where the errors are as rounded, summed in order. Here the same
//! point is found in fewer steps. Written out, the error is
//!
//! ```text
//! scale * (scale * sum(w q q) - sum(2 w q x)) + sum(w x x)
//! ```
//!
//! whose sums do not depend on the scale, and whose last one is the same for all points. So each point's two sums are made
//! once for all scales, one point per lane, and `scale * squares - products`, the *merit*, compared for each. A point whose
//! merit is less than all others' by more than all roundings can amount to, here and in the reference, is the reference's
//! choice. Where there is none the errors are worked out as the reference does it.
//!
//! Merits are linear in the scale: what is less by that much for two scales is so for all between.

use crate::grid::{Grid, MOST, Near};
use crate::simd::Simd;
use core::marker::PhantomData;

/// Values of levels, over and over.
pub(crate) type LevelValues = [f32; 16];

/// The values of levels of types of 2 and 3 bits.
pub(crate) const ODD: [LevelValues; 2] = [
    [1.0, 3.0, 5.0, 0.0, 1.0, 3.0, 5.0, 0.0, 1.0, 3.0, 5.0, 0.0, 1.0, 3.0, 5.0, 0.0],
    [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0],
];

/// A search for points near one group of numbers.
pub(crate) struct Nearest<G> {
    x: [f32; 8],
    w: [f32; 8],
    values: LevelValues,
    /// What a level adds to the sums of a point, by dimension.
    square_of: [LevelValues; 8],
    product_of: [LevelValues; 8],
    /// The sums of the points near by.
    squares: [f32; MOST],
    products: [f32; MOST],
    grid: PhantomData<G>,
}

/// Scales that a search is about.
#[derive(Clone, Copy)]
pub(crate) struct Scales {
    /// By how much merits must differ at least.
    margin: f32,
    /// No sum overflows, and the margin is more than what denormal numbers lose.
    sound: bool,
}

impl<G: Grid> Nearest<G> {
    pub fn new() -> Self {
        Nearest {
            x: [0.0; 8],
            w: [0.0; 8],
            values: [0.0; 16],
            square_of: [[0.0; 16]; 8],
            product_of: [[0.0; 16]; 8],
            squares: [0.0; MOST],
            products: [0.0; MOST],
            grid: PhantomData,
        }
    }

    /// Turns to numbers `x` with weights `w`.
    #[inline(always)]
    pub fn aim<S: Simd>(&mut self, s: S, x: &[f32], w: &[f32], values: &LevelValues) {
        self.values = *values;
        for dim in 0..G::DIMS {
            (self.x[dim], self.w[dim]) = (x[dim], w[dim]);
            let (weight, product) = (s.splat(w[dim]), s.splat(2.0 * (w[dim] * x[dim])));
            // Eight levels suffice, a vector may hold sixteen.
            for at in (0..8).step_by(S::LANES) {
                let value = s.load(&values[at..]);
                s.store(s.mul(s.mul(weight, value), value), &mut self.square_of[dim][at..]);
                s.store(s.mul(product, value), &mut self.product_of[dim][at..]);
            }
        }
    }

    /// What merits must differ by for scales from `least` to `most`, both positive.
    ///
    /// With `u = 2^-24` and `m = sum(w (scale |q| + |x|)^2)` for the largest `|q|`, an error of the reference is off by up to
    /// `14 u m`, a merit times its scale by up to `11 u m`. Twice their sum is 50, which leaves something for the roundings
    /// of these bounds themselves.
    #[inline(always)]
    pub fn scales(&self, least: f32, most: f32) -> Scales {
        let largest = self.values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let (mut squares, mut weights) = (0.0f32, 0.0f32);
        for dim in 0..G::DIMS {
            let reach = most * largest + self.x[dim].abs();
            squares += self.w[dim] * reach * reach;
            weights += self.w[dim];
        }
        let lost = squares * (64.0 / 16_777_216.0);
        let margin = lost / least;
        let sound = lost > 1e-35 && margin > 1e-35 && margin < 1e30 && weights < 1e30;
        Scales { margin, sound }
    }

    /// Makes the sums of the points near by.
    #[inline(always)]
    pub fn survey<S: Simd>(&mut self, s: S, near: Near) {
        for at in (0..near.len).step_by(S::LANES) {
            let mut levels = s.load_u16(&near.codes[2 * at..]);
            let mut squares = lookup(s, &self.square_of[0], levels);
            let mut products = lookup(s, &self.product_of[0], levels);
            for dim in 1..G::DIMS {
                levels = next_level::<G, S>(s, levels);
                squares = s.add(squares, lookup(s, &self.square_of[dim], levels));
                products = s.add(products, lookup(s, &self.product_of[dim], levels));
            }
            s.store(squares, &mut self.squares[at..]);
            s.store(products, &mut self.products[at..]);
        }
    }

    /// Where in the list the nearest point is, and whether its merit stands out, given the last [survey](Self::survey).
    #[inline(always)]
    pub fn find<S: Simd>(&self, s: S, near: Near, scale: f32, scales: Scales) -> (usize, bool) {
        if scales.sound {
            let mut least = s.splat(f32::INFINITY);
            for at in (0..near.len).step_by(S::LANES) {
                least = s.min(self.merits(s, at, scale), least);
            }
            if let Some(at) = self.only(s, near, scale, s.reduce_min(least) + scales.margin) {
                return (at, true);
            }
        }
        (exact::<G>(&self.x, &self.w, &self.values, near, scale), false)
    }

    /// Whether the merit of the point at `at` stands out.
    #[inline(always)]
    pub fn stands_out<S: Simd>(&self, s: S, near: Near, at: usize, scale: f32, scales: Scales) -> bool {
        let merit = self.squares[at] * scale - self.products[at];
        scales.sound && self.only(s, near, scale, merit + scales.margin) == Some(at)
    }

    #[inline(always)]
    fn merits<S: Simd>(&self, s: S, at: usize, scale: f32) -> S::F32 {
        let [squares, products] = [&self.squares, &self.products].map(|sums| s.load(&sums[at..]));
        s.mul_add_roughly(squares, s.splat(scale), s.neg(products))
    }

    /// The only point whose merit is not greater than that.
    #[inline(always)]
    fn only<S: Simd>(&self, s: S, near: Near, scale: f32, merit: f32) -> Option<usize> {
        let (mut count, mut last) = (0, 0);
        for at in (0..near.len).step_by(S::LANES) {
            let mut bits = s.bits(s.not(s.gt(self.merits(s, at, scale), s.splat(merit))));
            if near.len - at < S::LANES {
                bits &= (1 << (near.len - at)) - 1;
            }
            count += bits.count_ones();
            if bits != 0 {
                last = at + bits.trailing_zeros() as usize;
            }
        }
        (count == 1).then_some(last)
    }
}

/// The lowest levels' entries.
#[inline(always)]
fn lookup<S: Simd>(s: S, table: &LevelValues, levels: S::I32) -> S::F32 {
    s.lookup::<8>(table.first_chunk().expect("8 entries"), levels)
}

/// Moves the next level to the lowest bits.
#[inline(always)]
pub(crate) fn next_level<G: Grid, S: Simd>(s: S, levels: S::I32) -> S::I32 {
    if G::BITS == 2 { s.shr_i32::<2>(levels) } else { s.shr_i32::<3>(levels) }
}

/// The search as the reference does it, which ends the program where no error is a number below `f32::MAX`; the first
/// point then.
#[inline(never)]
fn exact<G: Grid>(x: &[f32; 8], w: &[f32; 8], values: &LevelValues, near: Near, scale: f32) -> usize {
    let (mut nearest, mut least) = (0, f32::MAX);
    for at in 0..near.len {
        let mut levels = usize::from(near.code(at));
        let mut error = 0.0;
        for dim in 0..G::DIMS {
            let difference = scale * values[levels % (1 << G::BITS)] - x[dim];
            error += w[dim] * difference * difference;
            levels >>= G::BITS;
        }
        if error < least {
            (nearest, least) = (at, error);
        }
    }
    nearest
}
