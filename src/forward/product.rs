//! The matrix product, behind one trait so that another library or a GPU can take its place.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder as _};
use rayon::prelude::*;

/// Rows of numbers, a fixed step apart in a slice.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// From the first number of the first row on.
    pub data: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Numbers in a row.
    pub columns: usize,
    /// Numbers from one row's first to the next row's first.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Rows one after the other.
    pub fn dense(data: &'a [f32], columns: usize) -> Self {
        Self { data, rows: data.len() / columns.max(1), columns, stride: columns }
    }
}

/// Rows that are written to.
#[derive(Debug)]
pub struct RowsMut<'a> {
    /// From the first number of the first row on.
    pub data: &'a mut [f32],
    /// Number of rows.
    pub rows: usize,
    /// Numbers in a row.
    pub columns: usize,
    /// Numbers from one row's first to the next row's first.
    pub stride: usize,
}

/// How a product may use the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// This thread alone: the caller works on several products at once.
    One,
    /// All threads of the current pool.
    All,
}

/// Multiplies matrices of f32.
pub trait MatMul: Send + Sync {
    /// Name of the library, for reports.
    fn name(&self) -> &'static str;

    /// `out[i, j] = Σₖ left[i, k] · right[j, k]`: both factors row by row, as activations and weights lie.
    ///
    /// # Panics
    /// If the shapes do not belong together.
    fn rows_by_rows(&self, left: Rows<'_>, right: Rows<'_>, out: RowsMut<'_>, threads: Threads);

    /// `out[i, j] = Σₖ left[i, k] · right[k, j]`.
    ///
    /// # Panics
    /// If the shapes do not belong together.
    fn rows_by_columns(&self, left: Rows<'_>, right: Rows<'_>, out: RowsMut<'_>, threads: Threads);
}

/// The products of the crate matrixmultiply, through ndarray.
///
/// A row of a result is the same whatever the number of threads and the rows beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MatrixMultiply;

/// Least rows of a thread's share: packing the other factor should not outweigh them.
const LEAST_ROWS: usize = 64;

impl MatMul for MatrixMultiply {
    fn name(&self) -> &'static str {
        "matrixmultiply"
    }

    fn rows_by_rows(&self, left: Rows<'_>, right: Rows<'_>, out: RowsMut<'_>, threads: Threads) {
        share(left, factor(right).reversed_axes(), out, threads);
    }

    fn rows_by_columns(&self, left: Rows<'_>, right: Rows<'_>, out: RowsMut<'_>, threads: Threads) {
        share(left, factor(right), out, threads);
    }
}

/// Every thread computes some rows of the result.
fn share(left: Rows<'_>, right: ArrayView2<'_, f32>, out: RowsMut<'_>, threads: Threads) {
    assert_eq!((out.rows, out.columns), (left.rows, right.ncols()), "the shape of the product");
    if out.rows == 0 || out.columns == 0 {
        return;
    }
    let count = match threads {
        Threads::One => out.rows,
        Threads::All => out.rows.div_ceil(rayon::current_num_threads()).max(LEAST_ROWS),
    };
    let (columns, stride) = (out.columns, out.stride);
    let product = |(number, data): (usize, &mut [f32])| {
        let first = number * count;
        let rows = count.min(left.rows - first);
        let left = Rows { data: &left.data[first * left.stride..], rows, ..left };
        let shape = (rows, columns).strides((stride, 1));
        let mut out = ArrayViewMut2::from_shape(shape, data).expect("rows inside the slice");
        general_mat_mul(1.0, &factor(left), &right, 0.0, &mut out);
    };
    // what follows the last row belongs to no share
    let used = (out.rows - 1) * stride + columns;
    let data = &mut out.data[..used];
    match threads {
        Threads::One => product((0, data)),
        Threads::All => data.par_chunks_mut(count * stride).enumerate().for_each(product),
    }
}

fn factor(rows: Rows<'_>) -> ArrayView2<'_, f32> {
    let shape = (rows.rows, rows.columns).strides((rows.stride, 1));
    ArrayView2::from_shape(shape, rows.data).expect("rows inside the slice")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole numbers, of which sums are exact.
    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|index| (index * step % 7) as f32 - 3.0).collect()
    }

    #[test]
    fn products_are_those_of_the_definition() {
        for (rows, inner, columns) in [(1, 1, 1), (3, 5, 2), (130, 70, 33), (257, 300, 9)] {
            let (a, b) = (numbers(rows * inner, 3), numbers(inner * columns, 5));
            for threads in [Threads::One, Threads::All] {
                for transposed in [true, false] {
                    // rows of the result lie further apart than they are long
                    let stride = columns + 3;
                    let mut data = vec![9.0; rows * stride];
                    let out = RowsMut { data: &mut data[1..], rows, columns, stride };
                    let at = |k: usize, j: usize| if transposed { b[j * inner + k] } else { b[k * columns + j] };
                    match transposed {
                        true => {
                            MatrixMultiply.rows_by_rows(Rows::dense(&a, inner), Rows::dense(&b, inner), out, threads)
                        }
                        false => {
                            MatrixMultiply.rows_by_columns(
                                Rows::dense(&a, inner),
                                Rows::dense(&b, columns),
                                out,
                                threads,
                            );
                        }
                    }
                    for i in 0..rows {
                        for j in 0..columns {
                            let expected: f32 = (0..inner).map(|k| a[i * inner + k] * at(k, j)).sum();
                            assert_eq!(data[1 + i * stride + j], expected, "{rows} {inner} {columns} at {i}, {j}");
                        }
                        if i + 1 < rows {
                            assert_eq!(data[1 + i * stride + columns..][..3], [9.0; 3]);
                        }
                    }
                }
            }
        }
    }
}
