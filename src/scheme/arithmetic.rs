//! Integers and small floats: how scales and offsets follow from the weights of a group, and codes from both.

use weightmill_kernels::Level;
use weightmill_kernels::groups::{self, Groups, Ties};

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
    /// The same in blocks of rows and columns.
    E4M3Blocks(BlockRule),
    /// 4-bit floats with powers of two.
    Powers(PowerRule),
    /// 4-bit floats with scales that are 8-bit floats, and one divisor for all.
    Scaled,
}

/// How the scale of a block follows from its greatest magnitude.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BlockRule {
    /// DeepSeek: weights are multiplied by what makes the magnitude 448, of which the scale is the inverse; a block of zeros
    /// has the scale 1.
    Inverse,
    /// compressed-tensors: weights are divided by the scale as it is stored.
    Stored,
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

impl Arithmetic {
    /// The codes of weights, one per byte, with scales and offsets as [`fit`](super::fit) makes them.
    pub fn code(self, level: Level, groups: Groups<'_>, scales: &[f32], offsets: &mut [f32], codes: &mut [u8]) {
        use groups::Offsets;
        match self {
            Arithmetic::Symmetric { bits, .. } => {
                groups::integers(level, groups, scales, Offsets::None, signed_bounds(bits), codes);
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
            Arithmetic::E4M3 | Arithmetic::E4M3Blocks(BlockRule::Stored) => groups::e4m3(level, groups, scales, codes),
            Arithmetic::E4M3Blocks(BlockRule::Inverse) => groups::e4m3_times(level, groups, scales, codes),
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

/// Distance between the first and the last of the codes of so many bits.
pub(super) fn levels(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

pub(super) fn signed_bounds(bits: u32) -> [f32; 2] {
    let half = (1u32 << (bits - 1)) as f32;
    [-half, half - 1.0]
}
