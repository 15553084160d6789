//! A weight as codes and the numbers that groups of them share: every scheme comes down to this.

use std::ops::Range;

use weightmill_formats::Source;
use weightmill_kernels::{Dtype, Level};

use super::apply::{Formula, Groups, Stretch, apply};
use super::codes::{Codes, TILE};
use super::coding::Coding;
use super::error::{Fault, SchemeError};
use super::lossless;
use super::numbers::{Grid, Numbers};
use super::shared::Shared;
use super::tensors::Tensors;
use crate::weights::Encoded;

/// A weight in several tensors.
#[derive(Debug)]
pub(super) struct Grouped {
    /// How it is stored, for reports.
    pub name: String,
    /// The codes, one per weight.
    pub codes: Codes,
    /// What a code means.
    pub coding: Coding,
    /// How a weight is made.
    pub formula: Formula,
    /// The scales.
    pub scales: Numbers,
    /// What is subtracted or added.
    pub offsets: Offsets,
    /// Which weights a scale and an offset belong to.
    pub grid: Grid,
    /// The tensor that says to which group each column belongs, if groups are not runs of columns.
    pub order: Option<usize>,
    /// Columns of the weight, if `codes` and `grid` see all of it as a single row.
    pub flat: Option<usize>,
    /// The type of GGUF that can hold exactly these values.
    pub lossless: Option<Dtype>,
}

/// Offsets of the groups.
#[derive(Debug)]
pub(super) enum Offsets {
    /// The same for all; unused by [`Formula::Scaled`].
    Constant(f32),
    /// Codes in a matrix with a row for each group and a column for each row of the weight.
    Codes {
        /// That matrix.
        codes: Codes,
        /// Added to each code; what does not fit into its bits is dropped.
        plus: u8,
    },
    /// Numbers that lie as the scales do.
    Numbers(Numbers),
}

impl Encoded for Grouped {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn parts(&self) -> Vec<usize> {
        let mut parts = vec![self.codes.tensor];
        parts.extend(self.scales.parts());
        match &self.offsets {
            Offsets::Constant(_) => {}
            Offsets::Codes { codes, .. } => parts.push(codes.tensor),
            Offsets::Numbers(numbers) => parts.extend(numbers.parts()),
        }
        parts.extend(self.order);
        parts
    }

    fn decode(&self, source: &dyn Source, level: Level, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]) {
        assert_eq!(dst.len(), rows.len() * columns.len(), "room for the rectangle");
        let Some(width) = self.flat else {
            return self.rectangle(source, level, rows, columns, dst);
        };
        for (row, dst) in rows.zip(dst.chunks_exact_mut(columns.len().max(1))) {
            self.rectangle(source, level, 0..1, row * width + columns.start..row * width + columns.end, dst);
        }
    }

    fn lossless(&self) -> Option<Dtype> {
        self.lossless
    }

    fn repack(&self, source: &dyn Source, rows: Range<usize>, dst: &mut [u8]) {
        lossless::repack(self, source, rows, dst);
    }
}

impl Grouped {
    /// Codes with scales: `value * scale`.
    pub fn scaled(name: String, codes: Codes, coding: Coding, scales: Numbers, grid: Grid) -> Self {
        let formula = Formula::Scaled { factor: 1.0 };
        let offsets = Offsets::Constant(0.0);
        Grouped { name, codes, coding, formula, scales, offsets, grid, order: None, flat: None, lossless: None }
    }

    /// Codes with zero points and scales: `(code - zero) * scale`.
    pub fn centred(name: String, codes: Codes, scales: Numbers, offsets: Offsets, grid: Grid) -> Self {
        let formula = Formula::Centred;
        Grouped { formula, offsets, ..Grouped::scaled(name, codes, Coding::Unsigned, scales, grid) }
    }

    /// Fails unless every tensor has exactly the bytes that decoding reads.
    pub fn check(&self, tensors: &Tensors<'_>) -> Result<(), SchemeError> {
        let bytes_of = |numbers: &Numbers| {
            let stacked = self.codes.rows.checked_div(self.grid.matrix_rows)?;
            let count = stacked.checked_mul(self.grid.number_rows)?.checked_mul(self.grid.groups)?;
            count.checked_mul(numbers.dtype.info().block_bytes)
        };
        let mut needs = vec![(self.codes.tensor, self.codes.bytes()), (self.scales.tensor, bytes_of(&self.scales))];
        match &self.offsets {
            Offsets::Constant(_) => {}
            Offsets::Codes { codes, .. } => needs.push((codes.tensor, codes.bytes())),
            Offsets::Numbers(numbers) => needs.push((numbers.tensor, bytes_of(numbers))),
        }
        needs.extend(self.order.map(|tensor| (tensor, self.codes.columns.checked_mul(4))));
        for (tensor, needed) in needs {
            let found = tensors.source.tensors()[tensor].bytes;
            if needed.is_none_or(|needed| needed as u64 != found) {
                let needed = needed.map_or("more than can be".to_owned(), |needed| needed.to_string());
                let problem = format!("has {found} bytes; a weight of this shape needs {needed}");
                return Err(tensors.fault(tensor, Fault::Value { problem }));
            }
        }
        Ok(())
    }

    /// Bits of a code.
    pub fn bits(&self) -> usize {
        self.codes.packing.bits()
    }

    /// Decodes a rectangle of the matrix that the codes are.
    fn rectangle(&self, source: &dyn Source, level: Level, rows: Range<usize>, columns: Range<usize>, dst: &mut [f32]) {
        if dst.is_empty() {
            return;
        }
        let order = self.order.map(|tensor| self.group_of_each(source, tensor, &columns));
        let length = self.grid.block_columns;
        let groups = match order {
            Some(_) => 0..self.grid.groups,
            None => columns.start / length..columns.end.div_ceil(length),
        };
        let mut shared = Shared::new(self, source, level, groups);
        let bytes = source.view(&source.tensors()[self.codes.tensor]);
        let mut codes = [0; TILE];
        for together in self.rows_together(rows.clone()) {
            shared.load(together.clone());
            for [tile_rows, tile_columns] in self.codes.tiles(together, columns.clone()) {
                let width = tile_columns.len();
                let codes = &mut codes[..tile_rows.len() * width];
                self.codes.unpack(level, bytes, tile_rows.clone(), tile_columns.clone(), codes);
                let at = tile_columns.start - columns.start;
                let (groups, first) = match &order {
                    Some(order) => (Groups::Listed(&order[at..at + width]), 0),
                    None => {
                        (Groups::Runs { length, skipped: tile_columns.start % length }, tile_columns.start / length)
                    }
                };
                for (row, codes) in tile_rows.zip(codes.chunks_exact(width)) {
                    let (scales, offsets) = shared.of(row, first);
                    let weights = &mut dst[(row - rows.start) * columns.len() + at..][..width];
                    let (coding, formula) = (&self.coding, self.formula);
                    apply(level, Stretch { coding, formula, codes, groups, scales, offsets, weights });
                }
            }
        }
    }

    /// Runs of rows whose scales and offsets are read together.
    fn rows_together(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = match &self.offsets {
            Offsets::Codes { .. } => 64,
            Offsets::Constant(_) | Offsets::Numbers(_) => self.codes.rows_together(),
        };
        rows.clone().step_by(length).map(move |start| start..rows.end.min(start + length))
    }

    /// The group of each column.
    fn group_of_each(&self, source: &dyn Source, tensor: usize, columns: &Range<usize>) -> Vec<u32> {
        let groups = source.view(&source.tensors()[tensor]).as_chunks::<4>().0;
        // They were in range when the file was opened; whatever became of it since, there is no group beyond the last.
        let last = self.grid.groups as u32 - 1;
        groups[columns.clone()].iter().map(|bytes| u32::from_le_bytes(*bytes).min(last)).collect()
    }
}
