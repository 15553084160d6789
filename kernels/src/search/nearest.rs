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
//! once for all scales, and `scale * squares - products`, the *merit*, compared for each. A point whose merit is less than
//! all others' by more than all roundings can amount to, here and in the reference, is the reference's choice. Where there
//! is none the errors of those that come into question are worked out as the reference does it.

use crate::grid::{Grid, MOST, Near};
use crate::simd::Simd;

/// The values of levels. Of levels of 2 bits tables hold pairs: an entry for each first level, for each second one.
pub(crate) struct LevelValues {
    /// Of the first level of a pair, or of the only one.
    pub first: [f32; 16],
    /// Of the second level of a pair.
    pub second: [f32; 16],
}

impl LevelValues {
    pub const fn new(values: &[f32]) -> Self {
        let mut all = LevelValues { first: [0.0; 16], second: [0.0; 16] };
        let mut i = 0;
        while i < 16 {
            if values.len() == 8 {
                all.first[i] = values[i % 8];
            } else if i % 4 < values.len() && i / 4 < values.len() {
                all.first[i] = values[i % 4];
                all.second[i] = values[i / 4];
            }
            i += 1;
        }
        all
    }
}

/// A group of numbers.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub x: &'a [f32],
    /// What differences count.
    pub w: &'a [f32],
    pub values: &'a LevelValues,
}

/// What levels of a group add to the sums of a point.
#[derive(Clone, Copy)]
pub(crate) struct Shares {
    squares: [[f32; 16]; TABLES],
    products: [[f32; 16]; TABLES],
}

/// Tables for the pairs of 8 levels, or for 4 levels.
const TABLES: usize = 4;

/// The points near by and their sums.
pub(crate) struct Survey {
    len: usize,
    codes: [i32; MOST],
    squares: [f32; MOST],
    /// The products, negated.
    products: [f32; MOST],
}

impl Shares {
    pub const ZERO: Shares = Shares { squares: [[0.0; 16]; TABLES], products: [[0.0; 16]; TABLES] };

    #[inline(always)]
    pub fn set<G: Grid, S: Simd>(&mut self, s: S, target: Target) {
        let Target { x, w, values } = target;
        let (entries, levels) = if G::BITS == 2 { (16, 2) } else { (8, 1) };
        for table in 0..TABLES {
            for at in (0..entries).step_by(S::LANES) {
                let mut sums = [s.splat(0.0); 2];
                for (i, values) in [&values.first, &values.second].into_iter().enumerate().take(levels) {
                    let (dim, value) = (levels * table + i, s.load(&values[at..]));
                    let weighted = s.mul(s.splat(w[dim]), value);
                    sums[0] = s.mul_add_roughly(weighted, value, sums[0]);
                    sums[1] = s.mul_add_roughly(weighted, s.splat(2.0 * x[dim]), sums[1]);
                }
                s.store(sums[0], &mut self.squares[table][at..]);
                s.store(sums[1], &mut self.products[table][at..]);
            }
        }
    }
}

/// What merits must differ by for scales from `least` to `most`, both positive; NaN if it cannot be known.
///
/// `reach` is `sum(w (most |q| + |x|)^2)` for the largest `|q|`. With `u = 2^-24`, an error of the reference is off by up to
/// `14 u reach`, a merit times its scale by up to `11 u reach`. Twice their sum is 50, which leaves something for the
/// roundings of these bounds themselves.
#[inline(always)]
pub(crate) fn margin(reach: f32, least: f32) -> f32 {
    let lost = reach * (64.0 / 16_777_216.0);
    let margin = lost / least;
    // No sum overflows, and what denormal numbers lose is nothing in comparison.
    let sound = lost > 1e-35 && lost < 1e30 && margin > 1e-35 && margin < 1e30 && margin < least * 1e30;
    if sound { margin } else { f32::NAN }
}

impl Survey {
    pub fn new() -> Self {
        Survey { len: 0, codes: [0; MOST], squares: [0.0; MOST], products: [0.0; MOST] }
    }

    /// Turns to these points.
    #[inline(always)]
    pub fn set<G: Grid, S: Simd>(&mut self, s: S, shares: &Shares, near: Near) {
        self.len = near.len;
        for at in (0..near.len).step_by(S::LANES) {
            let mut levels = s.load_u16(&near.codes[2 * at..]);
            s.store_i32(levels, &mut self.codes[at..]);
            let mut squares = lookup::<G, S>(s, &shares.squares[0], levels);
            let mut products = lookup::<G, S>(s, &shares.products[0], levels);
            for table in 1..TABLES {
                levels = if G::BITS == 2 { s.shr_i32::<4>(levels) } else { s.shr_i32::<3>(levels) };
                squares = s.add(squares, lookup::<G, S>(s, &shares.squares[table], levels));
                products = s.add(products, lookup::<G, S>(s, &shares.products[table], levels));
            }
            s.store(squares, &mut self.squares[at..]);
            s.store(s.neg(products), &mut self.products[at..]);
        }
    }

    /// The levels of the nearest point for one scale. Here a lane holds a point.
    #[inline(always)]
    pub fn nearest<G: Grid, S: Simd>(&self, s: S, target: Target, scale: f32, margin: f32) -> i32 {
        let merits = |at: usize| {
            let [squares, products] = [&self.squares, &self.products].map(|sums| s.load(&sums[at..]));
            s.mul_add_roughly(squares, s.splat(scale), products)
        };
        let mut least = s.splat(f32::INFINITY);
        for at in (0..self.len).step_by(S::LANES) {
            least = s.min(merits(at), least);
        }
        let bound = s.splat(s.reduce_min(least) + margin);
        let (mut count, mut last) = (0, 0);
        for at in (0..self.len).step_by(S::LANES) {
            let mut bits = s.bits(s.not(s.gt(merits(at), bound)));
            if self.len - at < S::LANES {
                bits &= (1 << (self.len - at)) - 1;
            }
            count += bits.count_ones();
            last = if bits != 0 { at + bits.trailing_zeros() as usize } else { last };
        }
        if count == 1 { self.codes[last] } else { self.exact::<G>(target, scale, margin) }
    }

    /// The levels of the nearest points for several scales. Here a lane holds a scale. There is room for a vector more than
    /// `count` scales and levels.
    #[inline(always)]
    pub fn nearest_for<G: Grid, S: Simd>(
        &self,
        s: S,
        target: Target,
        scales: &[f32],
        count: usize,
        margin: f32,
        nearest: &mut [i32],
    ) {
        for at in (0..count).step_by(S::LANES) {
            let scale = s.load(&scales[at..]);
            let (mut least, mut second) = (s.splat(f32::INFINITY), s.splat(f32::INFINITY));
            let mut codes = s.splat_i32(0);
            let sums = self.squares[..self.len].iter().zip(&self.products[..self.len]);
            for ((&squares, &products), &code) in sums.zip(&self.codes[..self.len]) {
                let merit = s.mul_add_roughly(s.splat(squares), scale, s.splat(products));
                let better = s.lt(merit, least);
                second = s.min(s.max(merit, least), second);
                least = s.min(merit, least);
                codes = s.select_i32(better, s.splat_i32(code), codes);
            }
            s.store_i32(codes, &mut nearest[at..]);
            let sure = s.gt(second, s.add(least, s.splat(margin)));
            let mut unsure = s.bits(s.not(sure)) & ((1u64 << (count - at).min(S::LANES)) - 1) as u32;
            while unsure != 0 {
                let step = at + unsure.trailing_zeros() as usize;
                nearest[step] = self.exact::<G>(target, scales[step], margin);
                unsure &= unsure - 1;
            }
        }
    }

    /// The levels of the nearest point by errors as the reference works them out. Where none of them is a number below
    /// `f32::MAX` the reference ends the program; the first point then.
    #[inline(never)]
    fn exact<G: Grid>(&self, target: Target, scale: f32, margin: f32) -> i32 {
        let merit = |at: usize| self.squares[at] * scale + self.products[at];
        let bound = (0..self.len).fold(f32::INFINITY, |least, at| least.min(merit(at))) + margin;
        let (mut nearest, mut least) = (self.codes[0], f32::MAX);
        for at in 0..self.len {
            if merit(at) > bound {
                continue;
            }
            let mut levels = self.codes[at] as usize;
            let mut error = 0.0;
            for (x, w) in target.x.iter().zip(target.w).take(G::DIMS) {
                let difference = scale * target.values.first[levels % (1 << G::BITS)] - x;
                error += w * difference * difference;
                levels >>= G::BITS;
            }
            if error < least {
                (nearest, least) = (self.codes[at], error);
            }
        }
        nearest
    }
}

/// The lowest levels' entries.
#[inline(always)]
fn lookup<G: Grid, S: Simd>(s: S, table: &[f32; 16], levels: S::I32) -> S::F32 {
    if G::BITS == 2 { s.lookup(table, levels) } else { s.lookup::<8>(table.first_chunk().expect("8 entries"), levels) }
}
