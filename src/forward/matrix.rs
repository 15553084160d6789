//! Activations of some tokens: one row each.

use super::product::{Rows, RowsMut};

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
        let data = self.data.chunks_exact(self.columns).flat_map(|row| &row[first..first + columns]).copied().collect();
        Matrix { columns, data }
    }

    /// A copy of these rows.
    pub fn gather(&self, rows: impl Iterator<Item = usize>) -> Matrix {
        Matrix { columns: self.columns, data: rows.flat_map(|row| self.row(row)).copied().collect() }
    }

    /// Adds another matrix of the same shape, number by number.
    pub fn add(&mut self, other: &Matrix) {
        assert_eq!(self.data.len(), other.data.len(), "matrices of one shape");
        self.data.iter_mut().zip(&other.data).for_each(|(sum, value)| *sum += value);
    }

    /// Multiplies every number.
    pub fn scale(&mut self, factor: f32) {
        if factor != 1.0 {
            self.data.iter_mut().for_each(|value| *value *= factor);
        }
    }

    /// Adds a vector to every row.
    pub fn add_to_rows(&mut self, vector: &[f32]) {
        assert_eq!(self.columns, vector.len(), "a vector as long as the rows");
        self.data.chunks_exact_mut(vector.len()).for_each(|row| row.iter_mut().zip(vector).for_each(|(x, v)| *x += v));
    }
}
