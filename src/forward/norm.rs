//! Normalization of rows.

use rayon::prelude::*;

/// What a row is divided by, and what is taken off before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Its root mean square.
    Rms,
    /// Its standard deviation, after the mean is taken off.
    Layer,
}

/// Normalizes `data` in rows of `length`, each multiplied with a weight: one weight per column, or several rows of weights
/// that apply in turn (heads with weights of their own). No weights stand for ones.
pub(super) fn normalize(norm: Norm, epsilon: f32, weights: &[f32], bias: &[f32], length: usize, data: &mut [f32]) {
    let turns = (weights.len() / length.max(1)).max(1);
    data.par_chunks_exact_mut(length).enumerate().with_min_len(64).for_each(|(number, row)| {
        if norm == Norm::Layer {
            let mean = (row.iter().map(|value| f64::from(*value)).sum::<f64>() / length as f64) as f32;
            row.iter_mut().for_each(|value| *value -= mean);
        }
        let squares: f64 = row.iter().map(|value| f64::from(value * value)).sum();
        let scale = 1.0 / ((squares / length as f64) as f32 + epsilon).sqrt();
        row.iter_mut().for_each(|value| *value *= scale);
        if !weights.is_empty() {
            let first = number % turns * length;
            row.iter_mut().zip(&weights[first..first + length]).for_each(|(value, weight)| *value *= weight);
        }
        if !bias.is_empty() {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    });
}
