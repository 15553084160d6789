//! Parts of row-major matrices, for products.

use ndarray::{ArrayView2, ArrayViewMut2, ShapeBuilder as _};

/// `rows` rows of `columns` numbers, `stride` apart, that begin where the slice does.
pub(super) fn part(data: &[f32], rows: usize, columns: usize, stride: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((rows, columns).strides((stride, 1)), data).expect("rows inside the slice")
}

/// The same, to be written to.
pub(super) fn part_mut(data: &mut [f32], rows: usize, columns: usize, stride: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((rows, columns).strides((stride, 1)), data).expect("rows inside the slice")
}
