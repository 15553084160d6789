//! Weights to codes and numbers, chunk of rows by chunk of rows.

use std::ops::Range;

use weightmill_kernels::groups::{self, Groups, Signs, Ties};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

use super::layout::{Layout, Stored};
use super::pack::Strips;
use crate::options::Search;

/// How scales and offsets follow from the weights of a group, and codes from both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arithmetic {
    /// Integers of so many bits around zero. The scale maps the greatest magnitude half-way between the last level and the one
    /// that would follow: `2 * greatest / (2^bits - 1)`. A group of zeros has the scale `zeros`, or if that is 0 the distance
    /// of the numbers around 1.
    /// Where scales are not searched, codes can be made with them as they were before they were `rounded`.
    Symmetric { bits: u32, zeros: f32, rounded: bool },
    /// Integers of so many bits from the least weight (or zero) to the greatest (or zero), with a zero point.
    ZeroPoints { bits: u32, rule: ZeroRule },
    /// Integers of so many bits with a scale of either sign and a bias, as MLX has them: that of both ends which is farther from
    /// zero is exact, and zero too.
    Affine { bits: u32 },
    /// 8-bit floats; the greatest magnitude becomes 448.
    E4M3,
    /// The same in blocks of rows and columns. Weights are multiplied by what makes the greatest magnitude 448, of which the
    /// scale is the inverse; a block of zeros has the scale 1.
    E4M3Blocks,
    /// 4-bit floats with powers of two.
    Powers(PowerRule),
    /// 4-bit floats with scales that are 8-bit floats, and one divisor for all.
    Scaled,
}

/// How zero points are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ZeroRule {
    /// compressed-tensors: codes and zero points are signed, until both are stored.
    Signed,
    /// AWQ: all is computed in half precision; the extent of a group is no less than 1e-5.
    Half,
}

/// How the power of two for a group follows from its greatest magnitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum PowerRule {
    /// compressed-tensors: the magnitude is rounded to a power of two, up from 1.75 on; that becomes 4.
    Nearest,
    /// MLX: the least that keeps the magnitude at 6 or below.
    Least,
}

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
}

/// Why a chunk was not encoded.
pub(crate) enum Stop<E> {
    /// The type of the scales ends before one of them: the row, counted from the chunk's first, and the group.
    Overflow { row: usize, group: usize },
    /// Writing failed.
    Write(E),
}

impl Coder {
    /// What encoding so many rows takes.
    pub fn scratch(&self, rows: usize) -> ScratchSize {
        // A tail of codes takes a word at most.
        ScratchSize { codes: rows * self.layout.size[1].next_multiple_of(32), numbers: rows * self.layout.grid.groups }
    }

    /// The type in which scales are stored.
    fn scale_type(&self) -> Dtype {
        self.layout.tensors[self.layout.scales].dtype
    }

    /// Encodes a chunk, and hands out bytes: the number of the tensor, the place in it, and they.
    pub fn encode<E>(
        &self,
        level: Level,
        chunk: &Chunk<'_>,
        scratch: &mut Scratch,
        mut write: impl FnMut(usize, u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let &Chunk { ref rows, weights, divisor, .. } = chunk;
        let layout = &self.layout;
        let columns = layout.size[1];
        let groups = Groups { weights, columns, group: layout.grid.block_columns };
        let count = groups.count();
        let Scratch { codes, bytes, scales, offsets, stored } = scratch;
        let (codes, scales, offsets) = (&mut codes[..weights.len()], &mut scales[..count], &mut offsets[..count]);
        let stored = &mut stored[..layout.number_rows(rows).len() * layout.grid.groups];

        self.fit(level, groups, chunk, [scales, offsets, stored]);
        if let Some(at) = stored.iter().position(|scale| !scale.is_finite()) {
            let row = at / layout.grid.groups * layout.grid.block_rows;
            return Err(Stop::Overflow { row, group: at % layout.grid.groups });
        }
        self.code(level, groups, scales, offsets, codes);

        let mut put = |tensor: usize, strips: Strips, bytes: &[u8]| {
            let runs = bytes.chunks_exact(strips.length.max(1)).enumerate();
            runs.into_iter()
                .try_for_each(|(number, bytes)| write(tensor, strips.first + number as u64 * strips.stride, bytes))
                .map_err(Stop::Write)
        };
        let strips = layout.codes.strips(rows, &(0..columns));
        let packed = &mut bytes[..strips.bytes()];
        layout.codes.pack(level, codes, rows.clone(), 0..columns, packed);
        put(layout.codes.tensor, strips, packed)?;

        let dtype = self.scale_type();
        let mut numbers = |tensor: usize, dtype: Dtype, numbers: &mut [f32], spare: &mut [f32], bytes: &mut [u8]| {
            let size = dtype.info().block_bytes;
            let strips = layout.number_strips(rows, size);
            let bytes = &mut bytes[..strips.bytes()];
            if layout.grid.by_group {
                transpose(numbers, layout.grid.groups, spare);
                store(level, dtype, spare, bytes);
            } else {
                store(level, dtype, numbers, bytes);
            }
            put(tensor, strips, bytes)
        };
        // The numbers that codes were made with are not needed any more.
        let spare = &mut scales[..stored.len()];
        numbers(layout.scales, dtype, stored, spare, bytes)?;
        match &layout.offsets {
            Stored::Nowhere => {}
            Stored::Numbers(tensor) => numbers(*tensor, layout.tensors[*tensor].dtype, offsets, spare, bytes)?,
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

    /// Scales and offsets of all groups as they are used, and the scales as they are stored.
    fn fit(&self, level: Level, groups: Groups<'_>, chunk: &Chunk<'_>, [scales, offsets, stored]: [&mut [f32]; 3]) {
        let &Chunk { importance, divisor, .. } = chunk;
        let dtype = self.scale_type();
        match self.arithmetic {
            Arithmetic::Symmetric { bits, zeros, rounded } => {
                groups::max_abs(level, groups, scales);
                let half = levels(bits) / 2.0;
                scales.iter_mut().for_each(|scale| *scale /= half);
                stored.copy_from_slice(scales);
                self.settle(level, zeros, stored);
                let signs = match self.search {
                    Search::AbsMax => None,
                    Search::Mse => Some(Signs::Positive),
                    Search::MseSigned => Some(Signs::Both),
                };
                if let Some(signs) = signs {
                    groups::search(level, groups, importance, signed_bounds(bits), dtype, signs, stored);
                }
                for (scale, stored) in scales.iter_mut().zip(&*stored) {
                    if rounded || signs.is_some() || *scale == 0.0 {
                        *scale = *stored;
                    }
                }
            }
            Arithmetic::E4M3 => {
                groups::max_abs(level, groups, scales);
                scales.iter_mut().for_each(|scale| *scale /= E4M3_MOST);
                self.settle(level, 0.0, scales);
                stored.copy_from_slice(scales);
            }
            Arithmetic::E4M3Blocks => {
                groups::max_abs(level, groups, scales);
                let (across, high) = (self.layout.grid.groups, self.layout.grid.block_rows);
                for (stored, block) in stored.chunks_exact_mut(across).zip(scales.chunks(across * high)) {
                    stored.copy_from_slice(&block[..across]);
                    for row in block.chunks_exact(across).skip(1) {
                        stored.iter_mut().zip(row).for_each(|(most, own)| *most = most.max(*own));
                    }
                }
                for factor in stored.iter_mut() {
                    // in this order, as PyTorch divides a number by a tensor
                    let exact = 1.0 / *factor * E4M3_MOST;
                    *factor = if exact.is_finite() { exact } else { 1.0 };
                }
                for (factors, block) in stored.chunks_exact(across).zip(scales.chunks_mut(across * high)) {
                    block.chunks_exact_mut(across).for_each(|row| row.copy_from_slice(factors));
                }
                stored.iter_mut().for_each(|factor| *factor = 1.0 / *factor);
            }
            Arithmetic::ZeroPoints { bits, rule } => {
                groups::min_max(level, groups, offsets, scales);
                for (least, extent) in offsets.iter_mut().zip(&mut *scales) {
                    *least = least.min(0.0);
                    *extent = extent.max(0.0) - *least;
                    if rule == ZeroRule::Half {
                        *extent = extent.max(1e-5);
                    }
                }
                if rule == ZeroRule::Half {
                    round(level, dtype, scales);
                }
                scales.iter_mut().for_each(|scale| *scale /= levels(bits));
                stored.copy_from_slice(scales);
                self.settle(level, 0.0, stored);
                match rule {
                    ZeroRule::Signed => {
                        let [low, high] = signed_bounds(bits);
                        for ((zero, scale), stored) in offsets.iter_mut().zip(&*scales).zip(&*stored) {
                            let signed = if *scale == 0.0 { 0.0 } else { low - *zero / *stored };
                            // stored as codes are, less the least one
                            *zero = signed.round_ties_even().clamp(low, high) - low;
                        }
                    }
                    ZeroRule::Half => {
                        offsets.iter_mut().zip(&*stored).for_each(|(zero, stored)| *zero = -*zero / *stored);
                        round(level, dtype, offsets);
                        offsets.iter_mut().for_each(|zero| *zero = zero.round_ties_even().clamp(0.0, levels(bits)));
                    }
                }
                scales.copy_from_slice(stored);
            }
            Arithmetic::Affine { bits } => {
                groups::min_max(level, groups, offsets, scales);
                for (offset, scale) in offsets.iter_mut().zip(&mut *scales) {
                    [*scale, *offset] = affine(*offset, *scale, levels(bits));
                }
                stored.copy_from_slice(scales);
                // as the type holds them; codes were made with what they were before
                round(level, dtype, stored);
            }
            Arithmetic::Powers(rule) => {
                groups::max_abs(level, groups, scales);
                scales.iter_mut().for_each(|scale| *scale = power(rule, *scale));
                stored.copy_from_slice(scales);
            }
            Arithmetic::Scaled => {
                groups::max_abs(level, groups, stored);
                stored.iter_mut().for_each(|scale| *scale = divisor * (*scale / E2M1_MOST));
                round(level, dtype, stored);
                for (stored, scale) in stored.iter_mut().zip(scales) {
                    if *stored == 0.0 {
                        *stored = 0.125;
                    }
                    *scale = *stored / divisor;
                }
            }
        }
    }

    /// Rounds scales to what is stored, and gives groups of zeros, or of numbers too small for the type, one.
    fn settle(&self, level: Level, zeros: f32, scales: &mut [f32]) {
        let dtype = self.scale_type();
        round(level, dtype, scales);
        let zeros = if zeros > 0.0 { zeros } else { spacing(dtype) };
        for scale in scales.iter_mut().filter(|scale| **scale == 0.0) {
            *scale = zeros;
        }
        round(level, dtype, scales);
    }

    fn code(&self, level: Level, groups: Groups<'_>, scales: &[f32], offsets: &mut [f32], codes: &mut [u8]) {
        use groups::Offsets;
        match self.arithmetic {
            Arithmetic::Symmetric { bits, .. } => {
                groups::integers(level, groups, scales, Offsets::None, signed_bounds(bits), codes);
                if self.layout.signed {
                    let half = 1u8 << (bits - 1);
                    codes.iter_mut().for_each(|code| *code = code.wrapping_sub(half));
                }
            }
            Arithmetic::ZeroPoints { bits, rule: ZeroRule::Signed } => {
                let bounds @ [low, _] = signed_bounds(bits);
                offsets.iter_mut().for_each(|zero| *zero += low);
                groups::integers(level, groups, scales, Offsets::Zeros(offsets), bounds, codes);
                offsets.iter_mut().for_each(|zero| *zero -= low);
            }
            Arithmetic::ZeroPoints { bits, rule: ZeroRule::Half } => {
                let offsets = Offsets::ZerosInHalf(offsets);
                groups::integers(level, groups, scales, offsets, [0.0, levels(bits)], codes);
            }
            Arithmetic::Affine { bits } => {
                groups::integers(level, groups, scales, Offsets::Biases(offsets), [0.0, levels(bits)], codes);
            }
            Arithmetic::E4M3 => groups::e4m3(level, groups, scales, codes),
            Arithmetic::E4M3Blocks => groups::e4m3_times(level, groups, scales, codes),
            Arithmetic::Powers(rule) => {
                let ties = if rule == PowerRule::Least { Ties::Lesser } else { Ties::Even };
                groups::e2m1(level, groups, scales, ties, codes);
                if rule == PowerRule::Least {
                    // MLX has one zero.
                    codes.iter_mut().for_each(|code| *code = if *code == 8 { 0 } else { *code });
                }
            }
            Arithmetic::Scaled => groups::e2m1(level, groups, scales, Ties::Even, codes),
        }
    }
}

/// The largest 8-bit and the largest 4-bit float.
const E4M3_MOST: f32 = 448.0;
const E2M1_MOST: f32 = 6.0;

/// The divisor of all scales of weights whose greatest magnitude is this: it becomes the largest number with the largest
/// scale.
pub(crate) fn divisor(greatest: f32) -> f32 {
    let divisor = E4M3_MOST * E2M1_MOST / greatest;
    // Where there is nothing, or nearly so, anything will do.
    if divisor.is_finite() { divisor } else { 1.0 }
}

/// Distance between the first and the last of the codes of so many bits.
fn levels(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

fn signed_bounds(bits: u32) -> [f32; 2] {
    let half = (1u32 << (bits - 1)) as f32;
    [-half, half - 1.0]
}

/// Distance between 1 and the next number of a type: what compressed-tensors takes for the scale of zeros.
fn spacing(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::BF16 => 0.007_812_5,
        Dtype::F16 => 0.000_976_562_5,
        _ => f32::EPSILON,
    }
}

/// The scale and the bias by which MLX codes numbers between these.
fn affine(least: f32, greatest: f32, levels: f32) -> [f32; 2] {
    let lower_end = least.abs() > greatest.abs();
    let scale = ((greatest - least) / levels).max(1e-7);
    let (scale, edge) = if lower_end { (scale, least) } else { (-scale, greatest) };
    match (edge / scale).round_ties_even() {
        0.0 => [scale, 0.0],
        steps => [edge / steps, edge],
    }
}

/// The power of two for numbers of at most this magnitude, as far as a byte of exponent goes.
fn power(rule: PowerRule, greatest: f32) -> f32 {
    let exponent = match rule {
        PowerRule::Nearest => ((greatest.to_bits() + 0x0020_0000) >> 23) as i32 - 2,
        PowerRule::Least if greatest == 0.0 => 127,
        PowerRule::Least => {
            let bits = (greatest / E2M1_MOST).to_bits();
            (bits >> 23) as i32 + i32::from(bits & 0x007f_ffff != 0)
        }
    };
    match exponent.clamp(0, 254) {
        0 => f32::from_bits(0x0040_0000),
        exponent => f32::from_bits((exponent as u32) << 23),
    }
}

/// Rounds numbers to those that a type has.
fn round(level: Level, dtype: Dtype, numbers: &mut [f32]) {
    let mut bytes = [0; 512];
    for numbers in numbers.chunks_mut(bytes.len() / 4) {
        let bytes = &mut bytes[..numbers.len() * dtype.info().block_bytes];
        store(level, dtype, numbers, bytes);
        dequantize(level, dtype, bytes, numbers);
    }
}

/// Numbers as a tensor of this type holds them; of powers of two the exponents.
fn store(level: Level, dtype: Dtype, numbers: &[f32], bytes: &mut [u8]) {
    match dtype {
        Dtype::U8 => {
            for (byte, number) in bytes.iter_mut().zip(numbers) {
                *byte = (number.to_bits() >> 23) as u8;
            }
        }
        Dtype::F8_E4M3 => {
            let all = Groups { weights: numbers, columns: numbers.len(), group: numbers.len() };
            groups::e4m3(level, all, &[1.0], bytes);
        }
        _ => quantize(level, dtype, numbers, numbers.len(), None, bytes),
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
