//! From a second moment to what later columns make up for the rounding error of earlier ones.
//!
//! With columns in the order in which they are rounded, the damped moment is `H = T^T T`, `T` lower triangular. The loss
//! of a row whose weights change by `e` is `e H e^T = |T e|^2 = Σₖ Tₖₖ² (eₖ + Σ_{j<k} Fₖⱼ eⱼ)²` with `F = diag(T)⁻¹ T`: so the
//! best place for column `k`, once those before it are fixed, is its weight less what the errors before it cost there. That is
//! what GPTQ computes by way of the inverse (arXiv 2210.17323; that both are the same: arXiv 2307.13304, theorem 6), with one
//! factorization and no inverse.
//!
//! Products, the factorization of small blocks and their inverses are those of libraries; what is here puts blocks together.

use nalgebra::DMatrix;
use ndarray::linalg::general_mat_mul;
use rayon::prelude::*;

use super::moment::Moment;
use super::view::{part, part_mut};

/// Columns of a block.
pub(super) const BLOCK: usize = 128;

/// A factored moment.
pub(super) struct Factor {
    /// Columns in the order in which they are rounded.
    pub order: Vec<usize>,
    /// `F` row by row: ones on the diagonal; beyond the diagonal blocks nothing that means anything.
    pub feedback: Vec<f32>,
    /// `Tₖₖ²`, in that order.
    pub pivots: Vec<f32>,
}

/// How often damping is made ten times as strong.
const ATTEMPTS: usize = 3;

impl Factor {
    /// Factors a moment in its own memory, columns by falling diagonal, with `damping` times the mean of the diagonal added to
    /// it. `None` if there is nothing in it, or nothing finite.
    pub fn new(moment: Moment, damping: f32) -> Option<Self> {
        let diagonal = moment.diagonal();
        let Moment { columns, mut data, .. } = moment;
        let mean = diagonal.iter().map(|value| f64::from(*value)).sum::<f64>() / columns.max(1) as f64;
        if !(mean > 0.0 && mean.is_finite()) || data.iter().any(|value| !value.is_finite()) {
            return None;
        }
        mirror(&mut data, columns);
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]).then(a.cmp(b)));
        permute(&mut data, columns, &order);
        // the factorization leaves what lies above the diagonal blocks, so a copy of these is enough to begin anew
        let blocks = diagonal_blocks(&data, columns);
        let mut added = damping;
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                restore(&mut data, columns, &blocks);
                added *= 10.0;
            }
            let on_diagonal = (f64::from(added) * mean) as f32;
            data.iter_mut().step_by(columns + 1).for_each(|value| *value += on_diagonal);
            if factor(&mut data, columns) {
                let pivots = normalize(&mut data, columns);
                return Some(Self { order, feedback: data, pivots });
            }
        }
        None
    }
}

/// Copies what lies below the diagonal above it, tile by tile.
pub(super) fn mirror(data: &mut [f32], columns: usize) {
    const TILE: usize = 64;
    for row in (0..columns).step_by(TILE) {
        for column in (0..=row).step_by(TILE) {
            for i in row..columns.min(row + TILE) {
                for j in column..i.min(column + TILE) {
                    data[j * columns + i] = data[i * columns + j];
                }
            }
        }
    }
}

/// Puts rows and columns in this order.
fn permute(data: &mut [f32], columns: usize, order: &[usize]) {
    let mut moved = vec![false; columns];
    for start in 0..columns {
        if moved[start] {
            continue;
        }
        let first = data[start * columns..][..columns].to_vec();
        let mut at = start;
        loop {
            moved[at] = true;
            let from = order[at];
            if from == start {
                data[at * columns..][..columns].copy_from_slice(&first);
                break;
            }
            data.copy_within(from * columns..(from + 1) * columns, at * columns);
            at = from;
        }
    }
    data.par_chunks_mut(columns).for_each_init(
        || vec![0.0; columns],
        |spare, row| {
            spare.copy_from_slice(row);
            row.iter_mut().zip(order).for_each(|(value, from)| *value = spare[*from]);
        },
    );
}

fn diagonal_blocks(data: &[f32], columns: usize) -> Vec<f32> {
    let rows = (0..columns).map(|row| (row, row / BLOCK * BLOCK));
    let rows = rows.map(|(row, first)| &data[row * columns..][first..columns.min(first + BLOCK)]);
    rows.flatten().copied().collect()
}

fn restore(data: &mut [f32], columns: usize, blocks: &[f32]) {
    let mut blocks = blocks;
    for row in 0..columns {
        let first = row / BLOCK * BLOCK;
        let (own, rest) = blocks.split_at(columns.min(first + BLOCK) - first);
        blocks = rest;
        data[row * columns..][first..first + own.len()].copy_from_slice(own);
        for column in 0..first {
            data[row * columns + column] = data[column * columns + row];
        }
    }
}

/// `H` to `T`, from the last block to the first, at and below the diagonal. False if `H` is not positive definite.
fn factor(data: &mut [f32], columns: usize) -> bool {
    let mut end = columns;
    while end > 0 {
        let first = (end - 1) / BLOCK * BLOCK;
        let count = end - first;
        let (before, own) = data[..end * columns].split_at_mut(first * columns);
        // flipped, so that the usual factorization begins with the last column
        let block = DMatrix::from_fn(count, count, |i, j| {
            let (low, high) = (count - 1 - i.max(j), count - 1 - i.min(j));
            f64::from(own[high * columns + first + low])
        });
        let Some(cholesky) = block.cholesky() else { return false };
        let lower = cholesky.l();
        // T of the block: transposed and flipped back
        let own_factor = DMatrix::from_fn(count, count, |i, j| lower[(count - 1 - j, count - 1 - i)]);
        let Some(inverse) = own_factor.solve_lower_triangular(&DMatrix::identity(count, count)) else { return false };
        let inverse: Vec<f32> = inverse.transpose().iter().map(|value| *value as f32).collect();
        if inverse.iter().any(|value| !value.is_finite()) {
            return false;
        }
        let inverse = part(&inverse, count, count, count);

        // the rows of T before the block: the inverse, transposed, times those of H
        let mut panel = vec![0.0; count * first];
        panel.par_chunks_mut(count * BLOCK).enumerate().for_each(|(number, piece)| {
            let length = piece.len() / count;
            let from = part(&own[number * BLOCK..], count, length, columns);
            general_mat_mul(1.0, &inverse.t(), &from, 0.0, &mut part_mut(piece, count, length, length));
        });
        for (number, piece) in panel.chunks(count * BLOCK).enumerate() {
            let length = piece.len() / count;
            for (row, piece) in piece.chunks_exact(length).enumerate() {
                own[row * columns + number * BLOCK..][..length].copy_from_slice(piece);
            }
        }
        for row in 0..count {
            for column in 0..=row {
                own[row * columns + first + column] = own_factor[(row, column)] as f32;
            }
        }
        let own = &*own;
        before.par_chunks_mut(BLOCK * columns).enumerate().for_each(|(number, strip)| {
            let begin = number * BLOCK;
            let rows = strip.len() / columns;
            let left = part(&own[begin..], count, rows, columns);
            let right = part(own, count, begin + rows, columns);
            general_mat_mul(-1.0, &left.t(), &right, 1.0, &mut part_mut(strip, rows, begin + rows, columns));
        });
        end = first;
    }
    true
}

/// `T` to `F`; returns the squares of the diagonal of `T`. Within diagonal blocks zeros follow the diagonal.
fn normalize(data: &mut [f32], columns: usize) -> Vec<f32> {
    let rows = data.par_chunks_mut(columns).enumerate();
    rows.map(|(row, values)| {
        let pivot = values[row];
        values[..row].iter_mut().for_each(|value| *value /= pivot);
        values[row] = 1.0;
        values[row + 1..columns.min(row / BLOCK * BLOCK + BLOCK)].fill(0.0);
        pivot * pivot
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums of outer products of pseudo-random vectors that depend on each other.
    fn moment(columns: usize) -> Moment {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        };
        let mut moment = Moment::new(columns);
        for _ in 0..2 * columns {
            let shared = next();
            let row: Vec<f32> = (0..columns).map(|at| next() * (1.0 + at as f32 % 7.0) + shared).collect();
            for i in 0..columns {
                for j in 0..=i {
                    moment.data[i * columns + j] += row[i] * row[j];
                }
            }
        }
        moment
    }

    /// By the definition in f64: `F` and the pivots solve `H = F^T diag(pivots) F`, which has one solution of that form.
    #[test]
    fn factors_multiply_to_the_damped_moment() {
        for columns in [1, 5, 128, 129, 300] {
            let moment = moment(columns);
            let diagonal = moment.diagonal();
            let mean = diagonal.iter().map(|x| f64::from(*x)).sum::<f64>() / columns as f64;
            let factor = Factor::new(moment.clone(), 0.01).unwrap();
            assert!(factor.order.windows(2).all(|pair| diagonal[pair[0]] >= diagonal[pair[1]]));
            for i in 0..columns {
                for j in 0..=i {
                    let product: f64 = (i..columns)
                        .map(|k| {
                            let row = &factor.feedback[k * columns..];
                            f64::from(row[i]) * f64::from(row[j]) * f64::from(factor.pivots[k])
                        })
                        .sum();
                    let (a, b) = (factor.order[i], factor.order[j]);
                    let stored = f64::from(moment.data[a.max(b) * columns + a.min(b)]);
                    let expected = if i == j { stored + 0.01 * mean } else { stored };
                    assert!((product - expected).abs() < 1e-5 * mean, "{columns}: {i}, {j}: {product}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_damped_more_or_left() {
        let columns = 200;
        let mut indefinite = Moment::new(columns);
        indefinite.data.iter_mut().step_by(columns + 1).for_each(|value| *value = 1.0);
        // eigenvalues 1 + 1.05 and 1 - 1.05: a tenth added is enough
        indefinite.data[150 * columns + 3] = 1.05;
        let factor = Factor::new(indefinite.clone(), 0.001).unwrap();
        let coupled = factor.pivots.iter().filter(|pivot| (**pivot - 1.1).abs() > 1e-3).count();
        assert_eq!(coupled, 1);
        assert!(Factor::new(Moment::new(columns), 0.01).is_none());
        indefinite.data[7 * columns] = f32::NAN;
        assert!(Factor::new(indefinite, 0.01).is_none());
    }
}
