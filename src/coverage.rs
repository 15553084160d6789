//! What an importance matrix lacks: experts that no token came to, values that cannot be, and, beside a model, names and sizes
//! that do not belong to it and tensors without importance.

use std::collections::HashMap;

use serde::Serialize;
use weightmill_formats::Imatrix;
use weightmill_formats::imatrix::Entry;

use crate::model::Model;
use crate::options::TypeOptions;
use crate::plan::expected_values;
use crate::recipe::{Candidate, Facts, Role, can_be_quantized};

/// Everything that an importance matrix lacks.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Matrices (experts) whose count is zero.
    pub unseen: Vec<Matrices>,
    /// Matrices that were counted, but whose sums are all zero.
    pub zero: Vec<Matrices>,
    /// Matrices with sums that are negative or not finite.
    pub bad: Vec<Matrices>,
    /// What a comparison with the model found.
    pub model: Option<Comparison>,
}

/// Some of the matrices of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Matrices {
    /// Name of the tensor.
    pub tensor: String,
    /// Which of its matrices, counted from 0.
    pub matrices: Vec<usize>,
    /// How many it has.
    pub of: usize,
}

/// How the matrix and a model fit together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Entries whose name no tensor of the model has.
    pub unknown: Vec<String>,
    /// Entries of another size than the tensor.
    pub sizes: Vec<Size>,
    /// Tensors that are quantized and have no importance. Token embeddings and output, which llama-imatrix does not measure
    /// unless told to, are not among them.
    pub without: Vec<String>,
}

/// An entry of another size than its tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Size {
    pub tensor: String,
    pub values: usize,
    pub expected: u64,
}

impl Coverage {
    /// Looks through all entries. With a model the size of its matrices counts; otherwise those that have a count of their own
    /// are told apart.
    pub fn of(matrix: &Imatrix, model: Option<&Model>) -> Self {
        let shapes = model.into_iter().flat_map(|model| &model.tensors);
        let shapes: HashMap<&str, &[u64]> = shapes.map(|tensor| (tensor.name.as_str(), &*tensor.shape)).collect();
        let mut coverage = Coverage { model: model.map(|model| Comparison::of(matrix, model)), ..Coverage::default() };
        for (name, entry) in &matrix.entries {
            let columns = shapes.get(name.as_str()).and_then(|shape| usize::try_from(*shape.last()?).ok());
            coverage.add(name, entry, columns);
        }
        coverage
    }

    fn add(&mut self, name: &str, entry: &Entry, columns: Option<usize>) {
        let shared = entry.shared().max(1);
        let divides = |columns: &usize| *columns > 0 && shared.is_multiple_of(*columns);
        let columns = columns.filter(divides).unwrap_or(shared);
        let of = entry.sums.len() / columns;
        // Several matrices may share a count, never a matrix several counts.
        let count = |number: usize| entry.counts.get(number * columns / shared).copied().unwrap_or(0);
        let matrices = || entry.sums.chunks_exact(columns).enumerate();
        let seen = || matrices().filter(|(number, _)| count(*number) > 0);
        let is_bad = |sum: &f32| !sum.is_finite() || *sum < 0.0;
        let mut note = |list: fn(&mut Coverage) -> &mut Vec<Matrices>, matrices: Vec<usize>| {
            if !matrices.is_empty() {
                list(self).push(Matrices { tensor: name.to_owned(), matrices, of });
            }
        };
        let numbers =
            |matrices: &mut dyn Iterator<Item = (usize, &[f32])>| matrices.map(|(number, _)| number).collect();
        note(|c| &mut c.unseen, numbers(&mut matrices().filter(|(number, _)| count(*number) == 0)));
        note(|c| &mut c.zero, numbers(&mut seen().filter(|(_, sums)| sums.iter().all(|sum| *sum == 0.0))));
        note(|c| &mut c.bad, numbers(&mut seen().filter(|(_, sums)| sums.iter().any(is_bad))));
    }

    /// True if something cannot be right: numbers that are no sums of squares, an entry that is not of this model.
    pub fn is_wrong(&self) -> bool {
        let misfits = |model: &Comparison| !model.unknown.is_empty() || !model.sizes.is_empty();
        !self.bad.is_empty() || self.model.as_ref().is_some_and(misfits)
    }

    /// True if nothing is wrong and nothing missing.
    pub fn is_complete(&self) -> bool {
        let lacks = self.model.as_ref().is_some_and(|model| !model.without.is_empty());
        !self.is_wrong() && !lacks && self.unseen.is_empty() && self.zero.is_empty()
    }
}

impl Comparison {
    fn of(matrix: &Imatrix, model: &Model) -> Self {
        let mut comparison = Comparison::default();
        let tensors: HashMap<&str, &[u64]> =
            model.tensors.iter().map(|tensor| (tensor.name.as_str(), &*tensor.shape)).collect();
        for (name, entry) in &matrix.entries {
            match tensors.get(name.as_str()).map(|shape| expected_values(shape)) {
                None => comparison.unknown.push(name.clone()),
                Some(expected) if expected != entry.sums.len() as u64 => {
                    comparison.sizes.push(Size { tensor: name.clone(), values: entry.sums.len(), expected });
                }
                Some(_) => {}
            }
        }
        let facts = Facts { own_names: model.own_names, ..Facts::of(&model.architecture, &model.metadata) };
        let options = TypeOptions::default();
        for tensor in &model.tensors {
            let candidate = Candidate { name: &tensor.name, shape: &tensor.shape, dtype: tensor.dtype };
            let role = Role::of(&tensor.name);
            if can_be_quantized(candidate, &facts, &options)
                && !matches!(role, Role::TokenEmbedding | Role::Output)
                && !matrix.entries.contains_key(&tensor.name)
            {
                comparison.without.push(tensor.name.clone());
            }
        }
        comparison
    }
}
