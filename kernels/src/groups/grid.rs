//! What codes stand for while scales are searched, and which scales can be stored.

use super::search::{Batch, Bounds};
use crate::Dtype;
use crate::simd::Simd;

/// The numbers that codes stand for, and scales as they are stored.
pub(super) trait Grid: Copy {
    /// Between two scales that can be stored is little enough for the best one to be reckoned.
    const FITS: bool;

    /// What stands for a number: its magnitude, where the numbers are the same on either side of zero.
    #[inline(always)]
    fn folded<S: Simd>(self, _: S, v: S::F32) -> S::F32 {
        v
    }

    /// The nearest of the numbers.
    fn nearest<S: Simd>(self, s: S, v: S::F32, bounds: [S::F32; 2]) -> S::F32;

    /// The nearest scale that can be stored.
    fn stored<S: Simd>(self, s: S, scale: S::F32) -> S::F32;

    /// What codes are multiplied by where this is stored.
    #[inline(always)]
    fn used<S: Simd>(self, _: S, stored: S::F32) -> S::F32 {
        stored
    }

    /// The least and the greatest number of groups.
    #[inline(always)]
    fn bounds<S: Simd>(self, s: S, _: &Batch) -> [S::F32; 2] {
        [s.splat(0.0); 2]
    }
}

/// Whole numbers, and scales of a floating-point type.
#[derive(Clone, Copy)]
pub(super) struct Integers<'a> {
    /// The numbers.
    pub bounds: Bounds<'a>,
    /// Type of the scales.
    pub stored: Dtype,
}

impl Grid for Integers<'_> {
    const FITS: bool = true;

    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, v: S::F32, [low, high]: [S::F32; 2]) -> S::F32 {
        s.round_even(s.min(s.max(v, low), high))
    }

    #[inline(always)]
    fn stored<S: Simd>(self, s: S, scale: S::F32) -> S::F32 {
        match self.stored {
            Dtype::BF16 => {
                let bits = s.to_bits(scale);
                let odd = s.and_i32(s.shr_i32::<16>(bits), s.splat_i32(1));
                let rounded = s.add_i32(bits, s.add_i32(odd, s.splat_i32(0x7fff)));
                s.from_bits(s.and_i32(rounded, s.splat_i32(0xffff_0000_u32 as i32)))
            }
            Dtype::F16 => s.round_f16(scale),
            _ => scale,
        }
    }

    #[inline(always)]
    fn bounds<S: Simd>(self, s: S, batch: &Batch) -> [S::F32; 2] {
        match self.bounds {
            Bounds::All([low, high]) => [s.splat(low), s.splat(high)],
            Bounds::Each { low, levels } => {
                let low = batch.load(s, low);
                [low, s.add(low, s.splat(levels))]
            }
        }
    }
}

/// 4-bit floats.
#[derive(Clone, Copy)]
pub(super) struct E2M1<T> {
    /// Of the scales.
    pub stored: T,
}

/// How scales of 4-bit floats are stored.
pub(super) trait Scales: Copy {
    /// The nearest that can be.
    fn nearest<S: Simd>(self, s: S, scale: S::F32) -> S::F32;

    /// What codes are multiplied by where this is stored.
    #[inline(always)]
    fn used<S: Simd>(self, _: S, stored: S::F32) -> S::F32 {
        stored
    }
}

impl<T: Scales> Grid for E2M1<T> {
    const FITS: bool = false;

    #[inline(always)]
    fn folded<S: Simd>(self, s: S, v: S::F32) -> S::F32 {
        s.abs(v)
    }

    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, v: S::F32, _: [S::F32; 2]) -> S::F32 {
        nearest_e2m1(s, v)
    }

    #[inline(always)]
    fn stored<S: Simd>(self, s: S, scale: S::F32) -> S::F32 {
        self.stored.nearest(s, scale)
    }

    #[inline(always)]
    fn used<S: Simd>(self, s: S, stored: S::F32) -> S::F32 {
        self.stored.used(s, stored)
    }
}

/// As powers of two.
#[derive(Clone, Copy)]
pub(super) struct Powers;

impl Scales for Powers {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, scale: S::F32) -> S::F32 {
        // Those that a byte of exponent holds but for 255.
        s.min(s.max(scale, s.splat(f32::from_bits(0x0040_0000))), s.splat(f32::from_bits(0x7f00_0000)))
    }
}

/// As 8-bit floats (E4M3), to be divided by what a tensor's scales have in common.
#[derive(Clone, Copy)]
pub(super) struct Quotients {
    pub divisor: f32,
}

impl Scales for Quotients {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, scale: S::F32) -> S::F32 {
        // Below 2^-6 numbers are multiples of 2^-9, and zero is no scale.
        let step = s.splat(1.0 / 512.0);
        let small = s.max(s.mul(s.round_even(s.mul(scale, s.splat(512.0))), step), step);
        let bits = s.to_bits(scale);
        let odd = s.and_i32(s.shr_i32::<20>(bits), s.splat_i32(1));
        let rounded = s.add_i32(bits, s.add_i32(odd, s.splat_i32(0x0007_ffff)));
        let normal = s.from_bits(s.and_i32(rounded, s.splat_i32(0xfff0_0000_u32 as i32)));
        let is_small = s.lt(scale, s.splat(1.0 / 64.0));
        s.min(s.select(is_small, small, normal), s.splat(448.0))
    }

    #[inline(always)]
    fn used<S: Simd>(self, s: S, stored: S::F32) -> S::F32 {
        s.div(stored, s.splat(self.divisor))
    }
}

/// The nearest of 0, 0.5, 1, 1.5, 2, 3, 4 and 6 to a positive number.
#[inline(always)]
fn nearest_e2m1<S: Simd>(s: S, v: S::F32) -> S::F32 {
    let magnitude = s.min(v, s.splat(6.0));
    // They lie 0.5 apart below 2, then half the power of two below them. So far apart are numbers that begin with this:
    let power = s.and_i32(s.to_bits(s.max(magnitude, s.splat(1.0))), s.splat_i32(0x7f80_0000));
    let large = s.mul(s.from_bits(power), s.splat(1.5 * 4_194_304.0));
    s.sub(s.add(magnitude, large), large)
}
