//! From sums and counts to the values by which quantizers weigh columns.

use std::ops::Range;

use indexmap::IndexMap;

use super::Imatrix;

/// What the weights of a tensor count, column by column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// One finite, non-negative value per column (for merged experts: per expert and column) by tensor name, in file order.
    pub entries: IndexMap<String, Vec<f32>>,
    /// Where 1 stands for what was not measured.
    pub gaps: Vec<Gap>,
    /// Names of the texts that were measured, as the file has them (often paths).
    pub datasets: Vec<String>,
    /// Number of chunks of text; 0 if the file does not say.
    pub chunks: u32,
}

/// Columns without a measured value: all count the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Gap {
    /// Name of the tensor.
    pub entry: String,
    /// Which of its values: those of one matrix, or of all that share a count.
    pub values: Range<usize>,
    /// Why.
    pub cause: Cause,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Nothing was added up: no token came to this expert.
    Unseen,
    /// A mean of squares that is negative or not finite.
    BadValue {
        /// Position among the values of the tensor.
        index: usize,
        /// The mean.
        found: f32,
    },
}

impl Importance {
    /// The values for the tensor of this name.
    pub fn get(&self, tensor: &str) -> Option<&[f32]> {
        self.entries.get(tensor).map(Vec::as_slice)
    }
}

impl Imatrix {
    /// Means: sums divided by their count, in f32, as llama-quantize computes them.
    ///
    /// Where nothing was counted every value is 1, as there. So they are too where a mean cannot be one of squares: at those
    /// that are not finite llama-quantize stops, with negative ones it goes on, into assertions of some types. Both are
    /// [`Importance::gaps`].
    pub fn into_importance(self) -> Importance {
        let in_chunks = self.chunk_size.is_none();
        let mut entries = IndexMap::with_capacity(self.entries.len());
        let mut gaps = Vec::new();
        for (name, entry) in self.entries {
            let shared = entry.shared().max(1);
            let mut values = entry.sums;
            for (number, (values, &count)) in values.chunks_mut(shared).zip(&entry.counts).enumerate() {
                let begin = number * shared;
                let cause = match count {
                    // The older form's values without calls are taken as they are.
                    0 if !in_chunks => Some(Cause::Unseen),
                    count => {
                        let count = count.max(1) as f32;
                        values.iter_mut().for_each(|value| *value /= count);
                        let bad = values.iter().position(|value| !value.is_finite() || *value < 0.0);
                        bad.map(|index| Cause::BadValue { index: begin + index, found: values[index] })
                    }
                };
                if let Some(cause) = cause {
                    values.fill(1.0);
                    gaps.push(Gap { entry: name.clone(), values: begin..begin + values.len(), cause });
                }
            }
            entries.insert(name, values);
        }
        Importance { entries, gaps, datasets: self.datasets, chunks: self.chunks }
    }
}
