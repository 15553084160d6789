//! Weights to small floats.

use super::{Groups, each};
use crate::simd::{Kernel, Level, Simd};

/// The 8-bit floats (`float8_e4m3fn`: 4 bits of exponent, 3 of mantissa) nearest to `x / scale`, halves to even ones; what
/// is beyond the largest, 448, becomes that.
///
/// `scales` has a number other than zero for each group.
///
/// # Panics
/// If a length does not fit.
pub fn e4m3(level: Level, groups: Groups<'_>, scales: &[f32], dst: &mut [u8]) {
    check(&groups, scales, dst);
    level.run(Floats { groups, scales, dst, float: E4M3, by: Divisors });
}

/// The same nearest to `x * factor`.
///
/// # Panics
/// If a length does not fit.
pub fn e4m3_times(level: Level, groups: Groups<'_>, factors: &[f32], dst: &mut [u8]) {
    check(&groups, factors, dst);
    level.run(Floats { groups, scales: factors, dst, float: E4M3, by: Factors });
}

/// What becomes of a weight half-way between two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ties {
    /// That of even number.
    Even,
    /// That of lesser magnitude.
    Lesser,
}

/// The numbers of the 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, then their opposites) nearest to `x / scale`; one per
/// byte.
///
/// `scales` has a number other than zero for each group.
///
/// # Panics
/// If a length does not fit.
pub fn e2m1(level: Level, groups: Groups<'_>, scales: &[f32], ties: Ties, dst: &mut [u8]) {
    check(&groups, scales, dst);
    match ties {
        Ties::Even => level.run(Floats { groups, scales, dst, float: E2M1::<true>, by: Divisors }),
        Ties::Lesser => level.run(Floats { groups, scales, dst, float: E2M1::<false>, by: Divisors }),
    }
}

fn check(groups: &Groups<'_>, scales: &[f32], dst: &[u8]) {
    assert_eq!(groups.count(), scales.len(), "one scale for each group");
    assert_eq!(groups.weights.len(), dst.len(), "room for the codes");
}

struct Floats<'a, F, B> {
    groups: Groups<'a>,
    scales: &'a [f32],
    dst: &'a mut [u8],
    float: F,
    by: B,
}

/// What becomes of a weight before it is rounded.
trait By: Copy {
    fn scale<S: Simd>(self, s: S, x: S::F32, by: S::F32) -> S::F32;
}

#[derive(Clone, Copy)]
struct Divisors;
#[derive(Clone, Copy)]
struct Factors;

impl By for Divisors {
    #[inline(always)]
    fn scale<S: Simd>(self, s: S, x: S::F32, by: S::F32) -> S::F32 {
        s.div(x, by)
    }
}

impl By for Factors {
    #[inline(always)]
    fn scale<S: Simd>(self, s: S, x: S::F32, by: S::F32) -> S::F32 {
        s.mul(x, by)
    }
}

trait Float: Copy {
    /// The bits of the nearest number.
    fn nearest<S: Simd>(self, s: S, v: S::F32) -> S::I32;
}

#[derive(Clone, Copy)]
struct E4M3;
#[derive(Clone, Copy)]
struct E2M1<const EVEN: bool>;

impl Float for E4M3 {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, v: S::F32) -> S::I32 {
        let magnitude = s.min(s.abs(v), s.splat(448.0));
        // Below 2^-6 numbers are multiples of 2^-9.
        let small = s.lt(magnitude, s.splat(1.0 / 64.0));
        let denormal = s.trunc_i32(s.round_even(s.mul(s.min(magnitude, s.splat(1.0 / 64.0)), s.splat(512.0))));
        // Of others 3 bits of the mantissa stay: half a unit of the last one is added, less one where it is even.
        let bits = s.to_bits(magnitude);
        let odd = s.and_i32(s.shr_i32::<20>(bits), s.splat_i32(1));
        let rounded = s.add_i32(bits, s.add_i32(odd, s.splat_i32(0x0007_ffff)));
        let normal = s.sub_i32(s.shr_i32::<20>(rounded), s.splat_i32((127 - 7) << 3));
        let sign = s.shl_i32::<7>(s.shr_i32::<31>(s.to_bits(v)));
        s.or_i32(s.select_i32(small, denormal, normal), sign)
    }
}

impl<const EVEN: bool> Float for E2M1<EVEN> {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, v: S::F32) -> S::I32 {
        let magnitude = s.abs(v);
        let mut number = s.splat_i32(0);
        for middle in [0.25, 1.25, 2.5, 5.0] {
            number = s.add_one_i32(s.gt(magnitude, s.splat(middle)), number);
        }
        // The middle belongs to the one of even number, which here is the larger one.
        for middle in [0.75, 1.75, 3.5] {
            let middle = s.splat(middle);
            let beyond = if EVEN { s.ge(magnitude, middle) } else { s.gt(magnitude, middle) };
            number = s.add_one_i32(beyond, number);
        }
        let sign = s.shl_i32::<3>(s.shr_i32::<31>(s.to_bits(v)));
        s.or_i32(number, sign)
    }
}

impl<F: Float, B: By> Kernel for Floats<'_, F, B> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let groups = self.groups.iter().zip(self.dst.chunks_exact_mut(self.groups.group));
        for ((group, dst), &scale) in groups.zip(self.scales) {
            let scale = s.splat(scale);
            each(
                s,
                group,
                dst,
                #[inline(always)]
                |x| self.float.nearest(s, self.by.scale(s, x, scale)),
            );
        }
    }
}
