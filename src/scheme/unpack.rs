//! Taking words of packed codes apart.
//!
//! Plain loops, compiled for every CPU level.

use std::marker::PhantomData;
use std::ops::Range;

use weightmill_kernels::simd::{Kernel, Simd};

use super::codes::{Codes, Way};

/// The smallest number of codes that begins and ends at the boundary of a word.
pub(super) trait Unit {
    const CODES: usize;
    const WORDS: usize;

    /// Takes [`Self::WORDS`] words apart into [`Self::CODES`] codes.
    fn spread(words: &[u32], codes: &mut [u8]);
}

/// Most codes of a unit.
pub(super) const MOST_CODES: usize = 32;
/// Most words of a unit.
pub(super) const MOST_WORDS: usize = 8;

/// [`Packing::Dense`](super::codes::Packing::Dense).
pub(super) struct Dense<const BITS: usize>;

impl<const BITS: usize> Unit for Dense<BITS> {
    const CODES: usize = 32;
    const WORDS: usize = BITS;

    #[inline(always)]
    fn spread(words: &[u32], codes: &mut [u8]) {
        match BITS {
            8 => {
                for (word, codes) in words.iter().zip(codes.as_chunks_mut().0) {
                    *codes = word.to_le_bytes();
                }
            }
            4 => {
                for (word, codes) in words.iter().zip(codes.as_chunks_mut().0) {
                    *codes = nibbles(*word).to_le_bytes();
                }
            }
            _ => {
                for (i, code) in codes.iter_mut().enumerate() {
                    let (word, shift) = (i * BITS / 32, i * BITS % 32);
                    let mut bits = words[word] >> shift;
                    if shift + BITS > 32 {
                        bits |= words[word + 1] << (32 - shift);
                    }
                    *code = bits as u8 & (0xff >> (8 - BITS));
                }
            }
        }
    }
}

/// The eight nibbles of a word as bytes, the lowest first.
#[inline(always)]
fn nibbles(word: u32) -> u64 {
    let word = u64::from(word);
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f
}

/// [`Packing::Sparse`](super::codes::Packing::Sparse).
pub(super) struct Sparse<const BITS: usize>;

impl<const BITS: usize> Unit for Sparse<BITS> {
    const CODES: usize = 32 / BITS;
    const WORDS: usize = 1;

    #[inline(always)]
    fn spread(words: &[u32], codes: &mut [u8]) {
        for (i, code) in codes.iter_mut().enumerate() {
            *code = (words[0] >> (i * BITS)) as u8 & (0xff >> (8 - BITS));
        }
    }
}

/// [`Packing::EvenFirst`](super::codes::Packing::EvenFirst).
pub(super) struct EvenFirst;

impl Unit for EvenFirst {
    const CODES: usize = 8;
    const WORDS: usize = 1;

    #[inline(always)]
    fn spread(words: &[u32], codes: &mut [u8]) {
        // Nibbles 0 to 3 are columns 0, 2, 4 and 6, nibbles 4 to 7 the odd ones.
        let (even, odd) = (words[0] & 0xffff, words[0] >> 16);
        let spread = |half: u32| nibbles(half) as u32;
        let (even, odd) = (spread(even), spread(odd));
        for (i, pair) in codes.as_chunks_mut::<2>().0.iter_mut().enumerate() {
            *pair = [(even >> (8 * i)) as u8, (odd >> (8 * i)) as u8];
        }
    }
}

/// [`Packing::UpperFirst`](super::codes::Packing::UpperFirst).
pub(super) struct UpperFirst;

impl Unit for UpperFirst {
    const CODES: usize = 8;
    const WORDS: usize = 1;

    #[inline(always)]
    fn spread(words: &[u32], codes: &mut [u8]) {
        let swapped = (words[0] & 0x0f0f_0f0f) << 4 | (words[0] >> 4) & 0x0f0f_0f0f;
        codes.copy_from_slice(&nibbles(swapped).to_le_bytes());
    }
}

/// A rectangle to unpack.
pub(super) struct Unpack<'a, U> {
    pub codes: &'a Codes,
    /// Those of the tensor.
    pub bytes: &'a [u8],
    pub rows: Range<usize>,
    pub columns: Range<usize>,
    /// Room for the rectangle, row by row.
    pub dst: &'a mut [u8],
    pub unit: PhantomData<U>,
}

impl<U: Unit> Kernel for Unpack<'_, U> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Unpack { codes, bytes, rows, columns, dst, .. } = self;
        match codes.way {
            Way::Along { stride } => {
                for (row, dst) in rows.zip(dst.chunks_exact_mut(columns.len())) {
                    along::<U>(&bytes[row * stride..][..stride], codes.plus, columns.clone(), dst);
                }
            }
            Way::Down => down::<U>(bytes, codes.rows, codes.plus, rows, columns, dst),
            Way::Across { stride } => {
                let stored = &bytes[columns.start * stride..columns.end * stride];
                across::<U>(stored, stride, codes.plus, rows, dst);
            }
        }
    }
}

/// Unpacks some columns of one row.
#[inline(always)]
fn along<U: Unit>(row: &[u8], plus: u32, columns: Range<usize>, mut dst: &mut [u8]) {
    let (mut unit, skipped) = (columns.start / U::CODES, columns.start % U::CODES);
    if skipped > 0 {
        let (head, rest) = dst.split_at_mut(dst.len().min(U::CODES - skipped));
        head.copy_from_slice(&padded::<U>(row, plus, unit)[skipped..][..head.len()]);
        (dst, unit) = (rest, unit + 1);
    }
    let first = (4 * U::WORDS * unit).min(row.len());
    let units = row[first..].chunks_exact(4 * U::WORDS);
    let whole = units.len().min(dst.len() / U::CODES);
    let (body, tail) = dst.split_at_mut(whole * U::CODES);
    for (bytes, codes) in units.zip(body.chunks_exact_mut(U::CODES)) {
        let mut words = [0; MOST_WORDS];
        for (word, bytes) in words[..U::WORDS].iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes).wrapping_add(plus);
        }
        U::spread(&words[..U::WORDS], codes);
    }
    for (i, tail) in tail.chunks_mut(U::CODES).enumerate() {
        tail.copy_from_slice(&padded::<U>(row, plus, unit + whole + i)[..tail.len()]);
    }
}

/// The codes of one unit of a row, as if zeros followed the row.
#[inline(always)]
fn padded<U: Unit>(row: &[u8], plus: u32, unit: usize) -> [u8; MOST_CODES] {
    let (mut words, mut codes) = ([0; MOST_WORDS], [0; MOST_CODES]);
    let rest = row.get(4 * U::WORDS * unit..).unwrap_or_default();
    let (whole, end) = rest.as_chunks();
    for (word, bytes) in words[..U::WORDS].iter_mut().zip(whole) {
        *word = u32::from_le_bytes(*bytes);
    }
    if whole.len() < U::WORDS {
        let mut bytes = [0; 4];
        bytes[..end.len()].copy_from_slice(end);
        words[whole.len()] = u32::from_le_bytes(bytes);
    }
    U::spread(&words.map(|word| word.wrapping_add(plus))[..U::WORDS], &mut codes[..U::CODES]);
    codes
}

/// Unpacks a rectangle whose rows lie beside each other: unit after unit, for each one row after row.
#[inline(always)]
fn down<U: Unit>(bytes: &[u8], height: usize, plus: u32, rows: Range<usize>, columns: Range<usize>, dst: &mut [u8]) {
    let words = bytes.as_chunks::<4>().0;
    let width = columns.len();
    let mut column = columns.start;
    while column < columns.end {
        let (unit, skipped) = (column / U::CODES, column % U::CODES);
        let wanted = (columns.end - column).min(U::CODES - skipped);
        let at = column - columns.start;
        // Words of the unit that the file has, each with one for every row.
        let mut lines = [&[][..]; MOST_WORDS];
        for (i, line) in lines[..U::WORDS].iter_mut().enumerate() {
            let first = (unit * U::WORDS + i) * height;
            *line = words.get(first + rows.start..first + rows.end).unwrap_or_default();
        }
        for row in 0..rows.len() {
            let mut unit = [0; MOST_WORDS];
            for (word, line) in unit[..U::WORDS].iter_mut().zip(&lines) {
                *word = line.get(row).map_or(0, |bytes| u32::from_le_bytes(*bytes)).wrapping_add(plus);
            }
            let dst = &mut dst[row * width + at..][..wanted];
            if wanted == U::CODES {
                U::spread(&unit[..U::WORDS], dst);
            } else {
                let mut codes = [0; MOST_CODES];
                U::spread(&unit[..U::WORDS], &mut codes[..U::CODES]);
                dst.copy_from_slice(&codes[skipped..][..wanted]);
            }
        }
        column += wanted;
    }
}

/// Unpacks some rows of columns of `stride` bytes each.
#[inline(always)]
fn across<U: Unit>(columns: &[u8], stride: usize, plus: u32, rows: Range<usize>, dst: &mut [u8]) {
    let width = columns.len() / stride;
    let mut row = rows.start;
    while row < rows.end {
        let (unit, skipped) = (row / U::CODES, row % U::CODES);
        let wanted = (rows.end - row).min(U::CODES - skipped);
        let dst = &mut dst[(row - rows.start) * width..][..wanted * width];
        let mut at = 0;
        if wanted == SIDE && U::CODES == SIDE {
            for columns in columns.chunks_exact(SIDE * stride) {
                let mut square = [0; SIDE];
                for (line, column) in square.iter_mut().zip(columns.chunks_exact(stride)) {
                    *line =
                        u64::from_le_bytes(padded::<U>(column, plus, unit)[..SIDE].try_into().expect("eight codes"));
                }
                for (dst, line) in dst.chunks_exact_mut(width).zip(transpose(square)) {
                    dst[at..at + SIDE].copy_from_slice(&line.to_le_bytes());
                }
                at += SIDE;
            }
        }
        for (at, column) in columns.chunks_exact(stride).enumerate().skip(at) {
            let codes = &padded::<U>(column, plus, unit)[skipped..][..wanted];
            for (dst, code) in dst[at..].iter_mut().step_by(width).zip(codes) {
                *dst = *code;
            }
        }
        row += wanted;
    }
}

/// Rows and columns of a square of bytes that eight numbers hold.
const SIDE: usize = 8;

/// Turns the rows of a square of bytes into its columns: swaps single bytes, then pairs, then fours across the diagonal.
#[inline(always)]
fn transpose(mut square: [u64; SIDE]) -> [u64; SIDE] {
    for (far, mask) in [(1, 0x00ff_00ff_00ff_00ff), (2, 0x0000_ffff_0000_ffff), (4, 0x0000_0000_ffff_ffff)] {
        for upper in (0..SIDE).filter(|row| row & far == 0) {
            let lower = upper + far;
            let differing = (square[upper] >> (8 * far) ^ square[lower]) & mask;
            square[lower] ^= differing;
            square[upper] ^= differing << (8 * far);
        }
    }
    square
}
