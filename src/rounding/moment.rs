//! Second moments of the inputs of linear layers: `X^T X`, summed over all tokens.

use std::collections::HashMap;

use ndarray::linalg::general_mat_mul;
use rayon::prelude::*;

use super::view::{part, part_mut};
use crate::forward::{Observer, Part, Rows};

/// Rows of a moment that a thread adds to at a time. Fixed, so that sums do not depend on the number of threads.
const STRIP: usize = 256;

/// Tensors that see the same input as the first of their line, in every graph that has both.
const SHARED: &[&[&str]] = &[
    &["attn_q", "attn_k", "attn_v"],
    &["ffn_up", "ffn_gate"],
    &["ffn_up_shexp", "ffn_gate_shexp"],
    &["ffn_up_exps", "ffn_gate_exps"],
];

/// A matrix whose inputs are measured: the tensor, and which matrix of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Site {
    /// The model's name of the tensor.
    pub tensor: String,
    /// Number of the matrix in it.
    pub matrix: usize,
}

/// The tensor whose input stands for that of `tensor`; `has` tells which tensors the model has.
pub(super) fn representative(tensor: &str, has: impl Fn(&str) -> bool) -> String {
    let Some((block, name)) = tensor.strip_suffix(".weight").and_then(|name| name.rsplit_once('.')) else {
        return tensor.to_owned();
    };
    let line = SHARED.iter().find(|line| line.contains(&name));
    let first = line.map(|line| format!("{block}.{}.weight", line[0]));
    first.filter(|first| has(first)).unwrap_or_else(|| tensor.to_owned())
}

/// `X^T X` of the tokens seen so far.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// Rows and columns.
    pub columns: usize,
    /// Row by row; above the diagonal strips nothing is computed.
    pub data: Vec<f32>,
    /// Tokens.
    pub tokens: u64,
}

impl Moment {
    pub fn new(columns: usize) -> Self {
        Self { columns, data: vec![0.0; columns * columns], tokens: 0 }
    }

    /// Bytes of the moment of so many columns.
    pub fn bytes(columns: usize) -> u64 {
        (columns as u64).saturating_mul(columns as u64).saturating_mul(size_of::<f32>() as u64)
    }

    /// Adds the products of these rows.
    fn add(&mut self, input: Rows<'_>) {
        self.tokens += input.rows as u64;
        if input.rows == 0 {
            return;
        }
        let columns = self.columns;
        assert_eq!(columns, input.columns, "inputs of one length");
        self.data.par_chunks_mut(STRIP * columns).enumerate().for_each(|(number, strip)| {
            let first = number * STRIP;
            let count = strip.len() / columns;
            let mut sums = part_mut(strip, count, first + count, columns);
            let own = part(&input.data[first..], input.rows, count, input.stride);
            let before = part(input.data, input.rows, first + count, input.stride);
            general_mat_mul(1.0, &own.t(), &before, 1.0, &mut sums);
        });
    }

    /// The diagonal.
    pub fn diagonal(&self) -> Vec<f32> {
        self.data.iter().step_by(self.columns + 1).copied().collect()
    }
}

/// Collects the moments of some matrices.
#[derive(Default)]
pub(super) struct Moments {
    pub by_site: HashMap<Site, Moment>,
}

impl Moments {
    /// Zeros for these matrices and their columns.
    pub fn new<'a>(sites: impl Iterator<Item = (&'a Site, usize)>) -> Self {
        Self { by_site: sites.map(|(site, columns)| (site.clone(), Moment::new(columns))).collect() }
    }
}

impl Observer for Moments {
    fn input(&mut self, tensor: &str, part: Part, input: Rows<'_>) {
        let site = Site { tensor: tensor.to_owned(), matrix: part.place().0 };
        if let Some(moment) = self.by_site.get_mut(&site) {
            moment.add(input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_definition() {
        let (rows, columns, stride) = (7, 300, 303);
        // whole numbers, of which sums are exact
        let data: Vec<f32> = (0..rows * stride).map(|at| (at * 37 % 11) as f32 - 5.0).collect();
        let mut moment = Moment::new(columns);
        moment.add(Rows { data: &data, rows: 3, columns, stride });
        moment.add(Rows { data: &data[3 * stride..], rows: 4, columns, stride });
        assert_eq!(moment.tokens, 7);
        for (row, column) in [(0, 0), (255, 3), (256, 255), (299, 299), (299, 0)] {
            let expected: f32 = (0..rows).map(|token| data[token * stride + row] * data[token * stride + column]).sum();
            assert_eq!(moment.data[row * columns + column], expected, "{row}, {column}");
        }
    }

    #[test]
    fn matrices_that_see_the_same_share_a_moment() {
        let of = |name: &str, has: bool| representative(name, |_| has);
        assert_eq!(of("blk.3.attn_v.weight", true), "blk.3.attn_q.weight");
        assert_eq!(of("blk.3.attn_v.weight", false), "blk.3.attn_v.weight");
        assert_eq!(of("blk.0.ffn_gate_exps.weight", true), "blk.0.ffn_up_exps.weight");
        assert_eq!(of("blk.0.attn_output.weight", true), "blk.0.attn_output.weight");
        assert_eq!(of("output.weight", true), "output.weight");
    }
}
