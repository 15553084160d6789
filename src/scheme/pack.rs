//! Putting codes into words: what `unpack` takes apart.
//!
//! Plain loops, compiled for every CPU level.

use std::marker::PhantomData;
use std::ops::Range;

use weightmill_kernels::Level;
use weightmill_kernels::simd::{Kernel, Simd};

use super::codes::{Codes, Packing, Way};
use super::unpack::{Dense, EvenFirst, MOST_CODES, MOST_WORDS, Unit};

/// Runs of bytes of equal length, at equal distances in a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strips {
    /// Where the first begins.
    pub first: u64,
    /// Bytes from the beginning of one to that of the next.
    pub stride: u64,
    /// Bytes of each.
    pub length: usize,
    /// How many there are.
    pub count: usize,
}

impl Strips {
    /// One run.
    pub fn one(first: u64, length: usize) -> Self {
        Strips { first, stride: length as u64, length, count: 1 }
    }

    /// Strips, as a single one if each begins where the one before ends.
    pub fn joined(self) -> Self {
        match self.stride == self.length as u64 {
            true => Strips::one(self.first, self.length * self.count),
            false => self,
        }
    }

    /// Bytes of all together.
    pub fn bytes(&self) -> usize {
        self.length * self.count
    }
}

/// A unit whose codes can be put into its words.
pub(super) trait Pack: Unit + Sized {
    /// Puts [`Unit::CODES`] codes into [`Unit::WORDS`] words.
    fn gather(codes: &[u8], words: &mut [u32]);

    /// Puts whole units of codes into as many bytes as they take.
    #[inline(always)]
    fn units(codes: &[u8], dst: &mut [u8]) {
        each_unit::<Self>(codes, dst);
    }
}

impl<const BITS: usize> Pack for Dense<BITS> {
    #[inline(always)]
    fn gather(codes: &[u8], words: &mut [u32]) {
        match BITS {
            8 => {
                for (word, codes) in words.iter_mut().zip(codes.as_chunks().0) {
                    *word = u32::from_le_bytes(*codes);
                }
            }
            4 => {
                for (word, codes) in words.iter_mut().zip(codes.as_chunks().0) {
                    *word = joined_nibbles(u64::from_le_bytes(*codes));
                }
            }
            _ => {
                words.fill(0);
                for (i, &code) in codes.iter().enumerate() {
                    let (word, shift) = (i * BITS / 32, i * BITS % 32);
                    words[word] |= u32::from(code) << shift;
                    if shift + BITS > 32 {
                        words[word + 1] |= u32::from(code) >> (32 - shift);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn units(codes: &[u8], dst: &mut [u8]) {
        match BITS {
            8 => dst.copy_from_slice(codes),
            // in this form compilers use vectors
            4 => {
                for (dst, pair) in dst.iter_mut().zip(codes.as_chunks().0) {
                    let pair = u16::from_le_bytes(*pair);
                    *dst = (pair | pair >> 4) as u8;
                }
            }
            _ => each_unit::<Self>(codes, dst),
        }
    }
}

impl Pack for EvenFirst {
    #[inline(always)]
    fn gather(codes: &[u8], words: &mut [u32]) {
        let mut ordered = [0; 8];
        for (i, pair) in codes.as_chunks::<2>().0.iter().enumerate() {
            [ordered[i], ordered[4 + i]] = *pair;
        }
        words[0] = joined_nibbles(u64::from_le_bytes(ordered));
    }
}

/// Eight bytes below 16 as nibbles, the first one lowest.
#[inline(always)]
fn joined_nibbles(bytes: u64) -> u32 {
    let pairs = (bytes | bytes >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    (fours | fours >> 16) as u32
}

impl Codes {
    /// Numbers of which every rectangle that is packed must begin with a multiple: rows, and columns.
    pub fn alignment(&self) -> [usize; 2] {
        let unit = match self.packing {
            Packing::Dense(8) => 4,
            Packing::Dense(4) | Packing::EvenFirst => 8,
            _ => 32,
        };
        match self.way {
            Way::Along { .. } | Way::Down => [1, unit],
            Way::Across { .. } => [unit, 1],
        }
    }

    /// Where the bytes of a rectangle lie in the tensor.
    pub fn strips(&self, rows: &Range<usize>, columns: &Range<usize>) -> Strips {
        let bits = self.packing.bits();
        // Words that are not whole belong to the end of the matrix.
        let bytes = |codes: &Range<usize>, all: usize, stride: usize| {
            let end = if codes.end == all { stride } else { codes.end * bits / 8 };
            (codes.start * bits / 8, end - codes.start * bits / 8)
        };
        // Codes that follow each other, of each of these lines.
        let of_lines = |lines: &Range<usize>, (begin, length): (usize, usize), stride: usize| {
            let stride = stride as u64;
            Strips { first: lines.start as u64 * stride + begin as u64, stride, length, count: lines.len() }
        };
        let strips = match self.way {
            Way::Along { stride } => of_lines(rows, bytes(columns, self.columns, stride), stride),
            Way::Across { stride } => of_lines(columns, bytes(rows, self.rows, stride), stride),
            Way::Down => {
                let [first, end] = [columns.start * bits / 32, (columns.end * bits).div_ceil(32)];
                Strips {
                    first: 4 * (first as u64 * self.rows as u64 + rows.start as u64),
                    stride: 4 * self.rows as u64,
                    length: 4 * rows.len(),
                    count: end - first,
                }
            }
        };
        strips.joined()
    }

    /// Packs a rectangle of codes, given row by row, into the strips of bytes that [`Self::strips`] places.
    ///
    /// # Panics
    /// If a length does not fit, or if the rectangle begins inside a unit ([`Self::alignment`]).
    pub fn pack(&self, level: Level, codes: &[u8], rows: Range<usize>, columns: Range<usize>, dst: &mut [u8]) {
        assert!(rows.end <= self.rows && columns.end <= self.columns, "the rectangle lies within the matrix");
        assert_eq!(codes.len(), rows.len() * columns.len(), "the rectangle's codes");
        let [row_unit, column_unit] = self.alignment();
        assert!(rows.start.is_multiple_of(row_unit) && columns.start.is_multiple_of(column_unit), "whole units");
        assert_eq!(dst.len(), self.strips(&rows, &columns).bytes(), "room for the rectangle's bytes");
        let (count, width) = (rows.len(), columns.len());
        macro_rules! pack {
            ($unit:ty) => {
                level.run(Packer::<$unit> { way: self.way, codes, count, width, dst, unit: PhantomData })
            };
        }
        match self.packing {
            Packing::Dense(2) => pack!(Dense<2>),
            Packing::Dense(3) => pack!(Dense<3>),
            Packing::Dense(4) => pack!(Dense<4>),
            Packing::Dense(5) => pack!(Dense<5>),
            Packing::Dense(6) => pack!(Dense<6>),
            Packing::Dense(8) => pack!(Dense<8>),
            Packing::EvenFirst => pack!(EvenFirst),
            other => unreachable!("no scheme writes {other:?}"),
        }
    }
}

struct Packer<'a, U> {
    way: Way,
    codes: &'a [u8],
    count: usize,
    width: usize,
    dst: &'a mut [u8],
    unit: PhantomData<U>,
}

impl<U: Pack> Kernel for Packer<'_, U> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Packer { way, codes, count, width, dst, .. } = self;
        if count == 0 || width == 0 {
            return;
        }
        match way {
            Way::Along { .. } => {
                let strip = dst.len() / count;
                for (codes, dst) in codes.chunks_exact(width).zip(dst.chunks_exact_mut(strip)) {
                    line::<U>(codes, dst);
                }
            }
            Way::Down => {
                let words = dst.as_chunks_mut::<4>().0;
                for (row, codes) in codes.chunks_exact(width).enumerate() {
                    let mut column = words[row..].iter_mut().step_by(count);
                    for codes in codes.chunks(U::CODES) {
                        let unit = unit::<U>(codes);
                        for (value, word) in unit[..U::WORDS].iter().zip(&mut column) {
                            *word = value.to_le_bytes();
                        }
                    }
                }
            }
            Way::Across { .. } => {
                let strip = dst.len() / width;
                for (number, rows) in codes.chunks(U::CODES * width).enumerate() {
                    for column in 0..width {
                        let mut codes = [0; MOST_CODES];
                        let own = rows[column..].iter().step_by(width);
                        codes.iter_mut().zip(own).for_each(|(code, own)| *code = *own);
                        let words = unit::<U>(&codes[..U::CODES]);
                        let dst = &mut dst[column * strip..][..strip];
                        store(&words[..U::WORDS], &mut dst[4 * U::WORDS * number..]);
                    }
                }
            }
        }
    }
}

/// Packs codes that follow each other; zeros fill the last word.
#[inline(always)]
fn line<U: Pack>(codes: &[u8], dst: &mut [u8]) {
    let units = codes.chunks_exact(U::CODES);
    let rest = units.remainder();
    let whole = units.len() * 4 * U::WORDS;
    let (body, tail) = dst.split_at_mut(whole);
    U::units(&codes[..codes.len() - rest.len()], body);
    if !rest.is_empty() {
        store(&unit::<U>(rest)[..U::WORDS], tail);
    }
}

/// Puts whole units of codes into words, one unit after the other.
#[inline(always)]
fn each_unit<U: Pack>(codes: &[u8], dst: &mut [u8]) {
    for (codes, dst) in codes.chunks_exact(U::CODES).zip(dst.chunks_exact_mut(4 * U::WORDS)) {
        let mut words = [0; MOST_WORDS];
        U::gather(codes, &mut words[..U::WORDS]);
        store(&words[..U::WORDS], dst);
    }
}

/// The words of a unit, which may lack its last codes.
#[inline(always)]
fn unit<U: Pack>(codes: &[u8]) -> [u32; MOST_WORDS] {
    let (mut padded, mut words) = ([0; MOST_CODES], [0; MOST_WORDS]);
    padded[..codes.len()].copy_from_slice(codes);
    U::gather(&padded[..U::CODES], &mut words[..U::WORDS]);
    words
}

/// Words as bytes, as far as there is room.
#[inline(always)]
fn store(words: &[u32], dst: &mut [u8]) {
    for (word, dst) in words.iter().zip(dst.chunks_mut(4)) {
        dst.copy_from_slice(&word.to_le_bytes()[..dst.len()]);
    }
}
