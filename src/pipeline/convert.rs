//! One chunk: read from the map, decoded once, encoded for every output, checked, written in place.

use std::ops::Range;

use weightmill_kernels::groups::{self, Groups};
use weightmill_kernels::{Dtype, Level, dequantize, first_non_finite, quantize, validate};

use super::budget::Buffers;
use super::gather::gather;
use super::goal::Chosen;
use super::outputs::Writer;
use super::repair::Repairs;
use super::work::{CodedWeight, Encoding, Work};
use super::{Error, Site};
use crate::model::{Map, Piece, TensorData};
use crate::scheme::{Chunk, Given, Scratch, Stop};
use crate::view::Axis;
use crate::weights::{self, Weights};

/// A thread's buffers, which never grow, and what every chunk needs.
pub(super) struct Converter<'a> {
    level: Level,
    source: &'a Weights,
    /// Where the bytes go; without it nowhere.
    writer: Option<&'a Writer<'a>>,
    /// Where it is noted that importance could not be used.
    repairs: Option<&'a Repairs>,
    weights: Vec<f32>,
    tile: Vec<f32>,
    strip: Vec<f32>,
    bytes: Vec<u8>,
    scratch: Scratch,
    divisors: &'a [f32],
    chosen: Option<&'a dyn Chosen>,
}

impl<'a> Converter<'a> {
    pub fn new(
        level: Level,
        source: &'a Weights,
        writer: &'a Writer<'a>,
        repairs: &'a Repairs,
        buffers: Buffers,
    ) -> Self {
        Self { writer: Some(writer), repairs: Some(repairs), ..Self::discarding(level, source, buffers) }
    }

    /// Does the same work and writes nothing.
    pub fn discarding(level: Level, source: &'a Weights, buffers: Buffers) -> Self {
        Self {
            level,
            source,
            writer: None,
            repairs: None,
            weights: vec![0.0; buffers.weights],
            tile: vec![0.0; buffers.tile],
            strip: vec![0.0; buffers.strip],
            bytes: vec![0; buffers.bytes],
            scratch: Scratch::new(buffers.scratch),
            divisors: &[],
            chosen: None,
        }
    }

    /// With the divisors of scales that weights have in common, by the number of these weights.
    pub fn dividing(self, divisors: &'a [f32]) -> Self {
        Self { divisors, ..self }
    }

    /// With what was chosen for tensors before the run.
    pub fn taking(self, chosen: Option<&'a dyn Chosen>) -> Self {
        Self { chosen, ..self }
    }

    /// The greatest magnitude among these rows of a tensor.
    pub fn greatest(&mut self, work: &Work<'_>, rows: Range<usize>) -> Result<f32, Error> {
        self.decode(work, rows.clone(), Dtype::F32)?;
        let weights = &self.weights[..rows.len() * work.columns];
        let all = Groups { weights, columns: weights.len(), group: weights.len() };
        let mut greatest = [0.0];
        groups::max_abs(self.level, all, &mut greatest);
        self.release(work, rows);
        Ok(greatest[0])
    }

    /// Brings these rows of a tensor, which lie in one expert and, unless it is coded, one piece, to all outputs.
    pub fn convert(&mut self, work: &Work<'_>, rows: Range<usize>) -> Result<(), Error> {
        let mut decoded = None;
        if work.coded.is_empty() {
            self.encode_all(work, rows.clone(), &mut decoded)?;
        } else {
            for part in work.within_pieces(rows.clone()) {
                decoded = None;
                self.encode_all(work, part.clone(), &mut decoded)?;
                decoded = decoded.filter(|_| part == rows);
            }
        }
        for coded in &work.coded {
            if decoded != Some(Dtype::F32) {
                self.decode(work, rows.clone(), Dtype::F32)?;
                decoded = Some(Dtype::F32);
            }
            self.code(work, rows.clone(), coded)?;
        }
        self.release(work, rows);
        Ok(())
    }

    /// Brings these rows to all outputs in which the tensor is one by itself.
    fn encode_all(&mut self, work: &Work<'_>, rows: Range<usize>, decoded: &mut Option<Dtype>) -> Result<(), Error> {
        for encoding in &work.encodings {
            if encoding.lossless {
                self.repack(work, rows.clone(), encoding)?;
                continue;
            }
            if work.is_unchanged(encoding) {
                self.copy(work, rows.clone(), encoding)?;
                continue;
            }
            if self.take(work, rows.clone(), encoding)? {
                continue;
            }
            if *decoded != Some(encoding.via) {
                self.decode(work, rows.clone(), encoding.via)?;
                *decoded = Some(encoding.via);
            }
            self.encode(work, rows.clone(), encoding)?;
        }
        Ok(())
    }

    /// Codes the decoded weights, and writes all tensors that they become.
    fn code(&mut self, work: &Work<'_>, rows: Range<usize>, coded: &CodedWeight<'_>) -> Result<(), Error> {
        let weights = &self.weights[..rows.len() * work.columns];
        let divisor = coded.divisor.and_then(|set| self.divisors.get(set)).copied().unwrap_or(1.0);
        let writer = self.writer;
        let write = |tensor: usize, within: u64, bytes: &[u8]| match writer {
            Some(writer) => writer.write(coded.places[tensor], within, bytes),
            None => Ok(()),
        };
        let (level, first) = (self.level, rows.start);
        let mut records = Vec::new();
        if let Some(chosen) = self.chosen.filter(|_| coded.coder.points().is_some()) {
            let length = coded.coder.record_bytes();
            records.resize(rows.len() * length, 0);
            let offset = (rows.start * length) as u64;
            if !chosen.read(&work.tensor.name, coded.coding.scheme.name, offset, &mut records)? {
                records.clear();
            }
        }
        let given = (!records.is_empty()).then_some(Given { records: &records });
        let importance = coded.importance.as_deref().map(|all| {
            let matrix = first / work.rows_per_expert;
            &all[matrix * work.columns..(matrix + 1) * work.columns]
        });
        let chunk = Chunk { rows, weights, importance, divisor, given };
        let result = coded.coder.encode(level, &chunk, &mut self.scratch, write);
        result.map_err(|stop| match stop {
            Stop::Write(error) => error,
            Stop::Overflow { row, group } => {
                let (site, _) = self.site(work, first + row, 0);
                Error::ScaleOverflow { site, group, scheme: coded.coding.scheme.name }
            }
        })
    }

    /// These rows of a tensor, which lie in one expert and one piece, as they are in the model's own type.
    pub fn read(&mut self, work: &Work<'_>, rows: Range<usize>) -> Result<&[f32], Error> {
        self.decode(work, rows.clone(), work.tensor.dtype)?;
        Ok(&self.weights[..rows.len() * work.columns])
    }

    /// Fills the buffer with weights as they are after going through type `via`.
    fn decode(&mut self, work: &Work<'_>, rows: Range<usize>, via: Dtype) -> Result<(), Error> {
        // Rows in several pieces come from each in turn.
        let mut filled = 0;
        for part in work.within_pieces(rows) {
            self.decode_piece(work, part.clone(), via, filled)?;
            filled += part.len() * work.columns;
        }
        Ok(())
    }

    /// Fills the buffer, from this place on, with rows that lie in one piece.
    fn decode_piece(&mut self, work: &Work<'_>, rows: Range<usize>, via: Dtype, at: usize) -> Result<(), Error> {
        let columns = work.columns;
        let weights = &mut self.weights[at..][..rows.len() * columns];
        if let TensorData::Computed(values) = &work.tensor.data {
            weights.copy_from_slice(&values[rows.start * columns..rows.end * columns]);
        }
        if let Some((pieces, run)) = work.woven() {
            let strip = &mut self.strip[..rows.len() * work.strip()];
            let within = rows.start as u64..rows.end as u64;
            for (number, piece) in pieces.iter().enumerate() {
                let weight = &self.source.list()[piece.weight];
                gather(self.source, weight, &piece.view, self.level, within.clone(), strip, &mut self.tile);
                piece.map.apply(strip);
                let turns = weights.chunks_exact_mut(run).skip(number).step_by(pieces.len());
                turns.zip(strip.chunks_exact(run)).for_each(|(turn, columns)| turn.copy_from_slice(columns));
            }
        } else if let Some((piece, start)) = work.piece_at(rows.start) {
            let weight = &self.source.list()[piece.weight];
            let view_rows = work.view_rows(piece);
            let within = (rows.start - start) as u64 * view_rows..(rows.end - start) as u64 * view_rows;
            gather(self.source, weight, &piece.view, self.level, within, weights, &mut self.tile);
            piece.map.apply(weights);
            // the reference computes in f16 with what is stored so, in f32 with all else
            if piece.map != Map::Same && weight.dtype == Dtype::F16 && weight.encoded().is_none() {
                weights::round(self.level, Dtype::F16, weights);
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
                let (site, column) = self.site(work, rows.start + at / columns, at % columns);
                Err(Error::NonFinite { site, column, value })
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
        // Only a forecast comes here without the importance that a type needs.
        let neutral = importance.is_none() && encoding.to.info().needs_importance;
        let neutral = neutral.then(|| vec![1.0; columns]);
        quantize(self.level, encoding.to, weights, columns, importance.or(neutral.as_deref()), bytes);
        if let Err(block) = validate(encoding.to, bytes) {
            let repaired = match (importance, self.repairs) {
                (Some(importance), Some(repairs)) => {
                    let name = &work.tensor.name;
                    repairs.repair(name, self.level, encoding.to, weights, importance, bytes)
                }
                _ => Err(block),
            };
            if let Err(block) = repaired {
                let (site, block) = self.block_site(work, rows.start, block, encoding.to);
                return Err(Error::Overflow { site, block, dtype: encoding.to });
            }
        }
        let bytes = &self.bytes[..rows.len() * work.row_bytes(encoding.to)];
        self.write(work, rows.start, encoding, bytes)
    }

    /// Writes the bytes that were chosen for these rows; false if none were.
    fn take(&mut self, work: &Work<'_>, rows: Range<usize>, encoding: &Encoding<'_>) -> Result<bool, Error> {
        let Some(chosen) = self.chosen else { return Ok(false) };
        let row_bytes = work.row_bytes(encoding.to);
        let bytes = &mut self.bytes[..rows.len() * row_bytes];
        let offset = (rows.start * row_bytes) as u64;
        if !chosen.read(&work.tensor.name, encoding.to.name(), offset, bytes)? {
            return Ok(false);
        }
        if let Err(block) = validate(encoding.to, bytes) {
            let (site, block) = self.block_site(work, rows.start, block, encoding.to);
            return Err(Error::BadBlock { site, block, dtype: encoding.to });
        }
        let bytes = &self.bytes[..rows.len() * row_bytes];
        self.write(work, rows.start, encoding, bytes)?;
        Ok(true)
    }

    /// The stored codes are the wanted ones in another order: no value changes.
    fn repack(&mut self, work: &Work<'_>, rows: Range<usize>, encoding: &Encoding<'_>) -> Result<(), Error> {
        let (piece, start) = work.piece_at(rows.start).expect("only stored tensors are repacked");
        let weight = &self.source.list()[piece.weight];
        let encoded = weight.encoded().expect("only encoded weights are repacked");
        let row_bytes = work.row_bytes(encoding.to);
        let bytes = &mut self.bytes[..rows.len() * row_bytes];
        let mut row = rows.start;
        while row < rows.end {
            let within = (row - start) as u64;
            let run = piece.view.run(within, (rows.end - row) as u64) as usize;
            let stored = piece.view.row_start(within) as usize / work.columns;
            let first = row - rows.start;
            let bytes = &mut bytes[first * row_bytes..(first + run) * row_bytes];
            encoded.repack(self.source.source(), stored..stored + run, bytes);
            row += run;
        }
        let bytes = &self.bytes[..rows.len() * row_bytes];
        if let Err(block) = validate(encoding.to, bytes) {
            let (site, block) = self.block_site(work, rows.start, block, encoding.to);
            return Err(Error::BadBlock { site, block, dtype: encoding.to });
        }
        self.write(work, rows.start, encoding, bytes)
    }

    /// The stored bytes are the wanted ones: checks them, and writes them straight from the map.
    fn copy(&self, work: &Work<'_>, rows: Range<usize>, encoding: &Encoding<'_>) -> Result<(), Error> {
        let (piece, start) = work.piece_at(rows.start).expect("only stored tensors are unchanged");
        let weight = &self.source.list()[piece.weight];
        let info = self.source.tensor(weight).expect("only plain weights are unchanged");
        let row_bytes = work.row_bytes(encoding.to);
        let block = encoding.to.info();
        let base = piece.view.base as usize / block.block_len * block.block_bytes;
        let within = rows.start - start..rows.end - start;
        let bytes = &self.source.source().view(info)[base..][within.start * row_bytes..within.end * row_bytes];
        if let Err(block) = validate(encoding.to, bytes) {
            let (site, block) = self.block_site(work, rows.start, block, encoding.to);
            return Err(Error::BadBlock { site, block, dtype: encoding.to });
        }
        self.write(work, rows.start, encoding, bytes)
    }

    fn write(&self, work: &Work<'_>, first: usize, encoding: &Encoding<'_>, bytes: &[u8]) -> Result<(), Error> {
        let within = first as u64 * work.row_bytes(encoding.to) as u64;
        let Some(writer) = self.writer else { return Ok(()) };
        encoding.places.iter().try_for_each(|place| writer.write(*place, within, bytes))
    }

    /// Drops the pages of the source that these rows came from. Rows that lie scattered among others go group by group,
    /// with the chunk that has the last of the group; should another thread still need one, it is read again.
    pub fn release(&self, work: &Work<'_>, rows: Range<usize>) {
        match work.woven() {
            Some((pieces, _)) => pieces.iter().for_each(|piece| self.release_piece(work, piece, 0, &rows)),
            None => {
                for part in work.within_pieces(rows) {
                    let at = work.piece_at(part.start);
                    at.into_iter().for_each(|(piece, start)| self.release_piece(work, piece, start, &part));
                }
            }
        }
    }

    fn release_piece(&self, work: &Work<'_>, piece: &Piece, start: usize, rows: &Range<usize>) {
        let view = &piece.view;
        let group = view.group();
        let view_rows = work.view_rows(piece);
        let first = (rows.start - start) as u64 * view_rows / group * group;
        let end = (rows.end - start) as u64 * view_rows / group * group;
        if first < end {
            let (begin, last) = (view.row_start(first), view.row_start(end - group));
            let elements = begin..last.max(begin) + group * view.columns.length;
            self.source.release(&self.source.list()[piece.weight], elements);
        }
    }

    /// Where in the input a block of these rows' output lies: the row, and the number of the block in it.
    fn block_site(&self, work: &Work<'_>, first: usize, block: usize, dtype: Dtype) -> (Site, usize) {
        let per_row = work.columns / dtype.info().block_len;
        let (site, _) = self.site(work, first + block / per_row, 0);
        (site, block % per_row)
    }

    /// Where in the input an element of the output lies: the row, and the column in it.
    fn site(&self, work: &Work<'_>, row: usize, column: usize) -> (Site, usize) {
        let Some((piece, start, column)) = work.origin(row, column) else {
            return (Site { file: Default::default(), tensor: work.tensor.name.clone(), row }, column);
        };
        let weight = &self.source.list()[piece.weight];
        let info = self.source.main_tensor(weight);
        let Axis { length, stride } = piece.view.columns;
        let (row, column) = ((row - start) as u64 * work.view_rows(piece), column as u64);
        let element = piece.view.row_start(row + column / length) + column % length * stride;
        let width = weight.columns() as u64;
        let file = self.source.source().files()[info.file].to_owned();
        let site = Site { file, tensor: info.name.clone(), row: (element / width) as usize };
        (site, (element % width) as usize)
    }
}
