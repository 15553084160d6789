//! Codes of a few bits, packed into the words or bytes of a tensor.

use std::marker::PhantomData;
use std::ops::Range;

use weightmill_kernels::Level;

use super::unpack::{Dense, EvenFirst, Sparse, Unpack, UpperFirst};

/// Most codes that are unpacked at once: they stay in the nearest cache.
pub(super) const TILE: usize = 8192;

/// Rows that are unpacked together where neighbouring rows lie beside each other.
const ROWS_TOGETHER: usize = 32;

/// A matrix of codes of up to 8 bits.
#[derive(Clone, Debug)]
pub(super) struct Codes {
    /// The tensor that holds them, by its number in the source.
    pub tensor: usize,
    /// What a word holds.
    pub packing: Packing,
    /// Which word comes next.
    pub way: Way,
    /// Rows of codes.
    pub rows: usize,
    /// Codes per row.
    pub columns: usize,
    /// Added to every 32-bit word before it is taken apart.
    pub plus: u32,
}

/// How codes are packed into little-endian words of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// As a stream of so many bits each, the lowest first, across the boundaries of words.
    Dense(usize),
    /// As many of so many bits as fit into a word, the lowest first; the uppermost bits of a word may be unused.
    Sparse(usize),
    /// AWQ's eight of 4 bits: those of even columns first.
    EvenFirst,
    /// Two of 4 bits to a byte, the upper one first.
    UpperFirst,
}

/// How the words of a matrix lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Row by row, so many bytes each.
    Along {
        /// Bytes from one row to the next.
        stride: usize,
    },
    /// The first word of every row, then the second of every row, and so on.
    Down,
    /// Column by column, so many bytes each, packed across the rows.
    Across {
        /// Bytes from one column to the next.
        stride: usize,
    },
}

impl Packing {
    /// Bits of a code.
    pub fn bits(self) -> usize {
        match self {
            Packing::Dense(bits) | Packing::Sparse(bits) => bits,
            Packing::EvenFirst | Packing::UpperFirst => 4,
        }
    }

    /// Words that `codes` codes take.
    pub fn words(self, codes: usize) -> Option<usize> {
        match self {
            Packing::Sparse(bits) => Some(codes.div_ceil(32 / bits)),
            _ => Some(codes.checked_mul(self.bits())?.div_ceil(32)),
        }
    }
}

impl Codes {
    /// Codes that lie row by row, so many bytes each.
    pub fn along(tensor: usize, packing: Packing, [rows, columns]: [usize; 2], stride: usize) -> Self {
        Codes { tensor, packing, way: Way::Along { stride }, rows, columns, plus: 0 }
    }

    /// Codes whose rows lie beside each other.
    pub fn down(tensor: usize, packing: Packing, [rows, columns]: [usize; 2]) -> Self {
        Codes { tensor, packing, way: Way::Down, rows, columns, plus: 0 }
    }

    /// Codes that lie column by column, so many bytes each.
    pub fn across(tensor: usize, packing: Packing, [rows, columns]: [usize; 2], stride: usize) -> Self {
        Codes { tensor, packing, way: Way::Across { stride }, rows, columns, plus: 0 }
    }

    /// Bytes that the tensor must have.
    pub fn bytes(&self) -> Option<usize> {
        match self.way {
            Way::Along { stride } => self.rows.checked_mul(stride),
            Way::Down => self.packing.words(self.columns)?.checked_mul(self.rows)?.checked_mul(4),
            Way::Across { stride } => self.columns.checked_mul(stride),
        }
    }

    /// Rows that are unpacked together.
    pub fn rows_together(&self) -> usize {
        match self.way {
            Way::Along { .. } => 1,
            Way::Down | Way::Across { .. } => ROWS_TOGETHER,
        }
    }

    /// Cuts a rectangle into pieces that [`Self::unpack`] takes.
    pub fn tiles(&self, rows: Range<usize>, columns: Range<usize>) -> impl Iterator<Item = [Range<usize>; 2]> + use<> {
        let height = self.rows_together();
        let width = TILE / height;
        pieces(rows, height).flat_map(move |rows| pieces(columns.clone(), width).map(move |c| [rows.clone(), c]))
    }

    /// Unpacks a rectangle of at most [`TILE`] codes, row by row. `bytes` are those of the tensor.
    pub fn unpack(&self, level: Level, bytes: &[u8], rows: Range<usize>, columns: Range<usize>, dst: &mut [u8]) {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "the rectangle lies within the matrix");
        assert!(dst.len() == rows.len() * columns.len() && dst.len() <= TILE, "room for the rectangle's codes");
        // Exactly those kernels that some scheme needs are there.
        macro_rules! unpack {
            ($unit:ty) => {
                level.run(Unpack::<$unit> { codes: self, bytes, rows, columns, dst, unit: PhantomData })
            };
        }
        match self.packing {
            Packing::Dense(1) => unpack!(Dense<1>),
            Packing::Dense(2) => unpack!(Dense<2>),
            Packing::Dense(3) => unpack!(Dense<3>),
            Packing::Dense(4) => unpack!(Dense<4>),
            Packing::Dense(5) => unpack!(Dense<5>),
            Packing::Dense(6) => unpack!(Dense<6>),
            Packing::Dense(7) => unpack!(Dense<7>),
            Packing::Dense(8) => unpack!(Dense<8>),
            Packing::Sparse(3) => unpack!(Sparse<3>),
            Packing::Sparse(5) => unpack!(Sparse<5>),
            Packing::Sparse(6) => unpack!(Sparse<6>),
            Packing::Sparse(7) => unpack!(Sparse<7>),
            Packing::EvenFirst => unpack!(EvenFirst),
            Packing::UpperFirst => unpack!(UpperFirst),
            Packing::Dense(bits) | Packing::Sparse(bits) => unreachable!("no scheme packs {bits} bits so"),
        }
    }
}

/// Pieces of a range that end at multiples of `length`.
fn pieces(range: Range<usize>, length: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    let mut start = range.start;
    std::iter::from_fn(move || {
        let piece = start..end.min((start / length + 1) * length);
        start = piece.end;
        (!piece.is_empty()).then_some(piece)
    })
}
