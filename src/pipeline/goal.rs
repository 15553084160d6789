//! Tensors whose levels can be chosen elsewhere, before the run, and how the run takes over what was chosen.

use std::borrow::Cow;

use weightmill_kernels::Dtype;

use super::work::{CodedWeight, Encoding, Work, in_range};
use super::{Error, Run};
use crate::model::ModelTensor;
use crate::scheme::Coder;

/// A tensor in a type or scheme whose levels can be chosen.
#[derive(Clone, Copy)]
pub struct Goal<'a> {
    /// The tensor of the model, or of the checkpoint that is written.
    pub tensor: &'a ModelTensor,
    /// Rows of all its matrices.
    pub rows: usize,
    /// Weights per row.
    pub columns: usize,
    /// Rows of one matrix.
    pub rows_per_matrix: usize,
    /// Importance: one weight per column and matrix.
    pub importance: Option<&'a [f32]>,
    /// What is written.
    pub(crate) form: Form<'a>,
}

/// What the rows of a goal become.
#[derive(Clone, Copy)]
pub(crate) enum Form<'a> {
    /// Blocks of a type.
    Blocks(Dtype),
    /// Codes and numbers in several tensors.
    Coded(&'a Coder, &'static str),
}

impl Goal<'_> {
    /// True if it becomes codes and numbers in several tensors, false if blocks of a type.
    pub fn is_coded(&self) -> bool {
        matches!(self.form, Form::Coded(..))
    }

    /// Number of matrices.
    pub fn matrices(&self) -> usize {
        self.rows / self.rows_per_matrix.max(1)
    }

    /// Name of the type or scheme that is written.
    pub fn to(&self) -> &'static str {
        match self.form {
            Form::Blocks(dtype) => dtype.name(),
            Form::Coded(_, scheme) => scheme,
        }
    }

    /// Bytes in which what is chosen for one row is handed over: the row's blocks, or a record of its codes and numbers.
    pub fn row_bytes(&self) -> usize {
        match self.form {
            Form::Blocks(dtype) => self.columns / dtype.info().block_len * dtype.info().block_bytes,
            Form::Coded(coder, _) => coder.record_bytes(),
        }
    }

    /// Importance of its columns as it is used.
    pub(crate) fn weighed<'b>(&self, importance: &'b [f32]) -> Cow<'b, [f32]> {
        match self.form {
            Form::Blocks(_) => Cow::Borrowed(importance),
            Form::Coded(coder, _) => in_range(importance, coder.group()),
        }
    }

    /// Those of all rows.
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.row_bytes() as u64
    }
}

/// What was chosen for some of the [`Run::goals`].
pub trait Chosen: Sync {
    /// Reads what was chosen for a tensor in a type or scheme of this name, see [`Goal::row_bytes`], from this offset on;
    /// false if nothing was.
    ///
    /// # Errors
    /// If it cannot be read.
    fn read(&self, tensor: &str, to: &str, offset: u64, bytes: &mut [u8]) -> Result<bool, Error>;
}

impl Run<'_> {
    /// The tensors that are rounded to levels of single weights, in the order of the source.
    pub fn goals(&self) -> Vec<Goal<'_>> {
        let mut goals = Vec::new();
        for work in &self.works {
            let encodings = work.encodings.iter().filter(|encoding| is_rounded(work, encoding));
            goals.extend(encodings.map(|encoding| of_blocks(work, encoding)));
            goals.extend(
                work.coded.iter().filter(|coded| coded.coder.points().is_some()).map(|coded| of_codes(work, coded)),
            );
        }
        goals
    }
}

fn is_rounded(work: &Work<'_>, encoding: &Encoding<'_>) -> bool {
    encoding.to.levels().is_some() && !encoding.lossless && !work.is_unchanged(encoding)
}

fn of_blocks<'a>(work: &'a Work<'_>, encoding: &'a Encoding<'_>) -> Goal<'a> {
    Goal {
        tensor: work.tensor,
        rows: work.rows,
        columns: work.columns,
        rows_per_matrix: work.rows_per_expert.max(1),
        importance: encoding.importance,
        form: Form::Blocks(encoding.to),
    }
}

fn of_codes<'a>(work: &'a Work<'_>, coded: &'a CodedWeight<'_>) -> Goal<'a> {
    Goal {
        tensor: work.tensor,
        rows: work.rows,
        columns: work.columns,
        rows_per_matrix: work.rows_per_expert.max(1),
        importance: coded.importance.as_deref(),
        form: Form::Coded(&coded.coder, coded.coding.scheme.name),
    }
}
