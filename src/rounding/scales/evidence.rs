//! What is known of the inputs of a link.

use std::collections::HashMap;

use ndarray::linalg::general_mat_mul;

use super::super::clip;
use super::super::factor::mirror;
use super::super::moment::{Moment, Moments, Site};
use super::super::view::{part, part_mut};
use super::Method;
use crate::forward::{Observer, Part, Rows};

/// Tokens that are kept of inputs whose rounding is tried.
pub(super) const SAMPLED: usize = 256;

/// Distance between the first and the last code of activations of 8 bits.
const LEVELS: f32 = 255.0;

/// What is being collected of some inputs.
pub(super) enum Collected {
    Moments(Moments),
    /// Every so many tokens one is kept.
    Samples(HashMap<Site, Sample>, usize),
}

/// What is known of one input.
pub(super) enum Evidence {
    /// Its second moment, both halves of it.
    Moment(Moment),
    Sample(Sample),
}

/// The range of every column, and some tokens.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub columns: usize,
    pub least: Vec<f32>,
    pub greatest: Vec<f32>,
    /// Token after token.
    pub rows: Vec<f32>,
    pub tokens: u64,
}

impl Collected {
    /// Nothing yet of these inputs, of which so many tokens will be seen.
    pub fn new(method: Method, sites: &[(Site, usize)], tokens: usize) -> Self {
        match method {
            Method::Awq => Self::Moments(Moments::new(sites.iter().map(|(site, columns)| (site, *columns)))),
            Method::SmoothQuant => {
                let samples = sites.iter().map(|(site, columns)| (site.clone(), Sample::new(*columns)));
                Self::Samples(samples.collect(), tokens.div_ceil(SAMPLED).max(1))
            }
        }
    }

    /// Takes what is known of one.
    pub fn take(&mut self, site: &Site) -> Option<Evidence> {
        match self {
            Self::Moments(moments) => {
                let mut moment = moments.by_site.remove(site)?;
                mirror(&mut moment.data, moment.columns);
                Some(Evidence::Moment(moment))
            }
            Self::Samples(samples, _) => samples.remove(site).map(Evidence::Sample),
        }
    }
}

impl Observer for Collected {
    fn input(&mut self, tensor: &str, matrix: Part, input: Rows<'_>) {
        let (samples, every) = match self {
            Self::Moments(moments) => return moments.input(tensor, matrix, input),
            Self::Samples(samples, every) => (samples, *every),
        };
        let site = Site { tensor: tensor.to_owned(), matrix: matrix.place().0 };
        let Some(sample) = samples.get_mut(&site) else { return };
        for row in 0..input.rows {
            let row = &input.data[row * input.stride..][..input.columns];
            sample.least.iter_mut().zip(row).for_each(|(least, value)| *least = least.min(*value));
            sample.greatest.iter_mut().zip(row).for_each(|(greatest, value)| *greatest = greatest.max(*value));
            if sample.tokens.is_multiple_of(every as u64) {
                sample.rows.extend_from_slice(row);
            }
            sample.tokens += 1;
        }
    }
}

impl Sample {
    fn new(columns: usize) -> Self {
        let (least, greatest) = (vec![f32::INFINITY; columns], vec![f32::NEG_INFINITY; columns]);
        Self { columns, least, greatest, rows: Vec::new(), tokens: 0 }
    }

    /// The rows with their columns divided by scales, each rounded to 8 bits as readers round them: with a scale of its own.
    fn rounded(&self, scales: &[f32]) -> Vec<f32> {
        let mut rows = self.rows.clone();
        for row in rows.chunks_exact_mut(self.columns) {
            row.iter_mut().zip(scales).for_each(|(value, scale)| *value /= scale);
            let step = 2.0 * row.iter().fold(0.0f32, |most, value| most.max(value.abs())) / LEVELS;
            if step > 0.0 {
                row.iter_mut().for_each(|value| *value = (*value / step).round_ties_even().clamp(-128.0, 127.0) * step);
            }
        }
        rows
    }

    /// Outputs of some rows of weights: those of a token side by side.
    fn outputs(&self, inputs: &[f32], weights: &[f32]) -> Vec<f32> {
        let (tokens, rows) = (inputs.len() / self.columns, weights.len() / self.columns);
        let mut outputs = vec![0.0; tokens * rows];
        let (inputs, weights) =
            (part(inputs, tokens, self.columns, self.columns), part(weights, rows, self.columns, self.columns));
        general_mat_mul(1.0, &inputs, &weights.t(), 0.0, &mut part_mut(&mut outputs, tokens, rows, rows));
        outputs
    }
}

impl Evidence {
    /// Columns, and tokens that were seen.
    pub fn size(&self) -> (usize, u64) {
        match self {
            Evidence::Moment(moment) => (moment.columns, moment.tokens),
            Evidence::Sample(sample) => (sample.columns, sample.tokens),
        }
    }

    /// Bytes for so many columns.
    pub fn bytes(method: Method, columns: usize) -> u64 {
        match method {
            Method::Awq => Moment::bytes(columns),
            Method::SmoothQuant => 3 * (SAMPLED * columns * size_of::<f32>()) as u64,
        }
    }

    /// The squared outputs of rows of weights.
    pub fn whole(&self, weights: &[f32]) -> f64 {
        match self {
            Evidence::Moment(moment) => clip::loss(moment, weights, &mut Vec::new()),
            Evidence::Sample(sample) => squares(sample.outputs(&sample.rows, weights).into_iter()),
        }
    }

    /// The squared errors of the outputs of rows of weights that were multiplied with scales and have become `values`.
    pub fn loss(&self, weights: &[f32], scales: &[f32], values: &[f32]) -> f64 {
        match self {
            Evidence::Moment(moment) => {
                let mut errors = values.to_vec();
                for (errors, weights) in
                    errors.chunks_exact_mut(moment.columns).zip(weights.chunks_exact(moment.columns))
                {
                    let exact = errors.iter_mut().zip(scales).zip(weights);
                    exact.for_each(|((value, scale), weight)| *value = *value / scale - weight);
                }
                clip::loss(moment, &errors, &mut Vec::new())
            }
            Evidence::Sample(sample) => {
                let found = sample.outputs(&sample.rounded(scales), values);
                let expected = sample.outputs(&sample.rows, weights);
                squares(found.iter().zip(&expected).map(|(found, expected)| found - expected))
            }
        }
    }
}

fn squares(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|value| f64::from(value) * f64::from(value)).sum()
}
