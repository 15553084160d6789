//! What folding does to a stored weight while it is read.

use std::ops::Range;
use std::sync::Arc;

use crate::weights::Weight;

/// Factors of the values of a stored weight, seen as `[rows, columns]`, all leading dimensions as rows. The default changes
/// nothing: it says that factors are to come.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// One for every row.
    pub rows: Option<Arc<[f32]>>,
    /// One for every column, matrix by matrix of a stack; none beyond the end.
    pub columns: Vec<Option<Arc<[f32]>>>,
    /// All values, in place of those that are stored: of norms, which are scaled in another form than they are stored in, and
    /// of biases.
    pub values: Option<Arc<[f32]>>,
}

impl Factors {
    /// Applies them to a rectangle of `weight` that was decoded into `dst`.
    pub fn apply(&self, weight: &Weight, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]) {
        let (width, matrix_rows) = (weight.columns(), weight.matrix_rows().max(1));
        for (row, dst) in rows.zip(dst.chunks_exact_mut(columns.len().max(1))) {
            if let Some(values) = &self.values {
                dst.copy_from_slice(&values[row * width..][columns.clone()]);
            }
            if let Some(Some(factors)) = self.columns.get(row / matrix_rows) {
                dst.iter_mut().zip(&factors[columns.clone()]).for_each(|(value, factor)| *value *= factor);
            }
            if let Some(factors) = &self.rows {
                dst.iter_mut().for_each(|value| *value *= factors[row]);
            }
        }
    }
}
