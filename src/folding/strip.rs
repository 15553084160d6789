//! Where the rows and values of a model's tensors lie in the weights that are stored.

use std::ops::Range;

use crate::model::{Map, ModelTensor, TensorData};
use crate::weights::Weights;

/// Rows of one matrix of a tensor that have their columns at the same place.
pub(super) struct Strip {
    pub weight: usize,
    /// Columns are stored as rows.
    pub transposed: bool,
    /// The stored matrix.
    pub matrix: usize,
    /// The stored column, or row, that is the first column.
    pub from: usize,
    /// The first row of the tensor, counted over all its matrices.
    pub first: usize,
    /// The stored row, or column, of each.
    pub rows: Vec<usize>,
}

impl Strip {
    /// True if some of these rows of the tensor are its own.
    pub fn overlaps(&self, rows: &Range<usize>) -> bool {
        self.first < rows.end && rows.start < self.first + self.rows.len()
    }
}

/// Rows of a matrix of a tensor, and its columns.
pub(super) fn size(tensor: &ModelTensor) -> (usize, usize) {
    match tensor.shape[..] {
        [.., rows, columns] => (rows as usize, columns as usize),
        [columns] => (1, columns as usize),
        [] => (1, 1),
    }
}

/// Where the rows of a tensor's matrices lie; none if its columns do not lie together, or if values are computed.
pub(super) fn strips(tensor: &ModelTensor, weights: &Weights) -> Option<Vec<Strip>> {
    let TensorData::Pieces(pieces) = &tensor.data else { return None };
    let (matrix_rows, columns) = size(tensor);
    let mut strips: Vec<Strip> = Vec::new();
    let mut row = 0;
    for piece in pieces {
        let weight = &weights.list()[piece.weight];
        let (width, stored_rows) = (weight.columns(), weight.matrix_rows().max(1));
        let axis = piece.view.columns;
        let transposed = axis.stride != 1;
        if piece.map != Map::Same || axis.length != columns as u64 || transposed && axis.stride != width as u64 {
            return None;
        }
        for number in 0..piece.view.row_count() {
            let start = piece.view.row_start(number) as usize;
            let (stored_row, stored_column) = (start / width, start % width);
            let (from, at) = if transposed { (stored_row, stored_column) } else { (stored_column, stored_row) };
            let matrix = stored_row / stored_rows;
            let inside = if transposed { from % stored_rows + columns <= stored_rows } else { from + columns <= width };
            if !inside {
                return None;
            }
            let same = |strip: &&mut Strip| {
                (strip.weight, strip.matrix, strip.from) == (piece.weight, matrix, from)
                    && strip.first / matrix_rows == row / matrix_rows
            };
            match strips.last_mut().filter(same) {
                Some(strip) => strip.rows.push(at),
                None => {
                    strips.push(Strip { weight: piece.weight, transposed, matrix, from, first: row, rows: vec![at] })
                }
            }
            row += 1;
        }
    }
    Some(strips)
}

/// The elements of a vector.
pub(super) struct Elements {
    pub weight: usize,
    pub map: Map,
    /// The stored element that each is.
    pub at: Vec<usize>,
}

/// Where the elements of a vector lie: none if in several weights.
pub(super) fn elements(tensor: &ModelTensor, weights: &Weights) -> Option<Elements> {
    let [piece] = tensor.data.pieces() else { return None };
    let view = &piece.view;
    let rows = 0..view.row_count();
    let at = rows.flat_map(|row| {
        let start = view.row_start(row);
        (0..view.columns.length).map(move |column| (start + column * view.columns.stride) as usize)
    });
    let at: Vec<usize> = at.collect();
    let length = weights.list()[piece.weight].elements() as usize;
    at.iter().all(|at| *at < length).then_some(Elements { weight: piece.weight, map: piece.map, at })
}
