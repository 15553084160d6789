//! Decoding rows of a view: from wherever they lie in the stored weight into a row-major buffer.

use std::ops::Range;

use weightmill_kernels::Level;

use crate::view::View;
use crate::weights::{Weight, Weights};

/// Stored rows that are decoded at once when they become columns.
pub(super) const TILE_ROWS: usize = 64;

/// Most weights of a block in any type: what is decoded beside the wanted columns to have whole blocks.
pub(super) const MAX_BLOCK: usize = 256;

/// Decodes rows `rows` of `view` into `dst`. `tile` holds at least [`TILE_ROWS`] times the rows and two blocks more, if
/// columns of the view are rows of the weight.
pub(super) fn gather(
    weights: &Weights,
    weight: &Weight,
    view: &View,
    level: Level,
    rows: Range<u64>,
    dst: &mut [f32],
    tile: &mut [f32],
) {
    let columns = view.columns.length as usize;
    let mut row = rows.start;
    while row < rows.end {
        let run = view.run(row, rows.end - row);
        let start = view.row_start(row);
        let first = (row - rows.start) as usize;
        let dst = &mut dst[first * columns..(first + run as usize) * columns];
        if view.columns.stride == 1 {
            decode_span(weights, weight, level, start, dst);
        } else {
            transpose(weights, weight, level, start, (run as usize, view.columns.stride), dst, tile);
        }
        row += run;
    }
}

/// Decodes `dst.len()` consecutive elements from element `start` on.
fn decode_span(weights: &Weights, weight: &Weight, level: Level, start: u64, mut dst: &mut [f32]) {
    let width = weight.columns();
    let mut element = start as usize;
    while !dst.is_empty() {
        let (row, column) = (element / width, element % width);
        let (rows, columns) = match dst.len() / width {
            whole if column == 0 && whole > 0 => (row..row + whole, 0..width),
            _ => (row..row + 1, column..width.min(column + dst.len())),
        };
        let count = rows.len() * columns.len();
        let (now, later) = dst.split_at_mut(count);
        weights.decode(weight, level, rows, columns, now);
        element += count;
        dst = later;
    }
}

/// Decodes `count` rows whose first elements follow each other from element `start` on, and whose columns are `stride`
/// elements apart.
fn transpose(
    weights: &Weights,
    weight: &Weight,
    level: Level,
    start: u64,
    (count, stride): (usize, u64),
    dst: &mut [f32],
    tile: &mut [f32],
) {
    let width = weight.columns() as u64;
    let columns = dst.len() / count;
    let block = if weight.encoded().is_some() { 1 } else { weight.dtype.info().block_len as u64 };
    let mut column = 0;
    while column < columns {
        let element = start + column as u64 * stride;
        let (row, first) = (element / width, element % width);
        // Neighbouring columns are neighbouring stored rows, unless the strides are more involved.
        let many = if stride == width { TILE_ROWS.min(columns - column) } else { 1 };
        let from = first / block * block;
        let to = (first + count as u64).next_multiple_of(block).min(width);
        assert!(first + count as u64 <= width, "{}: a transposed run across rows", weight.name);
        let span = (to - from) as usize;
        let tile = &mut tile[..many * span];
        let row = row as usize;
        weights.decode(weight, level, row..row + many, from as usize..to as usize, tile);
        let skipped = (first - from) as usize;
        for (offset, stored) in tile.chunks_exact(span).enumerate() {
            for (value, dst) in stored[skipped..skipped + count].iter().zip(dst.chunks_exact_mut(columns)) {
                dst[column + offset] = *value;
            }
        }
        column += many;
    }
}
