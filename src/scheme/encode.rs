//! Weights to codes and numbers, chunk of rows by chunk of rows.

use std::ops::Range;

use weightmill_kernels::groups::Groups;
use weightmill_kernels::{Dtype, Level};

use super::arithmetic::Arithmetic;
use super::fit::{Fit, Numbers, store};
use super::given::Given;
use super::layout::{Layout, Stored};
use super::pack::Strips;
use crate::options::Search;

/// What one weight is encoded with.
#[derive(Clone, Debug)]
pub(crate) struct Coder {
    /// Numbers.
    pub arithmetic: Arithmetic,
    /// Bytes.
    pub layout: Layout,
    /// How scales are found.
    pub search: Search,
}

/// Buffers of one thread, and how large they have to be for some rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch {
    /// A byte per weight.
    codes: Vec<u8>,
    /// The bytes of one tensor.
    bytes: Vec<u8>,
    /// Numbers, as they are used.
    scales: Vec<f32>,
    offsets: Vec<f32>,
    /// Numbers, as they are stored.
    stored: Vec<f32>,
}

/// The lengths of a [`Scratch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScratchSize {
    pub codes: usize,
    pub numbers: usize,
}

impl ScratchSize {
    /// Bytes of memory.
    pub fn bytes(self) -> u64 {
        // codes, their packed bytes, three arrays of numbers and their bytes
        2 * self.codes as u64 + 16 * self.numbers as u64
    }

    /// The larger of each.
    pub fn max(self, other: Self) -> Self {
        ScratchSize { codes: self.codes.max(other.codes), numbers: self.numbers.max(other.numbers) }
    }
}

impl Scratch {
    pub fn new(size: ScratchSize) -> Self {
        Scratch {
            codes: vec![0; size.codes],
            bytes: vec![0; size.codes + 4 * size.numbers],
            scales: vec![0.0; size.numbers],
            offsets: vec![0.0; size.numbers],
            stored: vec![0.0; size.numbers],
        }
    }
}

/// Rows of a weight.
pub(crate) struct Chunk<'a> {
    /// Which rows.
    pub rows: Range<usize>,
    /// Their weights, all finite.
    pub weights: &'a [f32],
    /// Importance: one weight per column.
    pub importance: Option<&'a [f32]>,
    /// What all scales of the weight are divided by; 1 where there is nothing of the kind.
    pub divisor: f32,
    /// Codes and numbers, if they were chosen before.
    pub given: Option<Given<'a>>,
}

/// Why a chunk was not encoded.
pub(crate) enum Stop<E> {
    /// The type of the scales ends before one of them: the row, counted from the chunk's first, and the group.
    Overflow { row: usize, group: usize },
    /// Writing failed.
    Write(E),
}

/// What a chunk became.
struct Coded<'a> {
    /// Codes of the weights; there is room for those of zero points later.
    codes: &'a mut [u8],
    /// Scales as they are stored.
    stored: &'a [f32],
    /// Zero points or biases.
    offsets: &'a [f32],
}

impl Coder {
    /// What encoding so many rows takes.
    pub fn scratch(&self, rows: usize) -> ScratchSize {
        // A tail of codes takes a word at most.
        ScratchSize { codes: rows * self.layout.size[1].next_multiple_of(32), numbers: rows * self.layout.grid.groups }
    }

    /// The type in which scales are stored.
    pub(super) fn scale_type(&self) -> Dtype {
        self.layout.tensors[self.layout.scales].dtype
    }

    /// Encodes a chunk, and hands out bytes: the number of the tensor, the place in it, and they.
    pub fn encode<E>(
        &self,
        level: Level,
        chunk: &Chunk<'_>,
        scratch: &mut Scratch,
        write: impl FnMut(usize, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let &Chunk { ref rows, weights, importance, divisor, .. } = chunk;
        let layout = &self.layout;
        let groups = Groups { weights, columns: layout.size[1], group: layout.grid.block_columns };
        let count = groups.count();
        let Scratch { codes, bytes, scales, offsets, stored } = scratch;
        let (codes, scales, offsets) = (&mut codes[..weights.len()], &mut scales[..count], &mut offsets[..count]);
        let stored = &mut stored[..layout.number_rows(rows).len() * layout.grid.groups];

        let (&Coder { arithmetic, search, .. }, grid, dtype) = (self, &layout.grid, self.scale_type());
        let fit = Fit { level, arithmetic, search, groups, grid, dtype, importance, divisor };
        match chunk.given {
            None => fit.run(Numbers { scales: &mut *scales, offsets: &mut *offsets, stored: &mut *stored }),
            Some(given) => given.take(self, codes, offsets, stored),
        }
        if let Some(at) = stored.iter().position(|scale| !scale.is_finite()) {
            let row = at / layout.grid.groups * layout.grid.block_rows;
            return Err(Stop::Overflow { row, group: at % layout.grid.groups });
        }
        if chunk.given.is_none() {
            arithmetic.code(level, groups, scales, offsets, codes);
        }
        if layout.signed {
            // codes are stored less the least one
            codes.iter_mut().for_each(|code| *code ^= 0x80);
        }

        // The numbers that codes were made with are not needed any more.
        let spare = &mut scales[..stored.len()];
        self.hand_out(level, chunk, Coded { codes, stored, offsets }, spare, bytes, write)
    }

    /// Packs what a chunk became, and hands out the bytes. `spare` has room for as many numbers as are stored.
    fn hand_out<E>(
        &self,
        level: Level,
        &Chunk { ref rows, divisor, .. }: &Chunk<'_>,
        Coded { codes, stored, offsets }: Coded<'_>,
        spare: &mut [f32],
        bytes: &mut [u8],
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let layout = &self.layout;
        let mut put = |tensor: usize, strips: Strips, bytes: &[u8]| {
            let runs = bytes.chunks_exact(strips.length.max(1)).enumerate();
            runs.into_iter()
                .try_for_each(|(number, bytes)| write(tensor, strips.first + number as u64 * strips.stride, bytes))
                .map_err(Stop::Write)
        };
        let columns = 0..layout.size[1];
        let strips = layout.codes.strips(rows, &columns);
        let packed = &mut bytes[..strips.bytes()];
        layout.codes.pack(level, codes, rows.clone(), columns, packed);
        put(layout.codes.tensor, strips, packed)?;

        let mut numbers = |tensor: usize, numbers: &[f32], spare: &mut [f32], bytes: &mut [u8]| {
            let dtype = layout.tensors[tensor].dtype;
            let strips = layout.number_strips(rows, dtype.info().block_bytes);
            let bytes = &mut bytes[..strips.bytes()];
            if layout.grid.by_group {
                transpose(numbers, layout.grid.groups, spare);
                store(level, dtype, spare, bytes);
            } else {
                store(level, dtype, numbers, bytes);
            }
            put(tensor, strips, bytes)
        };
        numbers(layout.scales, stored, spare, bytes)?;
        match &layout.offsets {
            Stored::Nowhere => {}
            Stored::Numbers(tensor) => numbers(*tensor, offsets, spare, bytes)?,
            Stored::Codes(zeros) => {
                let codes = &mut codes[..offsets.len()];
                transpose(offsets, layout.grid.groups, spare);
                codes.iter_mut().zip(spare).for_each(|(code, zero)| *code = *zero as u8);
                let strips = zeros.strips(&(0..layout.grid.groups), rows);
                let packed = &mut bytes[..strips.bytes()];
                zeros.pack(level, codes, 0..layout.grid.groups, rows.clone(), packed);
                put(zeros.tensor, strips, packed)?;
            }
        }
        let fixed = layout.tensors.iter().enumerate().filter(|_| rows.start == 0);
        for (number, tensor) in fixed {
            if let Some(content) = tensor.fixed {
                let bytes = content.bytes(layout, tensor, divisor);
                put(number, Strips::one(0, bytes.len()), &bytes)?;
            }
        }
        Ok(())
    }
}

/// Rows of so many numbers to columns.
fn transpose(src: &[f32], columns: usize, dst: &mut [f32]) {
    let rows = src.len() / columns;
    for (row, src) in src.chunks_exact(columns).enumerate() {
        for (number, dst) in src.iter().zip(dst[row..].iter_mut().step_by(rows)) {
            *dst = *number;
        }
    }
}
