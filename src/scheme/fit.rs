//! Scales and offsets of the weights of a chunk.

use weightmill_kernels::groups::{self, Bounds, FloatScale, Groups, Signs};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

use super::arithmetic::{Arithmetic, BlockRule, PowerRule, ZeroRule, levels, signed_bounds};
use super::numbers::Grid;
use crate::options::Search;

/// What scales follow from.
pub(super) struct Fit<'a> {
    pub level: Level,
    pub arithmetic: Arithmetic,
    pub search: Search,
    /// Whole rows, all finite.
    pub groups: Groups<'a>,
    /// Which weights a stored scale belongs to.
    pub grid: &'a Grid,
    /// The type in which scales are stored.
    pub dtype: Dtype,
    /// One weight per column.
    pub importance: Option<&'a [f32]>,
    /// What all scales of the weight are divided by.
    pub divisor: f32,
}

/// Numbers of groups, row by row.
pub(super) struct Numbers<'a> {
    /// Scales as codes are made with them.
    pub scales: &'a mut [f32],
    /// Zero points or biases, where there are some.
    pub offsets: &'a mut [f32],
    /// Scales as they are stored: of blocks of several rows one for all.
    pub stored: &'a mut [f32],
}

impl Fit<'_> {
    /// Scales and offsets of all groups as they are used, and the scales as they are stored.
    pub fn run(&self, numbers: Numbers<'_>) {
        match self.arithmetic {
            Arithmetic::Symmetric { bits, zeros, rounded } => self.symmetric(bits, zeros, rounded, numbers),
            Arithmetic::E4M3 => self.e4m3(numbers),
            Arithmetic::E4M3Blocks(rule) => self.e4m3_blocks(rule, numbers),
            Arithmetic::ZeroPoints { bits, rule } => self.zero_points(bits, rule, numbers),
            Arithmetic::Affine { bits } => self.affine(bits, numbers),
            Arithmetic::Powers(rule) => self.powers(rule, numbers),
            Arithmetic::Scaled => self.scaled(numbers),
        }
    }

    /// The greatest magnitude at half the range of levels.
    fn symmetric(&self, bits: u32, zeros: f32, rounded: bool, Numbers { scales, stored, .. }: Numbers<'_>) {
        let &Fit { level, groups, importance, dtype, .. } = self;
        groups::max_abs(level, groups, scales);
        let half = levels(bits) / 2.0;
        scales.iter_mut().for_each(|scale| *scale /= half);
        stored.copy_from_slice(scales);
        self.settle(zeros, stored);
        if self.searches() {
            let signs = if self.search == Search::MseSigned { Signs::Both } else { Signs::Own };
            let bounds = Bounds::All(signed_bounds(bits));
            groups::search(level, groups, importance, bounds, dtype, signs, stored);
        }
        for (scale, stored) in scales.iter_mut().zip(&*stored) {
            if rounded || self.searches() || *scale == 0.0 {
                *scale = *stored;
            }
        }
    }

    /// The greatest magnitude at the largest 8-bit float.
    fn e4m3(&self, Numbers { scales, stored, .. }: Numbers<'_>) {
        groups::max_abs(self.level, self.groups, scales);
        scales.iter_mut().for_each(|scale| *scale /= E4M3_MOST);
        self.settle(0.0, scales);
        stored.copy_from_slice(scales);
    }

    /// The same for blocks of several rows.
    fn e4m3_blocks(&self, rule: BlockRule, Numbers { scales, stored, .. }: Numbers<'_>) {
        groups::max_abs(self.level, self.groups, scales);
        let (across, high) = (self.grid.groups, self.grid.block_rows);
        for (stored, block) in stored.chunks_exact_mut(across).zip(scales.chunks(across * high)) {
            stored.copy_from_slice(&block[..across]);
            for row in block.chunks_exact(across).skip(1) {
                stored.iter_mut().zip(row).for_each(|(most, own)| *most = most.max(*own));
            }
        }
        match rule {
            BlockRule::Inverse => {
                for factor in stored.iter_mut() {
                    // in this order, as PyTorch divides a number by a tensor
                    let exact = 1.0 / *factor * E4M3_MOST;
                    *factor = if exact.is_finite() { exact } else { 1.0 };
                }
            }
            BlockRule::Stored => {
                stored.iter_mut().for_each(|scale| *scale /= E4M3_MOST);
                self.settle(0.0, stored);
            }
        }
        for (factors, block) in stored.chunks_exact(across).zip(scales.chunks_mut(across * high)) {
            block.chunks_exact_mut(across).for_each(|row| row.copy_from_slice(factors));
        }
        if rule == BlockRule::Inverse {
            stored.iter_mut().for_each(|factor| *factor = 1.0 / *factor);
        }
    }

    /// All of a group's numbers and zero between the first level and the last.
    fn zero_points(&self, bits: u32, rule: ZeroRule, Numbers { scales, offsets, stored }: Numbers<'_>) {
        let &Fit { level, groups, dtype, .. } = self;
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
        self.settle(0.0, stored);
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
        if self.searches() {
            offsets.iter_mut().for_each(|zero| *zero = -*zero);
            self.search_around(bits, offsets, stored);
            offsets.iter_mut().for_each(|zero| *zero = -*zero);
        }
        scales.copy_from_slice(stored);
    }

    /// Scales and biases as MLX has them.
    fn affine(&self, bits: u32, Numbers { scales, offsets, stored }: Numbers<'_>) {
        let &Fit { level, groups, dtype, .. } = self;
        groups::min_max(level, groups, offsets, scales);
        for (offset, scale) in offsets.iter_mut().zip(&mut *scales) {
            [*scale, *offset] = affine(*offset, *scale, levels(bits));
        }
        stored.copy_from_slice(scales);
        // as the type holds them; codes were made with what they were before
        round(level, dtype, stored);
        if self.searches() {
            // Zero has a code, or would have.
            offsets.iter_mut().zip(&*scales).for_each(|(bias, scale)| *bias = (*bias / scale).round_ties_even());
            self.search_around(bits, offsets, stored);
            let most = largest(dtype);
            for (bias, scale) in offsets.iter_mut().zip(&*stored) {
                *bias = (*bias * scale).clamp(-most, most);
            }
            round(level, dtype, offsets);
            scales.copy_from_slice(stored);
        }
    }

    /// Powers of two for 4-bit floats.
    fn powers(&self, rule: PowerRule, Numbers { scales, stored, .. }: Numbers<'_>) {
        let &Fit { level, groups, importance, .. } = self;
        groups::max_abs(level, groups, scales);
        scales.iter_mut().for_each(|scale| *scale = power(rule, *scale));
        if self.searches() {
            groups::search_e2m1(level, groups, importance, FloatScale::Power, scales);
        }
        stored.copy_from_slice(scales);
    }

    /// 8-bit floats over the weight's divisor, for 4-bit floats.
    fn scaled(&self, Numbers { scales, stored, .. }: Numbers<'_>) {
        let &Fit { level, groups, importance, dtype, divisor, .. } = self;
        groups::max_abs(level, groups, stored);
        stored.iter_mut().for_each(|scale| *scale = divisor * (*scale / E2M1_MOST));
        round(level, dtype, stored);
        stored.iter_mut().filter(|stored| **stored == 0.0).for_each(|stored| *stored = 0.125);
        if self.searches() {
            groups::search_e2m1(level, groups, importance, FloatScale::E4M3Over(divisor), stored);
        }
        scales.iter_mut().zip(&*stored).for_each(|(scale, stored)| *scale = *stored / divisor);
    }

    fn searches(&self) -> bool {
        self.search != Search::AbsMax
    }

    /// Searches scales of codes that begin with these whole numbers, of which as many and one are coded.
    fn search_around(&self, bits: u32, low: &[f32], scales: &mut [f32]) {
        let &Fit { level, groups, importance, dtype, .. } = self;
        let bounds = Bounds::Each { low, levels: levels(bits) };
        groups::search(level, groups, importance, bounds, dtype, Signs::Own, scales);
    }

    /// Rounds scales to what is stored, and gives groups of zeros, or of numbers too small for the type, one.
    fn settle(&self, zeros: f32, scales: &mut [f32]) {
        let &Fit { level, dtype, .. } = self;
        round(level, dtype, scales);
        let zeros = if zeros > 0.0 { zeros } else { spacing(dtype) };
        for scale in scales.iter_mut().filter(|scale| **scale == 0.0) {
            *scale = zeros;
        }
        round(level, dtype, scales);
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

/// Distance between 1 and the next number of a type: what compressed-tensors takes for the scale of zeros.
fn spacing(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::BF16 => 0.007_812_5,
        Dtype::F16 => 0.000_976_562_5,
        _ => f32::EPSILON,
    }
}

/// A number that a type holds, and which none that it holds exceeds by much.
fn largest(dtype: Dtype) -> f32 {
    match dtype {
        Dtype::F16 => 65_504.0,
        _ => 3.38e38,
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
pub(super) fn round(level: Level, dtype: Dtype, numbers: &mut [f32]) {
    let mut bytes = [0; 512];
    for numbers in numbers.chunks_mut(bytes.len() / 4) {
        let bytes = &mut bytes[..numbers.len() * dtype.info().block_bytes];
        store(level, dtype, numbers, bytes);
        dequantize(level, dtype, bytes, numbers);
    }
}

/// Numbers as a tensor of this type holds them; of powers of two the exponents.
pub(super) fn store(level: Level, dtype: Dtype, numbers: &[f32], bytes: &mut [u8]) {
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
