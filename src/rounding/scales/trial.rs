//! The error of outputs with every set of scales that is tried, for what lies behind one link.

use rayon::prelude::*;

use super::super::plain::Plain;
use super::super::{Error, Figures, Settings};
use super::evidence::Evidence;
use super::grid;
use super::plan::ScalePlan;
use crate::folding::Link;
use crate::pipeline::{Form, Goal, TensorReader};
use crate::weights::Weights;

/// Rows of one matrix that are tried, and of all behind a link: evenly spread ones. All sets of scales are compared on the same.
const ROWS: usize = 128;
const ALL_ROWS: usize = 2048;

/// Least rows of one of many matrices.
const LEAST_ROWS: usize = 16;

/// Rows that a thread tries together.
const STRIP: usize = 16;

/// What is tried for one link.
pub(super) struct Trial<'a> {
    link: &'a Link,
    matrices: Vec<Matrix<'a>>,
    settings: &'a Settings,
}

/// Rows of one matrix.
struct Matrix<'a> {
    goal: &'a Goal<'a>,
    number: usize,
    reader: TensorReader<'a>,
    rows: Vec<usize>,
}

impl<'a> Trial<'a> {
    pub fn new(
        plan: &'a ScalePlan<'a>,
        link: usize,
        weights: &'a Weights,
        settings: &'a Settings,
    ) -> Result<Self, Error> {
        let users = plan.users(link);
        let most = (ALL_ROWS / users.len().max(1)).clamp(LEAST_ROWS, ROWS);
        let matrices = users.iter().map(|&(number, matrix)| {
            let goal = &plan.goals()[number];
            let count = goal.rows_per_matrix.min(most);
            let rows = (0..count).map(|row| matrix * goal.rows_per_matrix + row * goal.rows_per_matrix / count);
            let reader = TensorReader::new(goal.tensor, weights, settings.level)?;
            Ok(Matrix { goal, number: matrix, reader, rows: rows.collect() })
        });
        Ok(Self { link: plan.link(link), matrices: matrices.collect::<Result<_, Error>>()?, settings })
    }

    /// The best scales, and the errors with none and with these.
    pub fn choose(&self, evidence: &Evidence) -> Result<(Vec<f32>, Figures), Error> {
        let channels = self.link.channels;
        let (columns, tokens) = evidence.size();
        let none = Figures { tokens, plain_matrices: 1, ..Figures::default() };
        let enough = tokens as f32 >= self.settings.least_tokens * columns as f32;
        let candidates = match evidence {
            _ if !enough || self.matrices.is_empty() => return Ok((vec![1.0; channels], none)),
            Evidence::Moment(moment) => {
                let diagonal = moment.diagonal();
                let mut inputs = vec![0.0f32; channels];
                diagonal.iter().enumerate().for_each(|(column, square)| inputs[self.link.channel(column)] += square);
                let per_channel = tokens as f32 * (columns / channels) as f32;
                inputs.iter_mut().for_each(|square| *square = (*square / per_channel).sqrt());
                grid::by_ratio(&inputs, &self.sizes_of_weights()?)
            }
            Evidence::Sample(sample) => {
                let mut reaches = vec![0.0f32; channels];
                for (column, (least, greatest)) in sample.least.iter().zip(&sample.greatest).enumerate() {
                    let reach = &mut reaches[self.link.channel(column)];
                    *reach = reach.max(greatest - least);
                }
                grid::by_strength(&reaches, &self.greatest_weights()?)
            }
        };
        let spread: Vec<Vec<f32>> = candidates.iter().map(|channels| self.link.spread(channels)).collect();
        let mut sums = vec![0.0f64; candidates.len()];
        for matrix in &self.matrices {
            let (whole, errors) = self.errors(matrix, evidence, &spread)?;
            if whole > 0.0 {
                sums.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error / whole);
            }
        }
        let mean = |number: usize| sums[number] / self.matrices.len() as f64;
        let best = (0..sums.len()).min_by(|a, b| sums[*a].total_cmp(&sums[*b])).unwrap_or(0);
        let figures = Figures { error_before: mean(0), error_after: mean(best), tokens, plain_matrices: 0 };
        Ok((candidates[best].clone(), figures))
    }

    /// The mean over rows of the size of every channel's weights, relative to the greatest of those that share a scale.
    fn sizes_of_weights(&self) -> Result<Vec<f32>, Error> {
        let mut sums = vec![0.0f64; self.link.width()];
        let mut rows = 0;
        for matrix in &self.matrices {
            let run = match matrix.goal.form {
                Form::Blocks(dtype) => dtype.levels().map_or(32, |levels| levels.run),
                Form::Coded(coder, _) => coder.group(),
            };
            let strips: Vec<Result<Vec<f32>, Error>> =
                matrix.rows.par_chunks(STRIP).map(|rows| matrix.read(rows)).collect();
            for strip in strips {
                for row in strip?.chunks_exact(matrix.goal.columns) {
                    rows += 1;
                    for (sums, group) in sums.chunks_mut(run).zip(row.chunks(run)) {
                        let greatest = group.iter().fold(0.0f32, |most, weight| most.max(weight.abs())) + 1e-6;
                        let sizes = group.iter().map(|weight| f64::from(weight.abs() / greatest));
                        sums.iter_mut().zip(sizes).for_each(|(sum, size)| *sum += size);
                    }
                }
            }
        }
        let mut channels = vec![0.0; self.link.channels];
        let per_channel = (rows.max(1) * (self.link.width() / self.link.channels)) as f64;
        for (column, sum) in sums.iter().enumerate() {
            channels[self.link.channel(column)] += (sum / per_channel) as f32;
        }
        Ok(channels)
    }

    /// The greatest magnitude of every channel's weights.
    fn greatest_weights(&self) -> Result<Vec<f32>, Error> {
        let mut channels = vec![0.0f32; self.link.channels];
        for matrix in &self.matrices {
            let first = matrix.number * matrix.goal.rows_per_matrix;
            let rows: Vec<usize> = (first..first + matrix.goal.rows_per_matrix).collect();
            let greatest = rows.par_chunks(STRIP).map(|rows| {
                let mut greatest = vec![0.0f32; matrix.goal.columns];
                for row in matrix.read(rows)?.chunks_exact(matrix.goal.columns) {
                    greatest.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
                }
                Ok(greatest)
            });
            let greatest: Vec<Result<Vec<f32>, Error>> = greatest.collect();
            for greatest in greatest {
                for (column, own) in greatest?.into_iter().enumerate() {
                    let most = &mut channels[self.link.channel(column)];
                    *most = most.max(own);
                }
            }
        }
        Ok(channels)
    }

    /// The squared outputs of a matrix, and their squared errors with every set of scales.
    fn errors(
        &self,
        matrix: &Matrix<'_>,
        evidence: &Evidence,
        candidates: &[Vec<f32>],
    ) -> Result<(f64, Vec<f64>), Error> {
        let (columns, _) = evidence.size();
        let level = self.settings.level;
        let importance = matrix.goal.importance.map(|all| &all[matrix.number * columns..][..columns]);
        let strips = matrix.rows.par_chunks(STRIP).map(|rows| {
            let weights = matrix.read(rows)?;
            let whole = evidence.whole(&weights);
            let mut scaled = vec![0.0; weights.len()];
            let errors = candidates.iter().map(|scales| {
                for (scaled, weights) in scaled.chunks_exact_mut(columns).zip(weights.chunks_exact(columns)) {
                    let products = weights.iter().zip(scales).map(|(weight, scale)| weight * scale);
                    scaled.iter_mut().zip(products).for_each(|(scaled, product)| *scaled = product);
                }
                let importance = importance.map(|own| -> Vec<f32> {
                    own.iter().zip(scales).map(|(own, scale)| own / (scale * scale)).collect()
                });
                let importance = importance.as_deref();
                let plain = match matrix.goal.form {
                    Form::Blocks(dtype) => Plain::of_blocks(level, dtype, columns, &scaled, importance),
                    Form::Coded(coder, _) => Plain::of_codes(level, coder, 0..rows.len(), &scaled, importance),
                };
                // scales that the type cannot hold are none
                plain.map_or(f64::INFINITY, |plain| evidence.loss(&weights, scales, &plain.values))
            });
            Ok((whole, errors.collect::<Vec<f64>>()))
        });
        let strips: Vec<Result<_, Error>> = strips.collect();
        let (mut whole, mut sums) = (0.0, vec![0.0; candidates.len()]);
        for strip in strips {
            let (own, errors) = strip?;
            whole += own;
            sums.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error);
        }
        Ok((whole, sums))
    }
}

impl Matrix<'_> {
    fn read(&self, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let columns = self.goal.columns;
        let mut weights = vec![0.0; rows.len() * columns];
        for (row, weights) in rows.iter().zip(weights.chunks_exact_mut(columns)) {
            self.reader.read(*row..row + 1, weights)?;
        }
        Ok(weights)
    }
}
