//! Scales and offsets of a few rows, as the arithmetic wants them.

use std::ops::Range;

use weightmill_formats::Source;
use weightmill_kernels::Level;

use super::codes::{Codes, TILE};
use super::grouped::{Grouped, Offsets};
use super::numbers::{Grid, Numbers};

/// Scales and offsets of a range of groups for a few rows: row by row, whatever order the file has.
pub(super) struct Shared<'a> {
    weight: &'a Grouped,
    source: &'a dyn Source,
    level: Level,
    groups: Range<usize>,
    rows: Range<usize>,
    scales: Vec<f32>,
    offsets: Vec<f32>,
}

impl<'a> Shared<'a> {
    /// Room for the numbers of some groups.
    pub fn new(weight: &'a Grouped, source: &'a dyn Source, level: Level, groups: Range<usize>) -> Self {
        Shared { weight, source, level, groups, rows: 0..0, scales: Vec::new(), offsets: Vec::new() }
    }

    /// Reads those of some rows.
    pub fn load(&mut self, rows: Range<usize>) {
        let grid = &self.weight.grid;
        // A row of numbers serves all rows of a block.
        let same = |a: usize, b: usize| grid.number_row(a) == grid.number_row(b);
        if rows.len() == 1 && self.rows.len() == 1 && same(rows.start, self.rows.start) {
            self.rows = rows;
            return;
        }
        self.rows = rows;
        let length = self.rows.len() * self.groups.len();
        self.scales.resize(length, 0.0);
        self.offsets.resize(length, 0.0);
        let Shared { weight, source, level, groups, rows, scales, offsets } = self;
        let place = Rectangle { source: *source, level: *level, groups: groups.clone(), rows: rows.clone() };
        place.numbers(&weight.scales, grid, scales);
        match &weight.offsets {
            Offsets::Constant(offset) => offsets.fill(*offset),
            Offsets::Numbers(numbers) => place.numbers(numbers, grid, offsets),
            Offsets::Codes { codes, plus } => place.codes(codes, *plus, offsets),
        }
    }

    /// Scales and offsets of a row that is loaded, from a group on.
    pub fn of(&self, row: usize, group: usize) -> (&[f32], &[f32]) {
        let start = (row - self.rows.start) * self.groups.len();
        let range = start + group - self.groups.start..start + self.groups.len();
        (&self.scales[range.clone()], &self.offsets[range])
    }
}

/// What is read.
struct Rectangle<'a> {
    source: &'a dyn Source,
    level: Level,
    groups: Range<usize>,
    rows: Range<usize>,
}

impl Rectangle<'_> {
    fn numbers(&self, numbers: &Numbers, grid: &Grid, dst: &mut [f32]) {
        let width = self.groups.len();
        if !grid.by_group {
            for (row, dst) in self.rows.clone().zip(dst.chunks_exact_mut(width)) {
                let first = grid.number_row(row) * grid.groups;
                let range = first + self.groups.start..first + self.groups.end;
                numbers.read(self.source, self.level, range, dst);
            }
            return;
        }
        let mut column = vec![0.0; self.rows.len()];
        for (at, group) in self.groups.clone().enumerate() {
            let first = group * grid.matrix_rows;
            numbers.read(self.source, self.level, first + self.rows.start..first + self.rows.end, &mut column);
            for (dst, number) in dst[at..].iter_mut().step_by(width).zip(&column) {
                *dst = *number;
            }
        }
    }

    /// Codes with a row for each group.
    fn codes(&self, codes: &Codes, plus: u8, dst: &mut [f32]) {
        let bytes = self.source.view(&self.source.tensors()[codes.tensor]);
        let most = (0xff_u32 >> (8 - codes.packing.bits())) as u8;
        let mut unpacked = [0; TILE];
        for [groups, rows] in codes.tiles(self.groups.clone(), self.rows.clone()) {
            let unpacked = &mut unpacked[..groups.len() * rows.len()];
            codes.unpack(self.level, bytes, groups.clone(), rows.clone(), unpacked);
            for (group, unpacked) in groups.zip(unpacked.chunks_exact(rows.len())) {
                let first = (rows.start - self.rows.start) * self.groups.len() + group - self.groups.start;
                for (dst, code) in dst[first..].iter_mut().step_by(self.groups.len()).zip(unpacked) {
                    *dst = f32::from(code.wrapping_add(plus) & most);
                }
            }
        }
    }
}
