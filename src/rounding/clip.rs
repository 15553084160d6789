//! Scales of groups chosen with the second moment: what AWQ calls clipping.
//!
//! The greatest weights of a group are cut off where that makes the others more precise: of several scales, each a share of what
//! the plain quantizer finds, that is taken with which the group's part of the outputs has the least error on the text.

use ndarray::linalg::general_mat_mul;
use weightmill_kernels::Level;

use super::moment::Moment;
use super::plain::{Kept, Plain};
use super::rows::Grid;
use super::view::{part, part_mut};

/// Shares of the plain scales that are tried. The plain quantizer may have searched, so there are larger ones too.
const SHARES: [f32; 12] = [1.0, 1.1, 1.05, 0.975, 0.95, 0.925, 0.9, 0.85, 0.8, 0.75, 0.65, 0.55];

/// Replaces scales and levels of rows where others are better; `moment` is that of their inputs, both halves of it. Rows of
/// blocks stay as they are.
pub(super) fn choose(level: Level, moment: &Moment, weights: &[f32], plain: &mut Plain<'_>) {
    let (columns, run, points) = (moment.columns, plain.run, plain.points);
    let Kept::Codes(coder, numbers, levels) = &mut plain.kept else { return };
    let groups = columns / run;
    let count = weights.len() / run;
    let (mut least, mut best) = (vec![f64::INFINITY; count], vec![0; count]);
    let (mut errors, mut products) = (vec![0.0; weights.len()], vec![0.0; weights.len() / groups]);
    let mut tried = vec![0; weights.len()];
    let original = numbers.clone();
    let mut chosen = levels.clone();
    for (number, share) in SHARES.into_iter().enumerate() {
        let Some(numbers) = coder.resized(level, &original, &vec![share; count]) else { continue };
        let grid = Grid { run, points, scales: &numbers.scales, offsets: &numbers.shifts };
        grid.nearest(weights, &mut tried);
        let values = tried.iter().enumerate().map(|(at, level)| grid.value(at, *level));
        errors.iter_mut().zip(values.zip(weights)).for_each(|(error, (value, weight))| *error = weight - value);
        for group in 0..groups {
            let own = group * run;
            let rows = weights.len() / columns;
            let errors_of = part(&errors[own..], rows, run, columns);
            let block = part(&moment.data[own * columns + own..], run, run, columns);
            general_mat_mul(1.0, &errors_of, &block, 0.0, &mut part_mut(&mut products, rows, run, run));
            for (row, products) in products.chunks_exact(run).enumerate() {
                let begin = row * columns + own;
                let terms = errors[begin..begin + run].iter().zip(products);
                let error: f64 = terms.map(|(error, product)| f64::from(*error) * f64::from(*product)).sum();
                let at = row * groups + group;
                if error < least[at] {
                    (least[at], best[at]) = (error, number);
                    chosen[begin..begin + run].copy_from_slice(&tried[begin..begin + run]);
                }
            }
        }
    }
    let shares: Vec<f32> = best.iter().map(|number| SHARES[*number]).collect();
    let Some(resized) = coder.resized(level, &original, &shares) else { return };
    (*numbers, *levels) = (resized, chosen);
    let grid = Grid { run, points, scales: &numbers.scales, offsets: &numbers.shifts };
    plain.values = levels.iter().enumerate().map(|(at, level)| grid.value(at, *level)).collect();
    (plain.scales, plain.offsets) = (numbers.scales.clone(), numbers.shifts.clone());
}

/// `e H e^T`, summed over the rows of `errors`; of the moment both halves are there.
pub(super) fn loss(moment: &Moment, errors: &[f32], spare: &mut Vec<f32>) -> f64 {
    let columns = moment.columns;
    let rows = errors.len() / columns;
    spare.resize(errors.len(), 0.0);
    let all = part(&moment.data, columns, columns, columns);
    let products = &mut part_mut(spare, rows, columns, columns);
    general_mat_mul(1.0, &part(errors, rows, columns, columns), &all, 0.0, products);
    errors.iter().zip(&*spare).map(|(error, product)| f64::from(*error) * f64::from(*product)).sum()
}
