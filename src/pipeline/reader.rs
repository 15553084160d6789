//! Reading tensors of a model as f32: what a run decodes on its way to the outputs, for those who compute with it.

use std::ops::Range;

use rayon::prelude::*;
use weightmill_kernels::Level;

use super::Error;
use super::budget::{Buffers, CHUNK_WEIGHTS};
use super::convert::Converter;
use super::gather::{MAX_BLOCK, TILE_ROWS};
use super::work::Work;
use crate::model::ModelTensor;
use crate::weights::Weights;

/// One tensor of a model, seen as rows: all dimensions but the last together.
///
/// The values are those of the 16- or 32-bit GGUF that the model stands for, or of the quantized one that was opened.
pub struct TensorReader<'a> {
    work: Work<'a>,
    weights: &'a Weights,
    level: Level,
    buffers: Buffers,
}

impl<'a> TensorReader<'a> {
    /// Prepares to read `tensor`, whose pieces lie in `weights`.
    ///
    /// # Errors
    /// If its size is beyond the address space, or if its type cannot be decoded.
    pub fn new(tensor: &'a ModelTensor, weights: &'a Weights, level: Level) -> Result<Self, Error> {
        let mut work = Work::new(tensor, weights)?;
        if let Some(dtype) = work.undecodable(weights) {
            return Err(Error::NoDecoder { tensor: tensor.name.clone(), dtype });
        }
        work.chunk_rows = (CHUNK_WEIGHTS / work.columns.max(1)).clamp(1, work.rows_per_expert.max(1));
        let rows = work.chunk_rows;
        let buffers = Buffers {
            weights: work.columns * rows,
            tile: if work.is_transposed() { TILE_ROWS * (rows + 2 * MAX_BLOCK) } else { 0 },
            strip: work.strip() * rows,
            bytes: work.row_bytes(tensor.dtype) * rows,
            ..Buffers::default()
        };
        Ok(TensorReader { work, weights, level, buffers })
    }

    /// Rows over all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.work.rows
    }

    /// Weights per row.
    pub fn columns(&self) -> usize {
        self.work.columns
    }

    /// Decodes `rows` into `dst`, row by row, on the threads of the current pool.
    ///
    /// # Errors
    /// If a value is not finite: of several the first.
    ///
    /// # Panics
    /// If `dst` has another length, or if there are no such rows.
    pub fn read(&self, rows: Range<usize>, dst: &mut [f32]) -> Result<(), Error> {
        let columns = self.columns();
        assert!(rows.end <= self.rows(), "rows {rows:?} of {}", self.rows());
        assert_eq!(dst.len(), rows.len() * columns, "rows {rows:?} of {columns} columns");
        let mut chunks = Vec::new();
        let (mut next, mut rest) = (rows.start, dst);
        while next < rows.end {
            let chunk = next..self.work.chunk_at(next).end.min(rows.end);
            let (part, later) = rest.split_at_mut(chunk.len() * columns);
            next = chunk.end;
            chunks.push((chunk, part));
            rest = later;
        }
        let read = |converter: &mut Converter<'a>, (chunk, part): (Range<usize>, &mut [f32])| {
            part.copy_from_slice(converter.read(&self.work, chunk)?);
            Ok(())
        };
        let converter = || Converter::discarding(self.level, self.weights, self.buffers);
        if chunks.len() == 1 {
            return chunks.into_iter().try_for_each(|chunk| read(&mut converter(), chunk));
        }
        let results: Vec<Result<(), Error>> = chunks.into_par_iter().map_init(converter, read).collect();
        results.into_iter().collect()
    }

    /// Tells the system that these rows will not be read again soon.
    pub fn release(&self, rows: Range<usize>) {
        let converter = Converter::discarding(self.level, self.weights, Buffers::default());
        let mut next = rows.start;
        while next < rows.end {
            let chunk = next..self.work.chunk_at(next).end.min(rows.end);
            next = chunk.end;
            converter.release(&self.work, chunk);
        }
    }
}
