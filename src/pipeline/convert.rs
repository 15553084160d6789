//! One chunk: read from the map, decoded once, encoded for every output, checked, written in place.

use std::ops::Range;

use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::{Dtype, Level, dequantize, first_non_finite, quantize, validate};

use super::budget::Buffers;
use super::outputs::Writer;
use super::work::{Encoding, Work};
use super::{Error, Site};
use crate::model::{RowOrder, TensorData};

/// A thread's buffers, which never grow, and what every chunk needs.
pub(super) struct Converter<'a> {
    level: Level,
    source: &'a dyn Source,
    writer: &'a Writer<'a>,
    weights: Vec<f32>,
    bytes: Vec<u8>,
}

impl<'a> Converter<'a> {
    pub fn new(level: Level, source: &'a dyn Source, writer: &'a Writer<'a>, buffers: Buffers) -> Self {
        Self { level, source, writer, weights: vec![0.0; buffers.weights], bytes: vec![0; buffers.bytes] }
    }

    /// Brings these rows of a tensor, which lie in one expert, to all outputs.
    pub fn convert(&mut self, work: &Work<'_>, rows: Range<usize>) -> Result<(), Error> {
        let mut decoded = None;
        for encoding in &work.encodings {
            if work.is_unchanged(encoding) {
                self.copy(work, rows.clone(), encoding)?;
                continue;
            }
            if decoded != Some(encoding.via) {
                self.decode(work, rows.clone(), encoding.via)?;
                decoded = Some(encoding.via);
            }
            self.encode(work, rows.clone(), encoding)?;
        }
        self.release(work, rows);
        Ok(())
    }

    /// Fills the buffer with weights as they are after going through type `via`.
    fn decode(&mut self, work: &Work<'_>, rows: Range<usize>, via: Dtype) -> Result<(), Error> {
        let columns = work.columns;
        let weights = &mut self.weights[..rows.len() * columns];
        match &work.tensor.data {
            TensorData::Computed(values) => weights.copy_from_slice(&values[rows.start * columns..rows.end * columns]),
            TensorData::Stored { index, .. } => {
                let view = self.source.view(&self.source.tensors()[*index]);
                let row_bytes = work.row_bytes(work.from);
                if work.order == RowOrder::Stored {
                    dequantize(self.level, work.from, &view[rows.start * row_bytes..rows.end * row_bytes], weights);
                } else {
                    for (row, weights) in rows.clone().zip(weights.chunks_exact_mut(columns)) {
                        let row = work.source_row(row);
                        dequantize(self.level, work.from, &view[row * row_bytes..(row + 1) * row_bytes], weights);
                    }
                }
            }
        }
        if work.rounds(via) {
            let bytes = &mut self.bytes[..rows.len() * work.row_bytes(via)];
            quantize(self.level, via, weights, columns, None, bytes);
            dequantize(self.level, via, bytes, weights);
        }
        match first_non_finite(self.level, weights) {
            None => Ok(()),
            Some(at) => {
                let value = weights[at];
                let site = self.site(work, rows.start + at / columns);
                Err(Error::NonFinite { site, column: at % columns, value })
            }
        }
    }

    /// Encodes the decoded weights and writes them.
    fn encode(&mut self, work: &Work<'_>, rows: Range<usize>, encoding: &Encoding<'_>) -> Result<(), Error> {
        let columns = work.columns;
        let weights = &self.weights[..rows.len() * columns];
        let bytes = &mut self.bytes[..rows.len() * work.row_bytes(encoding.to)];
        let importance = encoding.importance.map(|all| {
            let expert = rows.start / work.rows_per_expert;
            &all[expert * columns..(expert + 1) * columns]
        });
        quantize(self.level, encoding.to, weights, columns, importance, bytes);
        let bytes = &self.bytes[..rows.len() * work.row_bytes(encoding.to)];
        if let Err(block) = validate(encoding.to, bytes) {
            let per_row = columns / encoding.to.info().block_len;
            let site = self.site(work, rows.start + block / per_row);
            return Err(Error::Overflow { site, block: block % per_row, dtype: encoding.to });
        }
        self.write(work, rows.start, encoding, bytes)
    }

    /// The stored bytes are the wanted ones: checks them, and writes them straight from the map.
    fn copy(&self, work: &Work<'_>, rows: Range<usize>, encoding: &Encoding<'_>) -> Result<(), Error> {
        let Some(info) = self.info(work) else { unreachable!("only stored tensors are unchanged") };
        let row_bytes = work.row_bytes(work.from);
        let bytes = &self.source.view(info)[rows.start * row_bytes..rows.end * row_bytes];
        if let Err(block) = validate(work.from, bytes) {
            let per_row = work.columns / work.from.info().block_len;
            let site = self.site(work, rows.start + block / per_row);
            return Err(Error::BadBlock { site, block: block % per_row, dtype: work.from });
        }
        self.write(work, rows.start, encoding, bytes)
    }

    fn write(&self, work: &Work<'_>, first: usize, encoding: &Encoding<'_>, bytes: &[u8]) -> Result<(), Error> {
        let within = first as u64 * work.row_bytes(encoding.to) as u64;
        for place in &encoding.places {
            self.writer.write(*place, within, bytes)?;
        }
        Ok(())
    }

    /// Drops the pages of the source that these rows came from. Reordered rows go group by group, with the chunk
    /// that has the last of the group; should another thread still need one, it is read again.
    fn release(&self, work: &Work<'_>, rows: Range<usize>) {
        if let Some(info) = self.info(work) {
            let row_bytes = work.row_bytes(work.from) as u64;
            let group = work.reordered_rows();
            let (first, end) = (rows.start / group * group, rows.end / group * group);
            self.source.release(info, first as u64 * row_bytes..end as u64 * row_bytes);
        }
    }

    fn info(&self, work: &Work<'_>) -> Option<&'a TensorInfo> {
        match &work.tensor.data {
            TensorData::Stored { index, .. } => Some(&self.source.tensors()[*index]),
            TensorData::Computed(_) => None,
        }
    }

    /// Says where in the input a row of the output lies.
    fn site(&self, work: &Work<'_>, row: usize) -> Site {
        match self.info(work) {
            Some(info) => Site {
                file: self.source.files()[info.file].to_owned(),
                tensor: info.name.clone(),
                row: work.source_row(row),
            },
            None => Site { file: Default::default(), tensor: work.tensor.name.clone(), row },
        }
    }
}
