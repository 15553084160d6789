//! Activations of some tokens: one row each.

use rayon::prelude::*;

use super::product::{Rows, RowsMut};

/// Numbers that a thread works on at a time.
const AT_ONCE: usize = 32 * 1024;

/// A matrix of f32, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// Numbers in a row.
    pub columns: usize,
    /// All rows.
    pub data: Vec<f32>,
}

impl Matrix {
    /// So many rows of zeros.
    pub fn zeros(rows: usize, columns: usize) -> Self {
        Self { columns, data: vec![0.0; rows * columns] }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.columns.max(1)
    }

    /// Row `row`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.columns..(row + 1) * self.columns]
    }

    /// Row `row`, to be written to.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.data[row * self.columns..(row + 1) * self.columns]
    }

    /// All rows, or of all some columns: `columns` from `first` on.
    pub fn part(&self, first: usize, columns: usize) -> Rows<'_> {
        self.block(0, self.rows(), first, columns)
    }

    /// Rows `row` to `row + rows`, of each `columns` from `first` on.
    pub fn block(&self, row: usize, rows: usize, first: usize, columns: usize) -> Rows<'_> {
        let data = if rows == 0 { &[] } else { &self.data[row * self.columns + first..] };
        Rows { data, rows, columns, stride: self.columns }
    }

    /// Of all rows `columns` from `first` on, to be written to.
    pub fn part_mut(&mut self, first: usize, columns: usize) -> RowsMut<'_> {
        let rows = self.rows();
        let data = if rows == 0 { &mut [][..] } else { &mut self.data[first..] };
        RowsMut { data, rows, columns, stride: self.columns }
    }

    /// A copy of `columns` columns from `first` on.
    pub fn columns_of(&self, first: usize, columns: usize) -> Matrix {
        let mut copy = Matrix::zeros(self.rows(), columns);
        let rows = copy.data.par_chunks_exact_mut(columns.max(1)).zip(self.data.par_chunks_exact(self.columns.max(1)));
        rows.with_min_len(16).for_each(|(copy, row)| copy.copy_from_slice(&row[first..first + columns]));
        copy
    }

    /// A copy of these rows.
    pub fn gather(&self, rows: impl Iterator<Item = usize>) -> Matrix {
        Matrix { columns: self.columns, data: rows.flat_map(|row| self.row(row)).copied().collect() }
    }

    /// Adds another matrix of the same shape, number by number.
    pub fn add(&mut self, other: &Matrix) {
        assert_eq!(self.data.len(), other.data.len(), "matrices of one shape");
        self.data.par_chunks_mut(AT_ONCE).zip(other.data.par_chunks(AT_ONCE)).for_each(|(sums, values)| {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        });
    }

    /// Multiplies every number.
    pub fn scale(&mut self, factor: f32) {
        if factor != 1.0 {
            let pieces = self.data.par_chunks_mut(AT_ONCE);
            pieces.for_each(|piece| piece.iter_mut().for_each(|value| *value *= factor));
        }
    }

    /// Adds a vector to every row.
    pub fn add_to_rows(&mut self, vector: &[f32]) {
        assert_eq!(self.columns, vector.len(), "a vector as long as the rows");
        let rows = self.data.par_chunks_exact_mut(vector.len()).with_min_len(16);
        rows.for_each(|row| row.iter_mut().zip(vector).for_each(|(x, v)| *x += v));
    }
}
