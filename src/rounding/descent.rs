//! A second look at rows that are rounded: scales are fitted again to the levels that were chosen, then every level is chosen
//! again given all others, block of columns by block of columns.
//!
//! With `T = diag(pivots)^(1/2) F` of the factored moment `H = T^T T` the loss of errors `e` is `|T e|^2`, and `T^T T e` is half
//! its gradient. Of some columns only those of `T` are needed, so no second copy of the moment is.

use ndarray::linalg::general_mat_mul;
use weightmill_kernels::Points;

use super::factor::Factor;
use super::rows::Nearest;
use super::view::{part, part_mut};

/// Columns that are looked at together.
pub(super) const COLUMNS: usize = 128;

/// Of a run, by its number counted over all rows, the scale and the offset that can be stored nearest to those given; NaN where
/// there are none.
pub(super) type Snap<'a> = dyn Fn(usize, f32, f32) -> (f32, f32) + 'a;

/// What changes.
pub(super) struct Chosen<'a> {
    /// Row by row, one per weight.
    pub levels: &'a mut [u8],
    /// Row by row, one per run.
    pub scales: &'a mut [f32],
    /// Likewise.
    pub offsets: &'a mut [f32],
}

/// Rows that are being looked at.
struct Rows<'a> {
    factor: &'a Factor,
    run: usize,
    points: Points,
    weights: &'a [f32],
    count: usize,
    /// Where a column comes in the order of rounding.
    places: Vec<usize>,
}

/// The columns of a block: what belongs to them lies column by column, rows beside each other.
struct Block {
    first: usize,
    count: usize,
    /// `T`, of these columns: row by row.
    factor: Vec<f32>,
    /// `T^T T` of these columns.
    moment: Vec<f32>,
    /// Half the gradient of the loss.
    gradient: Vec<f32>,
    /// What errors have changed by.
    changes: Vec<f32>,
}

/// Goes over all rows `sweeps` times, and returns their loss.
pub(super) fn descend(
    factor: &Factor,
    (run, points): (usize, Points),
    weights: &[f32],
    mut chosen: Chosen<'_>,
    snap: &Snap<'_>,
    sweeps: usize,
) -> f64 {
    let columns = factor.order.len();
    let mut places = vec![0; columns];
    factor.order.iter().enumerate().for_each(|(place, column)| places[*column] = place);
    let chosen = &mut chosen;
    let rows = Rows { factor, run, points, weights, count: weights.len() / columns, places };
    let mut rests = vec![0.0; columns * rows.count];
    for first in (0..columns).step_by(COLUMNS) {
        let mut block = rows.block(first, None);
        rows.errors(first, chosen, &mut block.changes);
        block.carry(&mut rests, rows.count);
    }
    for _ in 0..sweeps {
        for first in (0..columns).step_by(COLUMNS) {
            let mut block = rows.block(first, Some(&rests));
            rows.fit(&mut block, chosen, snap);
            rows.choose(&mut block, chosen);
            block.carry(&mut rests, rows.count);
        }
    }
    rests.iter().map(|rest| f64::from(*rest) * f64::from(*rest)).sum()
}

impl Block {
    /// Adds what the changes do to `T e`.
    fn carry(&mut self, rests: &mut [f32], rows: usize) {
        let all = rests.len() / rows;
        let factor = part(&self.factor, all, self.count, self.count);
        let changes = part(&self.changes, self.count, rows, rows);
        general_mat_mul(1.0, &factor, &changes, 1.0, &mut part_mut(rests, all, rows, rows));
    }

    /// Notes that the errors of column `k` change.
    fn change(&mut self, k: usize, rows: usize, by: &[f32]) {
        for (gradient, moment) in self.gradient.chunks_exact_mut(rows).zip(&self.moment[k * self.count..]) {
            gradient.iter_mut().zip(by).for_each(|(gradient, by)| *gradient += moment * by);
        }
        self.changes[k * rows..][..rows].iter_mut().zip(by).for_each(|(change, by)| *change += by);
    }
}

impl Rows<'_> {
    /// The columns from `first` on; with their gradient if there are rests.
    fn block(&self, first: usize, rests: Option<&[f32]>) -> Block {
        let all = self.places.len();
        let count = COLUMNS.min(all - first);
        let mut factor = vec![0.0; all * count];
        for (row, values) in factor.chunks_exact_mut(count).enumerate() {
            let root = self.factor.pivots[row].sqrt();
            for (value, place) in values.iter_mut().zip(&self.places[first..]) {
                if *place <= row {
                    *value = root * self.factor.feedback[row * all + place];
                }
            }
        }
        let rows = self.count;
        let (mut moment, mut gradient) = (vec![0.0; count * count], vec![0.0; count * rows]);
        if let Some(rests) = rests {
            let factor = part(&factor, all, count, count);
            general_mat_mul(1.0, &factor.t(), &factor, 0.0, &mut part_mut(&mut moment, count, count, count));
            let rests = part(rests, all, rows, rows);
            general_mat_mul(1.0, &factor.t(), &rests, 0.0, &mut part_mut(&mut gradient, count, rows, rows));
        }
        Block { first, count, factor, moment, gradient, changes: vec![0.0; count * rows] }
    }

    /// The value that is chosen for a weight.
    fn value(&self, at: usize, chosen: &Chosen<'_>) -> f32 {
        let run = at / self.run;
        chosen.scales[run] * self.points.value(chosen.levels[at]) + chosen.offsets[run]
    }

    /// The errors of columns from `first` on, column by column.
    fn errors(&self, first: usize, chosen: &Chosen<'_>, errors: &mut [f32]) {
        for (k, errors) in errors.chunks_exact_mut(self.count).enumerate() {
            for (row, error) in errors.iter_mut().enumerate() {
                let at = row * self.places.len() + first + k;
                *error = self.weights[at] - self.value(at, chosen);
            }
        }
    }

    /// Fits the scales of all runs in the block, one after the other.
    fn fit(&self, block: &mut Block, chosen: &mut Chosen<'_>, snap: &Snap<'_>) {
        let (rows, columns, run) = (self.count, self.places.len(), self.run);
        let runs = columns / run;
        // runs that reach beyond the block stay as they are
        if run > block.count || !block.count.is_multiple_of(run) || !block.first.is_multiple_of(run) {
            return;
        }
        let (mut points, mut by) = (vec![0.0; run * rows], vec![0.0; rows]);
        let (mut steps, mut shifts) = (vec![0.0; rows], vec![0.0; rows]);
        for begin in (0..block.count).step_by(run) {
            let number = (block.first + begin) / run;
            for (k, points) in points.chunks_exact_mut(rows).enumerate() {
                for (row, point) in points.iter_mut().enumerate() {
                    *point = self.points.value(chosen.levels[row * columns + block.first + begin + k]);
                }
            }
            let sums = Sums::new(block, begin, &points, rows);
            for row in 0..rows {
                let at = row * runs + number;
                let (scale, offset) = (chosen.scales[at], chosen.offsets[at]);
                let found = sums.best(row, at, (scale, offset), snap);
                (chosen.scales[at], chosen.offsets[at]) = found;
                (steps[row], shifts[row]) = (found.0 - scale, found.1 - offset);
            }
            for (k, points) in points.chunks_exact(rows).enumerate() {
                let changes = by.iter_mut().zip(points).zip(steps.iter().zip(&shifts));
                changes.for_each(|((by, point), (step, shift))| *by = -(step * point + shift));
                block.change(begin + k, rows, &by);
            }
        }
    }

    /// Chooses the levels of the block's columns, one column after the other.
    fn choose(&self, block: &mut Block, chosen: &mut Chosen<'_>) {
        let (rows, columns) = (self.count, self.places.len());
        let runs = columns / self.run;
        let nearest = Nearest::new(self.points);
        let (mut scales, mut offsets) = (vec![0.0; rows], vec![0.0; rows]);
        let (mut wanted, mut levels, mut by) = (vec![0.0; rows], vec![0; rows], vec![0.0; rows]);
        for k in 0..block.count {
            let column = block.first + k;
            let own = block.moment[k * block.count + k];
            let gradient = &block.gradient[k * rows..][..rows];
            for row in 0..rows {
                let run = row * runs + column / self.run;
                (scales[row], offsets[row]) = (chosen.scales[run], chosen.offsets[run]);
                wanted[row] = self.value(row * columns + column, chosen) + gradient[row] / own;
            }
            nearest.levels(&wanted, &scales, &offsets, &mut levels);
            for row in 0..rows {
                let at = row * columns + column;
                let before = self.value(at, chosen);
                chosen.levels[at] = levels[row];
                by[row] = before - self.value(at, chosen);
            }
            block.change(k, rows, &by);
        }
    }
}

/// What the loss of every row is made of as a function of a run's scale and offset.
struct Sums {
    /// `q H q`, `q H 1` for points `q`, of every row, and `1 H 1`.
    squares: Vec<f32>,
    mixed: Vec<f32>,
    ones: f32,
    /// `q g` and `1 g` for the gradient `g`.
    slopes: Vec<f32>,
    shifts: Vec<f32>,
}

impl Sums {
    /// Of the run that begins at column `begin` of the block.
    fn new(block: &Block, begin: usize, points: &[f32], rows: usize) -> Self {
        let run = points.len() / rows;
        let zeros = || vec![0.0; rows];
        let mut sums = Sums { squares: zeros(), mixed: zeros(), ones: 0.0, slopes: zeros(), shifts: zeros() };
        let moment = part(&block.moment[begin * block.count + begin..], run, run, block.count);
        let mut products = vec![0.0; run * rows];
        general_mat_mul(
            1.0,
            &moment,
            &part(points, run, rows, rows),
            0.0,
            &mut part_mut(&mut products, run, rows, rows),
        );
        sums.ones = moment.sum();
        for (k, (points, products)) in points.chunks_exact(rows).zip(products.chunks_exact(rows)).enumerate() {
            let gradient = &block.gradient[(begin + k) * rows..][..rows];
            for row in 0..rows {
                sums.squares[row] += points[row] * products[row];
                sums.mixed[row] += products[row];
                sums.slopes[row] += points[row] * gradient[row];
                sums.shifts[row] += gradient[row];
            }
        }
        sums
    }

    /// What the loss changes by.
    fn change(&self, row: usize, step: f32, shift: f32) -> f32 {
        let linear = step * self.slopes[row] + shift * self.shifts[row];
        let squares = step * step * self.squares[row] + shift * shift * self.ones;
        squares + 2.0 * step * shift * self.mixed[row] - 2.0 * linear
    }

    /// Scale and offset that can be stored and lose least: those that are there, or others.
    fn best(&self, row: usize, run: usize, (scale, offset): (f32, f32), snap: &Snap<'_>) -> (f32, f32) {
        let (a, b, c) = (self.squares[row], self.mixed[row], self.ones);
        let (u, v) = (self.slopes[row], self.shifts[row]);
        let mut best = ((scale, offset), 0.0);
        let mut consider = |found: (f32, f32)| {
            let change = self.change(row, found.0 - scale, found.1 - offset);
            if change < best.1 {
                best = (found, change);
            }
        };
        // the offset stays, or it goes with the scale as it is stored
        consider(snap(run, scale + u / a, offset));
        let (stored, _) = snap(run, scale + (c * u - b * v) / (a * c - b * b), offset);
        consider(snap(run, stored, offset + (v - b * (stored - scale)) / c));
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::rows;
    use crate::rounding::samples::{COLUMNS, moment, numbers};

    const SEED: u64 = 11;
    const ROWS: usize = 5;
    const RUN: usize = 32;

    #[test]
    fn losses_fall_and_are_those_of_what_is_chosen() {
        let factor = Factor::new(moment(SEED), 0.01).unwrap();
        let weights = numbers(SEED, ROWS * COLUMNS);
        let points = Points::Even { first: 0, count: 4 };
        let steps = |number: f32| (number * 64.0).round() / 64.0;
        let runs = ROWS * COLUMNS / RUN;
        let loss_after = |sweeps: usize, with_offsets: bool| {
            let (mut scales, mut offsets) = (vec![0.5; runs], vec![-0.75; runs]);
            let mut levels = vec![0; weights.len()];
            let grid = rows::Grid { run: RUN, points, scales: &scales, offsets: &offsets };
            let first = rows::round(&factor, &grid, &weights, &mut levels);
            let chosen = Chosen { levels: &mut levels, scales: &mut scales, offsets: &mut offsets };
            let snap =
                |_: usize, scale: f32, offset: f32| (steps(scale), if with_offsets { steps(offset) } else { -0.75 });
            let found = descend(&factor, (RUN, points), &weights, chosen, &snap, sweeps);
            assert!(scales.iter().chain(&offsets).all(|number| *number == steps(*number)));
            assert_eq!(offsets.iter().all(|offset| *offset == -0.75), !with_offsets || sweeps == 0);
            let grid = rows::Grid { run: RUN, points, scales: &scales, offsets: &offsets };
            let errors: Vec<f32> =
                weights.iter().enumerate().map(|(at, weight)| weight - grid.value(at, levels[at])).collect();
            let expected = rows::loss(&factor, &errors);
            assert!((found / expected - 1.0).abs() < 1e-3, "{found}, not {expected}");
            (first, expected)
        };
        let (first, same) = loss_after(0, true);
        assert!((same / first - 1.0).abs() < 1e-3);
        let (_, once) = loss_after(1, true);
        let (_, twice) = loss_after(2, true);
        let (_, scales_only) = loss_after(2, false);
        assert!(twice < once && once < 0.97 * first, "{first}, {once}, {twice}");
        assert!(scales_only < first);
    }
}
