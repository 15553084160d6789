//! Rounding of rows: every column makes up for the errors of those before it.
//!
//! Rows do not depend on each other. A thread takes some together, column by column, so that each step is the same arithmetic
//! on numbers that lie side by side.

use ndarray::linalg::general_mat_mul;
use weightmill_kernels::Points;

use super::factor::{BLOCK, Factor};
use super::view::{part, part_mut};

/// What the weights of some rows can become.
pub(super) struct Grid<'a> {
    /// Columns that share scale and offset.
    pub run: usize,
    /// The values of levels.
    pub points: Points,
    /// Row by row a number for every run.
    pub scales: &'a [f32],
    /// Likewise.
    pub offsets: &'a [f32],
}

impl Grid<'_> {
    /// What a level means for the weight at this place, counted over the rows.
    pub fn value(&self, at: usize, level: u8) -> f32 {
        self.scales[at / self.run] * self.points.value(level) + self.offsets[at / self.run]
    }

    /// The nearest level for every weight.
    pub fn nearest(&self, weights: &[f32], levels: &mut [u8]) {
        let nearest = Nearest::new(self.points);
        let (mut scales, mut offsets) = (vec![0.0; self.run], vec![0.0; self.run]);
        let runs = weights.chunks(self.run).zip(levels.chunks_mut(self.run));
        for ((weights, levels), (scale, offset)) in runs.zip(self.scales.iter().zip(self.offsets)) {
            scales.fill(*scale);
            offsets.fill(*offset);
            nearest.levels(weights, &scales, &offsets, levels);
        }
    }
}

/// Chooses the level of every weight of some rows, and returns their loss: the squared error of their outputs, summed over the
/// tokens of the moment, damping included.
///
/// `weights` and `levels` are row by row.
pub(super) fn round(factor: &Factor, grid: &Grid<'_>, weights: &[f32], levels: &mut [u8]) -> f64 {
    let columns = factor.order.len();
    let rows = weights.len() / columns;
    let runs = columns / grid.run;
    let nearest = Nearest::new(grid.points);
    // column by column, in the order of rounding
    let mut errors = vec![0.0; columns * rows];
    let mut places = vec![0.0; BLOCK * rows];
    let (mut scales, mut offsets, mut chosen) = (vec![0.0; rows], vec![0.0; rows], vec![0; rows]);
    let mut loss = 0.0;
    for first in (0..columns).step_by(BLOCK) {
        let count = BLOCK.min(columns - first);
        let places = &mut places[..count * rows];
        let (before, own) = errors.split_at_mut(first * rows);
        carry(factor, first, count, before, places);
        let order = &factor.order[first..first + count];
        for ((place, error), column) in places.chunks_exact_mut(rows).zip(own.chunks_exact_mut(rows)).zip(order) {
            for (row, (place, error)) in place.iter_mut().zip(error).enumerate() {
                *error = weights[row * columns + column];
                *place += *error;
            }
        }
        for k in 0..count {
            let column = order[k];
            let row_of_factor = &factor.feedback[(first + k) * columns + first..][..k];
            let (earlier, error) = own.split_at_mut(k * rows);
            let error = &mut error[..rows];
            let place = &mut places[k * rows..][..rows];
            for (feedback, earlier) in row_of_factor.iter().zip(earlier.chunks_exact(rows)) {
                place.iter_mut().zip(earlier).for_each(|(place, error)| *place += feedback * error);
            }
            for row in 0..rows {
                scales[row] = grid.scales[row * runs + column / grid.run];
                offsets[row] = grid.offsets[row * runs + column / grid.run];
            }
            nearest.levels(place, &scales, &offsets, &mut chosen);
            let pivot = f64::from(factor.pivots[first + k]);
            let mut sum = 0.0;
            for row in 0..rows {
                let value = scales[row] * grid.points.value(chosen[row]) + offsets[row];
                let rest = f64::from(place[row] - value);
                sum += rest * rest;
                error[row] -= value;
                levels[row * columns + column] = chosen[row];
            }
            loss += pivot * sum;
        }
    }
    loss
}

/// The loss of rows that have become something else: `errors` are the differences, row by row.
pub(super) fn loss(factor: &Factor, errors: &[f32]) -> f64 {
    let columns = factor.order.len();
    let rows = errors.len() / columns;
    let mut ordered = vec![0.0; columns * rows];
    for (ordered, column) in ordered.chunks_exact_mut(rows.max(1)).zip(&factor.order) {
        ordered.iter_mut().enumerate().for_each(|(row, error)| *error = errors[row * columns + column]);
    }
    let mut rests = vec![0.0; BLOCK * rows];
    let mut loss = 0.0;
    for first in (0..columns).step_by(BLOCK) {
        let count = BLOCK.min(columns - first);
        let rests = &mut rests[..count * rows];
        carry(factor, first, count, &ordered[..(first + count) * rows], rests);
        for (rests, pivot) in rests.chunks_exact(rows.max(1)).zip(&factor.pivots[first..]) {
            loss += f64::from(*pivot) * rests.iter().map(|rest| f64::from(*rest) * f64::from(*rest)).sum::<f64>();
        }
    }
    loss
}

/// What the first columns' errors are worth at `count` columns from `first` on.
fn carry(factor: &Factor, first: usize, count: usize, errors: &[f32], out: &mut [f32]) {
    let columns = factor.order.len();
    let rows = out.len() / count;
    let known = errors.len() / rows.max(1);
    if known == 0 {
        return out.fill(0.0);
    }
    let feedback = part(&factor.feedback[first * columns..], count, known, columns);
    let errors = part(errors, known, rows, rows);
    general_mat_mul(1.0, &feedback, &errors, 0.0, &mut part_mut(out, count, rows, rows));
}

/// Finds the level whose value is nearest.
pub(super) struct Nearest {
    points: Points,
    /// Half-way between the values of a table.
    middles: Vec<f32>,
}

impl Nearest {
    pub fn new(points: Points) -> Self {
        let middles = match points {
            Points::Even { .. } => Vec::new(),
            Points::Table(values) => {
                values.windows(2).map(|pair| (f32::from(pair[0]) + f32::from(pair[1])) / 2.0).collect()
            }
        };
        Self { points, middles }
    }

    /// Where the scale is zero all levels are the same.
    pub fn levels(&self, places: &[f32], scales: &[f32], offsets: &[f32], levels: &mut [u8]) {
        let numbers = places.iter().zip(scales).zip(offsets).zip(levels);
        match self.points {
            Points::Even { first, count } => {
                let (first, last) = (f32::from(first), f32::from(count) - 1.0);
                numbers.for_each(|(((place, scale), offset), level)| {
                    let exact = (place - offset) / scale - first;
                    *level = exact.round_ties_even().clamp(0.0, last) as u8;
                });
            }
            Points::Table(_) => numbers.for_each(|(((place, scale), offset), level)| {
                let exact = (place - offset) / scale;
                *level = self.middles.iter().map(|middle| u8::from(exact > *middle)).sum();
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounding::moment::Moment;
    use crate::rounding::samples::{COLUMNS, moment, numbers};

    const SEED: u64 = 7;
    const ROWS: usize = 3;

    /// `e H e^T` of all rows by the definition, in f64.
    fn defined(moment: &Moment, added: f64, errors: &[f32]) -> f64 {
        let mean = moment.diagonal().iter().map(|x| f64::from(*x)).sum::<f64>() / COLUMNS as f64;
        let entry = |i: usize, j: usize| {
            let stored = f64::from(moment.data[i.max(j) * COLUMNS + i.min(j)]);
            if i == j { stored + added * mean } else { stored }
        };
        let of_row = |errors: &[f32]| -> f64 {
            let pairs = (0..COLUMNS).flat_map(|i| (0..COLUMNS).map(move |j| (i, j)));
            pairs.map(|(i, j)| f64::from(errors[i]) * entry(i, j) * f64::from(errors[j])).sum()
        };
        errors.chunks_exact(COLUMNS).map(of_row).sum()
    }

    #[test]
    fn losses_are_those_of_the_definition_and_fall() {
        let moment = moment(SEED);
        let factor = Factor::new(moment.clone(), 0.01).unwrap();
        let weights = numbers(SEED, ROWS * COLUMNS);
        let (scales, offsets) = (vec![0.25; ROWS * COLUMNS / 32], vec![0.125; ROWS * COLUMNS / 32]);
        for points in [Points::Even { first: -4, count: 8 }, Points::Table(&[-5, -3, -1, 0, 2, 3, 4])] {
            let grid = Grid { run: 32, points, scales: &scales, offsets: &offsets };
            let errors = |levels: &[u8]| -> Vec<f32> {
                weights.iter().zip(levels).map(|(w, level)| w - (0.25 * points.value(*level) + 0.125)).collect()
            };
            let mut levels = vec![0; weights.len()];
            let found = round(&factor, &grid, &weights, &mut levels);
            let expected = defined(&moment, 0.01, &errors(&levels));
            assert!((found / expected - 1.0).abs() < 1e-4, "{found}, not {expected}");
            assert!((loss(&factor, &errors(&levels)) / expected - 1.0).abs() < 1e-4);

            let mut plain = vec![0; weights.len()];
            Nearest::new(points).levels(&weights, &vec![0.25; weights.len()], &vec![0.125; weights.len()], &mut plain);
            let of_plain = defined(&moment, 0.01, &errors(&plain));
            assert!((loss(&factor, &errors(&plain)) / of_plain - 1.0).abs() < 1e-4);
            assert!(found < 0.8 * of_plain, "{found} after {of_plain}");
        }
    }
}
