//! Strided views: which element of a stored weight each element of a GGUF tensor is.
//!
//! Everything that turns a checkpoint's tensors into GGUF's without arithmetic (reordered rows, slices, splits,
//! transposition) is one strided view of the stored elements; stacking puts several one after the other.

/// One axis of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Number of steps.
    pub length: u64,
    /// Elements of the stored weight from one step to the next.
    pub stride: u64,
}

impl Axis {
    /// So many steps of so many elements.
    pub const fn new(length: u64, stride: u64) -> Self {
        Self { length, stride }
    }
}

/// A matrix made of elements of a stored weight, whose elements are numbered row by row from 0.
///
/// Several rows of a view may make up one row of a tensor: where columns are reordered, those that stay together are a
/// row here.
///
/// Row `r` is a number whose digits have the lengths of `rows` as bases, the last changing fastest; element `(r, c)` is
/// the stored element `base` + digits · strides + `c` · `columns.stride`. The strides of an outer axis may be larger
/// or smaller than those of an inner one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// First element.
    pub base: u64,
    /// Axes of the rows, the outermost first.
    pub rows: Vec<Axis>,
    /// The elements of a row.
    pub columns: Axis,
}

impl View {
    /// A weight of this shape as it is stored; a vector is one row.
    pub fn whole(shape: &[u64]) -> Self {
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).fold(1, |rows: u64, length| rows.saturating_mul(*length));
        Self { base: 0, rows: vec![Axis::new(rows, columns)], columns: Axis::new(columns, 1) }
    }

    /// Rows `first` to `first + count` of matrices with `columns` columns.
    pub fn slice(first: u64, count: u64, columns: u64) -> Self {
        Self {
            base: first.saturating_mul(columns),
            rows: vec![Axis::new(count, columns)],
            columns: Axis::new(columns, 1),
        }
    }

    /// Of `count` matrices stored as `[rows, columns]` the rows `first` to `first + length`.
    pub fn slices(count: u64, rows: u64, columns: u64, first: u64, length: u64) -> Self {
        Self {
            base: first.saturating_mul(columns),
            rows: vec![Axis::new(count, rows.saturating_mul(columns)), Axis::new(length, columns)],
            columns: Axis::new(columns, 1),
        }
    }

    /// The transpose of a matrix stored as `[rows, columns]`.
    pub fn transposed(rows: u64, columns: u64) -> Self {
        Self { base: 0, rows: vec![Axis::new(columns, 1)], columns: Axis::new(rows, columns) }
    }

    /// Of `count` matrices stored as `[rows, columns]` the columns `first` to `first + length`, each as a row.
    pub fn transposed_columns(count: u64, rows: u64, columns: u64, first: u64, length: u64) -> Self {
        let matrix = rows.saturating_mul(columns);
        Self {
            base: first,
            rows: vec![Axis::new(count, matrix), Axis::new(length, 1)],
            columns: Axis::new(rows, columns),
        }
    }

    /// A matrix stored as `[rows, groups * members * width]` with the columns of the first member of each group first.
    pub fn regrouped_columns(rows: u64, groups: u64, members: u64, width: u64) -> Self {
        let group = members.saturating_mul(width);
        let rows =
            vec![Axis::new(rows, groups.saturating_mul(group)), Axis::new(members, width), Axis::new(groups, group)];
        Self { base: 0, rows, columns: Axis::new(width, 1) }
    }

    /// Rows of `heads` heads, inside each the two halves interleaved: Llama's query and key projections, because ggml
    /// rotates adjacent pairs of rows where transformers rotates halves. Of a vector the elements are reordered.
    pub fn interleaved_halves(shape: &[u64], heads: u64) -> Self {
        let (rows, columns) = match shape {
            [length] => (*length, 1),
            _ => (shape[0], shape.last().copied().unwrap_or(1)),
        };
        let half = rows / heads.max(1) / 2;
        let stride = |rows: u64| rows.saturating_mul(columns);
        let rows = vec![Axis::new(heads, stride(2 * half)), Axis::new(half, columns), Axis::new(2, stride(half))];
        Self { base: 0, rows, columns: Axis::new(columns, 1) }
    }

    /// Of the rows of `count` matrices below each other those of matrix `number`; `None` if they are not a view.
    pub fn matrix(&self, count: u64, number: u64) -> Option<Self> {
        let (outer, inner) = self.rows.split_first()?;
        let (stride, rows) = match inner {
            [] if outer.length.is_multiple_of(count.max(1)) => {
                let rows = outer.length / count.max(1);
                (rows.saturating_mul(outer.stride), vec![Axis::new(rows, outer.stride)])
            }
            [_, ..] if outer.length == count => (outer.stride, inner.to_vec()),
            _ => return None,
        };
        Some(Self { base: self.base.saturating_add(number.saturating_mul(stride)), rows, columns: self.columns })
    }

    /// Number of rows.
    pub fn row_count(&self) -> u64 {
        self.rows.iter().fold(1, |rows, axis| rows.saturating_mul(axis.length))
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.row_count().saturating_mul(self.columns.length)
    }

    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The stored element that begins row `row`.
    pub fn row_start(&self, mut row: u64) -> u64 {
        let mut element = self.base;
        for axis in self.rows.iter().rev() {
            element += row % axis.length * axis.stride;
            row /= axis.length;
        }
        element
    }

    /// The largest stored element in the view; `None` if there is none or if it overflows.
    pub fn last(&self) -> Option<u64> {
        let axes = self.rows.iter().chain([&self.columns]);
        axes.into_iter()
            .try_fold(self.base, |last, axis| last.checked_add(axis.length.checked_sub(1)?.checked_mul(axis.stride)?))
    }

    /// True if the rows follow each other in the stored weight as they do in the view.
    pub fn is_contiguous(&self) -> bool {
        let rows = self.row_count();
        self.columns.stride == 1 && (rows == 0 || self.run(0, rows) == rows)
    }

    /// Rows that lie one after the other from row `row` on, at most `most`: their starts are a row's length apart.
    pub fn run(&self, row: u64, most: u64) -> u64 {
        let step = if self.columns.stride == 1 { self.columns.length } else { 1 };
        let start = self.row_start(row);
        (1..most).find(|next| self.row_start(row + next) != start + next * step).unwrap_or(most)
    }

    /// The least number of rows that together are a contiguous part of the stored weight, each such part following the
    /// one before: 1 where the rows themselves do, those of a head where they are reordered inside heads. 1 also where
    /// there is no such number.
    pub fn group(&self) -> u64 {
        let mut rows = 1u64;
        for first in (0..=self.rows.len()).rev() {
            let (outer, inner) = self.rows.split_at(first);
            rows = inner.first().map_or(rows, |axis| rows.saturating_mul(axis.length));
            let mut axes: Vec<Axis> = inner.iter().copied().chain([self.columns]).collect();
            axes.retain(|axis| axis.length > 1);
            axes.sort_by_key(|axis| axis.stride);
            let mut size = 1u64;
            let tiles = axes.iter().all(|axis| {
                let fits = axis.stride == size;
                size = size.saturating_mul(axis.length);
                fits
            });
            if tiles && outer.last().is_none_or(|axis| axis.stride == size) {
                return rows;
            }
        }
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(view: &View) -> Vec<u64> {
        let row = |row| (0..view.columns.length).map(move |c| view.row_start(row) + c * view.columns.stride);
        (0..view.row_count()).flat_map(row).collect()
    }

    #[test]
    fn the_whole_is_in_order() {
        for shape in [&[6][..], &[2, 3], &[2, 3, 4], &[1, 1, 5], &[]] {
            let view = View::whole(shape);
            let weights: u64 = shape.iter().product();
            assert_eq!(elements(&view), (0..weights).collect::<Vec<_>>(), "{shape:?}");
            assert!(view.is_contiguous());
            assert_eq!(view.group(), 1);
            assert_eq!(view.last(), Some(weights - 1));
        }
    }

    #[test]
    fn halves_interleave_inside_heads() {
        let rows = View::interleaved_halves(&[8, 1], 2);
        assert_eq!(elements(&rows), [0, 2, 1, 3, 4, 6, 5, 7]);
        assert_eq!(elements(&View::interleaved_halves(&[8], 2)), elements(&rows));
        assert_eq!(rows.group(), 4);
        assert!(!rows.is_contiguous());
        let wide = View::interleaved_halves(&[4, 3], 1);
        assert_eq!(elements(&wide), [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]);
        assert_eq!((wide.run(0, 4), wide.run(1, 1)), (1, 1));
    }

    #[test]
    fn slices_and_transposes() {
        let slice = View::slice(2, 2, 3);
        assert_eq!(elements(&slice), [6, 7, 8, 9, 10, 11]);
        assert_eq!((slice.run(0, 2), slice.group(), slice.is_contiguous()), (2, 1, true));
        let transposed = View::transposed(2, 3);
        assert_eq!(elements(&transposed), [0, 3, 1, 4, 2, 5]);
        assert_eq!((transposed.run(0, 3), transposed.group()), (3, 3));
        let every_other = View { base: 3, rows: vec![Axis::new(2, 6)], columns: Axis::new(3, 1) };
        assert_eq!(elements(&every_other), [3, 4, 5, 9, 10, 11]);
        assert_eq!((every_other.run(0, 2), every_other.group()), (1, 1));
    }

    #[test]
    fn columns_are_regrouped() {
        let view = View::regrouped_columns(2, 2, 3, 2);
        let row = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11];
        assert_eq!(elements(&view), [row, row.map(|element| element + 12)].concat());
        assert_eq!((view.row_count(), view.is_contiguous()), (12, false));
    }

    #[test]
    fn overflow_is_noticed() {
        assert_eq!(View::slice(u64::MAX, 2, 3).last(), None);
        assert_eq!(View::whole(&[0, 3]).last(), None);
    }
}
