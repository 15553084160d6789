//! Blocks as levels with scales: for whoever chooses the levels himself and leaves the scales to the quantizers.
//!
//! A type whose blocks hold one level per weight has a row here: `weight = scale * value(level) + offset`, where scale and
//! offset belong to a run of weights. Whatever levels are stored, [`crate::dequantize`] gives exactly that, computed in f32.
#![forbid(unsafe_code)]

use crate::Dtype;
use crate::search::VALUES;
use crate::types;

/// How the blocks of a type hold weights.
pub struct Levels {
    /// Weights that share a scale and an offset; a block holds one or several such runs.
    pub run: usize,
    /// What levels stand for.
    pub points: Points,
    /// Scale and offset of every run of a block.
    pub(crate) numbers: fn(block: &[u8], scales: &mut [f32], offsets: &mut [f32]),
    /// Stores for every run of a block what comes nearest to these; what the scales of a whole block are multiples of stays.
    pub(crate) set: fn(scales: &[f32], offsets: &[f32], block: &mut [u8]),
    /// Puts the levels of a block, one byte each, in place of those that it holds.
    pub(crate) store: fn(levels: &[u8], block: &mut [u8]),
}

/// The values of levels before they are scaled, ascending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Points {
    /// `first + level`, for so many levels.
    Even {
        /// The value of level 0.
        first: i16,
        /// How many levels there are.
        count: u16,
    },
    /// As many as the table has.
    Table(&'static [i8]),
}

impl Points {
    /// Number of levels, at most 256.
    pub fn count(self) -> usize {
        match self {
            Points::Even { count, .. } => usize::from(count),
            Points::Table(values) => values.len(),
        }
    }

    /// The value of a level.
    pub fn value(self, level: u8) -> f32 {
        match self {
            Points::Even { first, .. } => f32::from(first + i16::from(level)),
            Points::Table(values) => f32::from(values[usize::from(level)]),
        }
    }
}

/// The values of IQ4_NL and IQ4_XS.
pub(crate) const NONLINEAR: Points = Points::Table(&VALUES);

impl Dtype {
    /// How the type's blocks hold levels; `None` if they do not hold one per weight, or if nothing is left to choose.
    pub fn levels(self) -> Option<&'static Levels> {
        Some(match self {
            Dtype::Q4_0 => &types::q4_0::LEVELS,
            Dtype::Q4_1 => &types::q4_1::LEVELS,
            Dtype::Q5_0 => &types::q5_0::LEVELS,
            Dtype::Q5_1 => &types::q5_1::LEVELS,
            Dtype::Q8_0 => &types::q8_0::LEVELS,
            Dtype::Q2_K => &types::q2_k::LEVELS,
            Dtype::Q3_K => &types::q3_k::LEVELS,
            Dtype::Q4_K => &types::q4_k::LEVELS,
            Dtype::Q5_K => &types::q5_k::LEVELS,
            Dtype::Q6_K => &types::q6_k::LEVELS,
            Dtype::IQ4_NL => &types::iq4_nl::LEVELS,
            Dtype::IQ4_XS => &types::iq4_xs::LEVELS,
            _ => return None,
        })
    }
}

/// Writes scale and offset of every run of whole blocks.
///
/// # Panics
/// If the type has no [`Dtype::levels`] or a length does not fit.
pub fn read_scales(dtype: Dtype, blocks: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
    let (levels, info) = (expect(dtype), dtype.info());
    let runs = info.block_len / levels.run;
    assert_eq!(blocks.len() / info.block_bytes * runs, scales.len(), "a scale for every run");
    assert_eq!(scales.len(), offsets.len(), "an offset for every scale");
    let numbers = scales.chunks_exact_mut(runs).zip(offsets.chunks_exact_mut(runs));
    for (block, (scales, offsets)) in blocks.chunks_exact(info.block_bytes).zip(numbers) {
        (levels.numbers)(block, scales, offsets);
    }
}

/// Stores scales and offsets of every run of whole blocks, each as the nearest that a block can hold. The numbers that those of
/// a super-block are multiples of stay as they are, as do the levels; types without offsets leave these out.
///
/// # Panics
/// If the type has no [`Dtype::levels`] or a length does not fit.
pub fn write_scales(dtype: Dtype, scales: &[f32], offsets: &[f32], blocks: &mut [u8]) {
    let (levels, info) = (expect(dtype), dtype.info());
    let runs = info.block_len / levels.run;
    assert_eq!(blocks.len() / info.block_bytes * runs, scales.len(), "a scale for every run");
    assert_eq!(scales.len(), offsets.len(), "an offset for every scale");
    let numbers = scales.chunks_exact(runs).zip(offsets.chunks_exact(runs));
    for (block, (scales, offsets)) in blocks.chunks_exact_mut(info.block_bytes).zip(numbers) {
        (levels.set)(scales, offsets, block);
    }
}

/// Puts levels, one byte per weight, into whole blocks, whose scales stay.
///
/// # Panics
/// If the type has no [`Dtype::levels`] or a length does not fit.
pub fn write_levels(dtype: Dtype, levels: &[u8], blocks: &mut [u8]) {
    let (way, info) = (expect(dtype), dtype.info());
    assert_eq!(dtype.byte_size(levels.len() as u64), Some(blocks.len() as u64), "the blocks of these levels");
    for (levels, block) in levels.chunks_exact(info.block_len).zip(blocks.chunks_exact_mut(info.block_bytes)) {
        (way.store)(levels, block);
    }
}

fn expect(dtype: Dtype) -> &'static Levels {
    dtype.levels().unwrap_or_else(|| panic!("{dtype} has no levels of single weights"))
}

/// The half-precision number at the start of `bytes`.
pub(crate) fn f16(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Stores a number in half precision; one beyond it as the largest.
pub(crate) fn set_f16(number: f32, bytes: &mut [u8]) {
    let most = half::f16::MAX.to_f32();
    bytes[..2].copy_from_slice(&half::f16::from_f32(number.clamp(-most, most)).to_le_bytes());
}

/// The multiple of `unit` that is nearest, of those from `least` to `most`.
pub(crate) fn multiple(number: f32, unit: f32, least: i16, most: i16) -> i16 {
    // nothing is a multiple of zero, and what is not a number becomes zero
    const ROUND: f32 = 12_582_912.0;
    ((number / unit).clamp(f32::from(least), f32::from(most)) + ROUND - ROUND) as i16
}

/// Puts the low four bits of levels `i` and `i + N` into byte `i` of `bytes`, for each `2 N` levels.
pub(crate) fn store_nibbles<const N: usize>(levels: &[u8], bytes: &mut [u8]) {
    for (levels, bytes) in levels.chunks_exact(2 * N).zip(bytes.chunks_exact_mut(N)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = levels[i] & 15 | levels[i + N] << 4;
        }
    }
}

/// Puts bit `BIT` of the levels of a super-block where [`types::decode::add_bits`] finds it.
pub(crate) fn store_bits<const BIT: u32>(levels: &[u8], bytes: &mut [u8]) {
    bytes.fill(0);
    for (number, levels) in levels.chunks_exact(bytes.len()).enumerate() {
        for (byte, level) in bytes.iter_mut().zip(levels) {
            *byte |= (level >> BIT & 1) << number;
        }
    }
}

/// Puts the low two bits of the levels of a super-block where [`types::decode::bit_pairs`] finds them.
pub(crate) fn store_pairs(levels: &[u8], bytes: &mut [u8]) {
    for (levels, bytes) in levels.chunks_exact(128).zip(bytes.chunks_exact_mut(32)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            let [a, b, c, d] = [0, 32, 64, 96].map(|quarter| levels[quarter + i] & 3);
            *byte = a | b << 2 | c << 4 | d << 6;
        }
    }
}

/// Puts the fifth bits of 32 levels into a word, the first one's lowest.
pub(crate) fn store_fifths(levels: &[u8], bytes: &mut [u8]) {
    let word = levels.iter().rev().fold(0u32, |word, level| word << 1 | u32::from(level >> 4 & 1));
    bytes[..4].copy_from_slice(&word.to_le_bytes());
}
