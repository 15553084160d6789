//! Levels that were chosen elsewhere, on the scales that a coder finds.

use weightmill_kernels::groups::Groups;
use weightmill_kernels::{Level, Points};

use super::arithmetic::{Arithmetic, levels};
use super::encode::{Chunk, Coder};
use super::fit::{self, Fit};
use super::layout::Stored;
use crate::options::Search;

/// The numbers of some rows, group by group.
#[derive(Clone)]
pub(crate) struct Numbers {
    /// Scales as they are stored: those that readers multiply with.
    pub scales: Vec<f32>,
    /// Zero points or biases, as they are stored.
    offsets: Vec<f32>,
    /// What readers add to scaled codes.
    pub shifts: Vec<f32>,
}

/// A record of what was chosen for some rows: of each row a byte per column, the scales and the offsets.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub records: &'a [u8],
}

impl Coder {
    /// The values of codes from 0 on, if they are integers whose numbers belong to rows.
    pub fn points(&self) -> Option<Points> {
        let whole = |bits: u32, first: i16| Points::Even { first, count: 1 << bits };
        match self.arithmetic {
            Arithmetic::Symmetric { bits, .. } => Some(whole(bits, -(1 << (bits - 1)))),
            Arithmetic::ZeroPoints { bits, .. } | Arithmetic::Affine { bits } => Some(whole(bits, 0)),
            Arithmetic::E4M3 | Arithmetic::E4M3Blocks(_) | Arithmetic::Powers(_) | Arithmetic::Scaled => None,
        }
    }

    /// Columns that share a scale.
    pub fn group(&self) -> usize {
        self.layout.size[1] / self.layout.grid.groups.max(1)
    }

    /// Bytes of the record of a row.
    pub fn record_bytes(&self) -> usize {
        self.layout.size[1] + 2 * size_of::<f32>() * self.layout.grid.groups
    }

    /// Finds the numbers for rows. `None` if the type of the scales cannot hold one.
    pub fn numbers(&self, level: Level, chunk: &Chunk<'_>) -> Option<Numbers> {
        let groups = self.layout.grid.block_columns;
        let groups = Groups { weights: chunk.weights, columns: self.layout.size[1], group: groups };
        let count = groups.count();
        let (mut used, mut offsets, mut scales) = (vec![0.0; count], vec![0.0; count], vec![0.0; count]);
        let grid = &self.layout.grid;
        let (arithmetic, search, dtype) = (self.arithmetic, self.search, self.scale_type());
        let &Chunk { importance, divisor, .. } = chunk;
        let fit = Fit { level, arithmetic, search, groups, grid, dtype, importance, divisor };
        fit.run(fit::Numbers { scales: &mut used, offsets: &mut offsets, stored: &mut scales });
        if scales.iter().any(|scale| !scale.is_finite()) {
            return None;
        }
        if let (Arithmetic::Affine { .. }, Stored::Numbers(tensor)) = (self.arithmetic, &self.layout.offsets) {
            fit::round(level, self.layout.tensors[*tensor].dtype, &mut offsets);
        }
        Some(self.shifted(scales, offsets))
    }

    /// Numbers with what readers add.
    fn shifted(&self, scales: Vec<f32>, mut offsets: Vec<f32>) -> Numbers {
        let shifts = match self.arithmetic {
            Arithmetic::ZeroPoints { .. } => scales.iter().zip(&offsets).map(|(scale, zero)| -(scale * zero)).collect(),
            Arithmetic::Affine { .. } => offsets.clone(),
            _ => {
                offsets.fill(0.0);
                offsets.clone()
            }
        };
        Numbers { scales, offsets, shifts }
    }

    /// The same numbers for groups that reach so many times as far. `None` if the type of the scales cannot hold one.
    pub fn resized(&self, level: Level, numbers: &Numbers, factors: &[f32]) -> Option<Numbers> {
        let times = |numbers: &[f32]| -> Vec<f32> { numbers.iter().zip(factors).map(|(a, b)| a * b).collect() };
        let (mut scales, mut offsets) = (times(&numbers.scales), numbers.offsets.clone());
        fit::round(level, self.scale_type(), &mut scales);
        if let (Arithmetic::Affine { .. }, Stored::Numbers(tensor)) = (self.arithmetic, &self.layout.offsets) {
            offsets = times(&offsets);
            fit::round(level, self.layout.tensors[*tensor].dtype, &mut offsets);
        }
        // a scale that vanishes would make a group one of zeros
        let usable = scales
            .iter()
            .zip(&numbers.scales)
            .all(|(scale, before)| scale.is_finite() && (*scale != 0.0 || *before == 0.0));
        usable.then(|| self.shifted(scales, offsets))
    }

    /// The scale and the shift that can be stored, nearest to these; NaN where there is none that readers take.
    pub fn snap(&self, level: Level, scale: f32, shift: f32) -> (f32, f32) {
        let mut stored = [scale];
        fit::round(level, self.scale_type(), &mut stored);
        let [scale] = stored;
        let signed = self.search == Search::MseSigned || matches!(self.arithmetic, Arithmetic::Affine { .. });
        if !scale.is_finite() || scale == 0.0 || scale < 0.0 && !signed {
            return (f32::NAN, f32::NAN);
        }
        match self.arithmetic {
            Arithmetic::ZeroPoints { bits, .. } => (scale, -(scale * zero_point(bits, scale, shift))),
            Arithmetic::Affine { .. } => {
                let mut stored = [shift];
                if let Stored::Numbers(tensor) = &self.layout.offsets {
                    fit::round(level, self.layout.tensors[*tensor].dtype, &mut stored);
                }
                (scale, stored[0])
            }
            _ => (scale, 0.0),
        }
    }

    /// The weights that readers make of records of rows.
    pub fn values(&self, records: &[u8], values: &mut [f32]) {
        let Some(points) = self.points() else { return };
        let (columns, groups) = (self.layout.size[1], self.layout.grid.groups);
        for (record, values) in records.chunks_exact(self.record_bytes()).zip(values.chunks_exact_mut(columns)) {
            let (codes, words) = record.split_at(columns);
            let word = |at: usize| f32::from_le_bytes(words[4 * at..4 * at + 4].try_into().expect("4 bytes"));
            for (at, (value, code)) in values.iter_mut().zip(codes).enumerate() {
                let group = at / self.group();
                let (scale, offset) = (word(group), word(groups + group));
                let shift = match self.arithmetic {
                    Arithmetic::ZeroPoints { .. } => -(scale * offset),
                    Arithmetic::Affine { .. } => offset,
                    _ => 0.0,
                };
                *value = scale * points.value(*code) + shift;
            }
        }
    }

    /// Writes the records of rows with these codes, counted from 0.
    pub fn record(&self, codes: &[u8], numbers: &Numbers, records: &mut [u8]) {
        let (columns, groups) = (self.layout.size[1], self.layout.grid.groups);
        let rows = records.chunks_exact_mut(self.record_bytes()).zip(codes.chunks_exact(columns));
        for (row, (record, codes)) in rows.enumerate() {
            let (own, rest) = record.split_at_mut(columns);
            own.copy_from_slice(codes);
            let numbers = [&numbers.scales, &numbers.offsets].map(|all| &all[row * groups..(row + 1) * groups]);
            let words = rest.chunks_exact_mut(size_of::<f32>());
            words
                .zip(numbers.into_iter().flatten())
                .for_each(|(word, number)| word.copy_from_slice(&number.to_le_bytes()));
        }
    }
}

impl Numbers {
    /// Replaces all of them by scales and shifts that [`Coder::snap`] gave, or that were there.
    pub fn set(&mut self, coder: &Coder, scales: &[f32], shifts: &[f32]) {
        match coder.arithmetic {
            Arithmetic::ZeroPoints { bits, .. } => {
                let numbers = self.offsets.iter_mut().zip(scales.iter().zip(shifts));
                numbers.for_each(|(zero, (scale, shift))| *zero = zero_point(bits, *scale, *shift));
            }
            Arithmetic::Affine { .. } => self.offsets.copy_from_slice(shifts),
            _ => {}
        }
        self.scales.copy_from_slice(scales);
        self.shifts.copy_from_slice(shifts);
    }
}

/// The zero point of a shift.
fn zero_point(bits: u32, scale: f32, shift: f32) -> f32 {
    (-shift / scale).round_ties_even().clamp(0.0, levels(bits))
}

impl Given<'_> {
    /// Brings the records where a coder would have brought what it found.
    pub fn take(self, coder: &Coder, codes: &mut [u8], offsets: &mut [f32], stored: &mut [f32]) {
        let (columns, groups) = (coder.layout.size[1], coder.layout.grid.groups);
        let numbers = offsets.chunks_exact_mut(groups).zip(stored.chunks_exact_mut(groups));
        let rows = self.records.chunks_exact(coder.record_bytes()).zip(codes.chunks_exact_mut(columns));
        for ((record, codes), (offsets, stored)) in rows.zip(numbers) {
            codes.copy_from_slice(&record[..columns]);
            let words = record[columns..].as_chunks().0.iter().map(|word| f32::from_le_bytes(*word));
            stored.iter_mut().chain(offsets).zip(words).for_each(|(number, word)| *number = word);
        }
    }
}
