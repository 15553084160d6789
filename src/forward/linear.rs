//! A linear layer: activations times a matrix that is decoded some rows at a time.

use std::ops::Range;

use weightmill_kernels::Dtype;

use super::matrix::Matrix;
use super::product::{Rows, RowsMut, Threads};
use super::rounding::{self, Activations};
use super::{Error, Machine};
use crate::pipeline::{self, TensorReader};

/// Which matrix of a tensor an input goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The only one.
    Whole,
    /// That of one expert of so many: an expert sees some tokens only.
    Expert {
        /// Number of the expert.
        index: usize,
        /// Number of experts.
        of: usize,
    },
    /// That of one head of so many, all of which see every token.
    Head {
        /// Number of the head.
        index: usize,
        /// Number of heads.
        of: usize,
    },
}

impl Part {
    /// Number of the matrix, and how many there are.
    pub fn place(self) -> (usize, usize) {
        match self {
            Part::Whole => (0, 1),
            Part::Expert { index, of } | Part::Head { index, of } => (index, of),
        }
    }
}

/// What sees the input of every linear layer.
pub trait Observer: Send {
    /// `input`, one row per token, is about to be multiplied with the matrix `part` of `tensor`. For the same tensor the
    /// calls come in the order of the tokens.
    fn input(&mut self, tensor: &str, part: Part, input: Rows<'_>);

    /// `weights`, these rows of all matrices of `tensor`, are about to be multiplied: others may be put in their place.
    fn replace(&self, tensor: &str, rows: Range<usize>, weights: &mut [f32]) -> Result<(), pipeline::Error> {
        let _ = (tensor, rows, weights);
        Ok(())
    }
}

/// Sees nothing.
impl Observer for () {
    fn input(&mut self, _: &str, _: Part, _: Rows<'_>) {}
}

impl Machine<'_> {
    /// `input` times the transpose of the matrix `name`, plus its bias if it has one: `[tokens, rows of the matrix]`.
    pub(super) fn linear(&self, name: &str, input: &Matrix, observer: &mut dyn Observer) -> Result<Matrix, Error> {
        self.linear_part(name, Part::Whole, input, observer)
    }

    /// The same with one matrix of a stack.
    pub(super) fn linear_part(
        &self,
        name: &str,
        part: Part,
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let tensor = format!("{name}.weight");
        let reader = self.tensors.reader(&tensor)?;
        let (index, of) = part.place();
        let rows = reader.rows() / of;
        if reader.columns() != input.columns || rows * of != reader.rows() {
            let found = self.tensors.shape(&tensor).unwrap_or_default().to_vec();
            let expected = vec![rows as u64, input.columns as u64];
            return Err(Error::Shape { tensor, found, expected });
        }
        observer.input(&tensor, part, input.part(0, input.columns));
        let dtype = self.tensors.dtype(&tensor).unwrap_or(Dtype::F32);
        let rows_of_part = index * rows..(index + 1) * rows;
        let mut output = self.multiply(&reader, rows_of_part, dtype, input, (&tensor, observer))?;
        let scales = self.tensors.vector(&format!("{name}.scale"), &[1, of])?;
        if let Some(scale) = scales.get(index).or(scales.first()) {
            output.scale(*scale);
        }
        let bias = self.tensors.vector(&format!("{name}.bias"), &[rows * of])?;
        if !bias.is_empty() {
            output.add_to_rows(&bias[index * rows..][..rows]);
        }
        Ok(output)
    }

    /// `input` times the transpose of these rows of a matrix, of `tensor`, once the observer has seen their weights.
    pub(super) fn multiply(
        &self,
        reader: &TensorReader<'_>,
        rows: Range<usize>,
        dtype: Dtype,
        input: &Matrix,
        (tensor, observer): (&str, &dyn Observer),
    ) -> Result<Matrix, Error> {
        let (first, rows) = (rows.start, rows.len());
        let columns = input.columns;
        let rounded = self.rounded(dtype, input);
        let factor = rounded.as_ref().unwrap_or(input);
        let mut output = Matrix::zeros(input.rows(), rows);
        if input.rows() == 0 {
            return Ok(output);
        }
        let at_once = (self.slab / columns.max(1)).clamp(1, rows.max(1));
        let mut slab = vec![0.0; at_once * columns];
        let mut done = 0;
        while done < rows {
            self.check_cancelled()?;
            let count = at_once.min(rows - done);
            let slab = &mut slab[..count * columns];
            reader.read(first + done..first + done + count, slab)?;
            observer.replace(tensor, first + done..first + done + count, slab)?;
            let RowsMut { data, rows, columns: _, stride } = output.part_mut(done, count);
            let out = RowsMut { data, rows, columns: count, stride };
            self.product.rows_by_rows(factor.part(0, columns), Rows::dense(slab, columns), out, Threads::All);
            done += count;
        }
        Ok(output)
    }

    /// Activations as they are multiplied with weights of a type, if that differs.
    fn rounded(&self, dtype: Dtype, input: &Matrix) -> Option<Matrix> {
        if self.activations == Activations::Exact || matches!(dtype, Dtype::F32 | Dtype::F64) {
            return None;
        }
        let mut rounded = input.clone();
        rounding::round(self.tensors.level(), dtype, &mut rounded.data);
        Some(rounded)
    }
}
