//! Scales and other numbers that several weights share.

use std::ops::Range;

use weightmill_formats::Source;
use weightmill_kernels::{Dtype, Level, dequantize};

/// Floating-point numbers that a tensor holds, and how they are to be taken.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// The tensor, by its number in the source.
    pub tensor: usize,
    /// Type by which its bytes are read: its own, or the one that the scheme keeps in unsigned bytes.
    pub dtype: Dtype,
    /// What becomes of a number once it is read.
    pub then: Then,
}

/// What becomes of a number, in f32.
#[derive(Clone, Debug)]
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// It is multiplied.
    Times(f32),
    /// It is divided.
    Over(f32),
    /// This is added.
    Plus(f32),
    /// It is a code itself.
    Nested(Box<Nested>),
}

/// Numbers that are quantized in their turn: `table[code] * scale + offset`.
#[derive(Clone, Debug)]
pub(super) struct Nested {
    /// Value of each code.
    pub table: [f32; 256],
    /// The scales, one for so many codes.
    pub scales: Numbers,
    /// Codes that share a scale.
    pub block: usize,
    /// What is added to each number.
    pub offset: f32,
}

impl Numbers {
    /// The numbers of a tensor as they are.
    pub fn plain(tensor: usize, dtype: Dtype) -> Self {
        Numbers { tensor, dtype, then: Then::Nothing }
    }

    /// All tensors that they are read from.
    pub fn parts(&self) -> Vec<usize> {
        let mut parts = vec![self.tensor];
        if let Then::Nested(nested) = &self.then {
            parts.extend(nested.scales.parts());
        }
        parts
    }

    /// Reads the numbers of a range.
    pub fn read(&self, source: &dyn Source, level: Level, range: Range<usize>, dst: &mut [f32]) {
        let bytes = self.dtype.info().block_bytes;
        let view = source.view(&source.tensors()[self.tensor]);
        let view = &view[range.start * bytes..range.end * bytes];
        if let Then::Nested(nested) = &self.then {
            return nested.read(source, level, view, range, dst);
        }
        match self.dtype {
            Dtype::I8 => dst.iter_mut().zip(view).for_each(|(number, byte)| *number = f32::from(*byte as i8)),
            dtype => dequantize(level, dtype, view, dst),
        }
        match self.then {
            Then::Nothing | Then::Nested(_) => {}
            Then::Times(factor) => dst.iter_mut().for_each(|number| *number *= factor),
            Then::Over(divisor) => dst.iter_mut().for_each(|number| *number /= divisor),
            Then::Plus(term) => dst.iter_mut().for_each(|number| *number += term),
        }
    }
}

impl Nested {
    fn read(&self, source: &dyn Source, level: Level, codes: &[u8], range: Range<usize>, dst: &mut [f32]) {
        let mut scale = [0.0];
        let mut block = usize::MAX;
        for ((at, code), number) in range.zip(codes).zip(dst) {
            if at / self.block != block {
                block = at / self.block;
                self.scales.read(source, level, block..block + 1, &mut scale);
            }
            *number = self.table[usize::from(*code)] * scale[0] + self.offset;
        }
    }
}

/// How the numbers of a tensor spread over the weights: blocks of the same size, but for those at the edges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    /// Rows of a block.
    pub block_rows: usize,
    /// Columns of a block.
    pub block_columns: usize,
    /// Rows of each matrix of a stack; blocks do not reach from one into the next.
    pub matrix_rows: usize,
    /// Rows of numbers that each matrix has.
    pub number_rows: usize,
    /// Numbers per row.
    pub groups: usize,
    /// Numbers lie group by group and in each by row, rather than row by row. Blocks then have one row.
    pub by_group: bool,
}

impl Grid {
    /// Each row has its own numbers, one for so many columns.
    pub fn groups(rows: usize, columns: usize, groups: usize) -> Self {
        Grid {
            block_rows: 1,
            block_columns: columns.div_ceil(groups),
            matrix_rows: rows,
            number_rows: rows,
            groups,
            by_group: false,
        }
    }

    /// The row of numbers for a row of weights.
    pub fn number_row(&self, row: usize) -> usize {
        row / self.matrix_rows * self.number_rows + row % self.matrix_rows / self.block_rows
    }

    /// The weights of rows of so many columns that share a number, for reports.
    pub fn extent(&self, columns: usize) -> String {
        match (self.block_rows >= self.matrix_rows, self.block_columns >= columns) {
            (true, true) => "per tensor".to_owned(),
            (false, true) if self.block_rows == 1 => "per row".to_owned(),
            _ if self.block_rows == 1 => format!("g{}", self.block_columns),
            _ => format!("{}x{}", self.block_rows, self.block_columns),
        }
    }

    /// The grid by which numbers of shape `numbers` spread over weights of shape `weights`, both row-major.
    ///
    /// `blocks` are the sizes that config.json names, rows and columns; where it names none, 128 x 128 is the usual one.
    /// Numbers may be a single one, one per row, one per block, or one per so many columns of each row.
    pub fn fit(weights: &[usize], numbers: &[usize], blocks: &[[usize; 2]]) -> Option<Self> {
        let (leading, &[rows, columns]) = weights.split_last_chunk()?;
        let stacked: usize = leading.iter().product();
        let grid = |[block_rows, block_columns]: [usize; 2], matrix_rows: usize| Grid {
            block_rows,
            block_columns,
            matrix_rows,
            number_rows: matrix_rows.div_ceil(block_rows),
            groups: columns.div_ceil(block_columns),
            by_group: false,
        };
        if numbers.iter().all(|&length| length == 1) {
            return Some(grid([stacked * rows, columns], stacked * rows));
        }
        // A shape with fewer dimensions lacks the last ones; ModelOpt has a dimension of 1 after each of two.
        let mut shape = match *numbers {
            [a, 1, b, 1] if weights.len() == 2 => vec![a, b],
            _ => numbers.to_vec(),
        };
        shape.resize(shape.len().max(weights.len()), 1);
        let (leading_numbers, &found) = shape.split_last_chunk()?;
        if leading_numbers != leading {
            return None;
        }
        let fits = |block: &[usize; 2]| {
            block.iter().all(|&length| length > 0) && [rows.div_ceil(block[0]), columns.div_ceil(block[1])] == found
        };
        let [in_rows, in_columns] = found;
        let whole = |of: usize, parts: usize| of.is_multiple_of(parts).then(|| of / parts);
        let per_row = whole(columns, in_columns).filter(|_| in_rows == rows).map(|width| [1, width]);
        let per_matrix = (found == [1, 1]).then_some([rows, columns]);
        let named = blocks.iter().copied().find(fits);
        let usual = [[128, 128]].into_iter().find(|block| blocks.is_empty() && fits(block));
        let even =
            (blocks.is_empty() && in_columns > 1).then(|| Some([whole(rows, in_rows)?, whole(columns, in_columns)?]));
        let block = named.or(per_matrix).or(per_row).or(usual).or(even.flatten())?;
        Some(grid(block, rows))
    }
}
