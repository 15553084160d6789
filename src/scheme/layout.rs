//! What a weight becomes: several tensors, and where in them the codes and numbers of each row lie.
//!
//! Every format lays a weight out with the constructors by which it finds one.

use std::ops::Range;

use weightmill_kernels::Dtype;

use super::codes::Codes;
use super::numbers::Grid;
use super::pack::Strips;

/// The tensors of a weight, and what they hold.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Rows and columns of the weight.
    pub size: [usize; 2],
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// The codes; their tensor is one of `tensors`.
    pub(super) codes: Codes,
    /// Bytes are signed numbers.
    pub(super) signed: bool,
    /// The tensor with the scales.
    pub(super) scales: usize,
    /// Which weights a scale belongs to.
    pub(super) grid: Grid,
    /// Where zero points or biases lie.
    pub(super) offsets: Stored,
}

/// One of the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    /// Its name after that of the module and a point.
    pub name: &'static str,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its content, if that does not depend on single weights.
    pub fixed: Option<Fixed>,
}

/// Where the offsets of groups lie.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// Nowhere: there are none.
    Nowhere,
    /// As codes in a matrix with a row for each group and a column for each row of the weight.
    Codes(Codes),
    /// As numbers that lie as the scales do, in this tensor.
    Numbers(usize),
}

/// Content that does not depend on single weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fixed {
    /// Rows and columns, as 64-bit numbers.
    Size,
    /// The group of every column, as 32-bit numbers.
    Groups,
    /// The same 32-bit word everywhere.
    Word(u32),
    /// The divisor of all scales, an f32.
    Divisor,
}

impl Layout {
    /// A weight whose codes fill a tensor that is called `name`.
    pub(super) fn new(name: &'static str, dtype: Dtype, shape: &[usize], codes: Codes, grid: Grid) -> Self {
        let tensor = Tensor { name, dtype, shape: shape.to_vec(), fixed: None };
        let size = [codes.rows, codes.columns];
        Layout { size, tensors: vec![tensor], codes, signed: false, scales: 0, grid, offsets: Stored::Nowhere }
    }

    /// Adds the tensor with the scales.
    pub(super) fn scales(mut self, name: &'static str, dtype: Dtype) -> Self {
        self.scales = self.tensors.len();
        let shape = self.number_shape();
        self.tensors.push(Tensor { name, dtype, shape, fixed: None });
        self
    }

    /// Adds a tensor with numbers that lie as the scales do.
    pub(super) fn biases(mut self, name: &'static str, dtype: Dtype) -> Self {
        self.offsets = Stored::Numbers(self.tensors.len());
        let shape = self.number_shape();
        self.tensors.push(Tensor { name, dtype, shape, fixed: None });
        self
    }

    /// Adds a tensor with zero points; `codes` makes their matrix of the tensor's number.
    pub(super) fn zeros(mut self, name: &'static str, shape: &[usize], codes: impl FnOnce(usize) -> Codes) -> Self {
        self.offsets = Stored::Codes(codes(self.tensors.len()));
        self.tensors.push(Tensor { name, dtype: Dtype::I32, shape: shape.to_vec(), fixed: None });
        self
    }

    /// Adds a tensor whose content is known.
    pub(super) fn fixed(mut self, name: &'static str, dtype: Dtype, shape: &[usize], content: Fixed) -> Self {
        self.tensors.push(Tensor { name, dtype, shape: shape.to_vec(), fixed: Some(content) });
        self
    }

    fn number_shape(&self) -> Vec<usize> {
        match self.grid.by_group {
            true => vec![self.grid.groups, self.grid.number_rows],
            false => vec![self.grid.number_rows, self.grid.groups],
        }
    }

    /// Columns that share a scale.
    pub fn group(&self) -> usize {
        self.grid.block_columns
    }

    /// Chunks of rows begin at multiples of this.
    pub fn row_unit(&self) -> usize {
        let offsets = match &self.offsets {
            Stored::Codes(codes) => codes.alignment()[1].max(codes.alignment()[0]),
            Stored::Nowhere | Stored::Numbers(_) => 1,
        };
        // All are powers of two.
        self.codes.alignment()[0].max(offsets).max(self.grid.block_rows)
    }

    /// True if the rows of a chunk do not lie together, so that larger chunks are better.
    pub fn is_scattered(&self) -> bool {
        self.codes.strips(&(0..1), &(0..self.size[1])).count > 1
    }

    /// Where the scales of these rows lie, numbers of so many bytes.
    pub fn number_strips(&self, rows: &Range<usize>, bytes: usize) -> Strips {
        let rows = self.number_rows(rows);
        let strips = match self.grid.by_group {
            true => Strips {
                first: (rows.start * bytes) as u64,
                stride: (self.grid.number_rows * bytes) as u64,
                length: rows.len() * bytes,
                count: self.grid.groups,
            },
            false => Strips::one((rows.start * self.grid.groups * bytes) as u64, rows.len() * self.grid.groups * bytes),
        };
        strips.joined()
    }

    /// The rows of numbers that belong to these rows of weights, which begin with a whole block.
    pub fn number_rows(&self, rows: &Range<usize>) -> Range<usize> {
        rows.start / self.grid.block_rows..rows.end.div_ceil(self.grid.block_rows)
    }
}

impl Fixed {
    /// The bytes of a tensor of `tensor`'s shape.
    pub fn bytes(self, layout: &Layout, tensor: &Tensor, divisor: f32) -> Vec<u8> {
        match self {
            Fixed::Size => layout.size.iter().flat_map(|&length| (length as u64).to_le_bytes()).collect(),
            Fixed::Groups => {
                let length = layout.grid.block_columns;
                (0..layout.size[1]).flat_map(|column| ((column / length) as u32).to_le_bytes()).collect()
            }
            Fixed::Word(word) => word.to_le_bytes().repeat(tensor.shape.iter().product()),
            Fixed::Divisor => divisor.to_le_bytes().to_vec(),
        }
    }
}
