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
    level.run(Floats { groups, scales, dst, float: E4M3 });
}

/// The numbers of the 4-bit floats (E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, then their opposites) nearest to `x / scale`, halves to
/// those of even number; one per byte.
///
/// `scales` has a number other than zero for each group.
///
/// # Panics
/// If a length does not fit.
pub fn e2m1(level: Level, groups: Groups<'_>, scales: &[f32], dst: &mut [u8]) {
    check(&groups, scales, dst);
    level.run(Floats { groups, scales, dst, float: E2M1 });
}

fn check(groups: &Groups<'_>, scales: &[f32], dst: &[u8]) {
    assert_eq!(groups.count(), scales.len(), "one scale for each group");
    assert_eq!(groups.weights.len(), dst.len(), "room for the codes");
}

struct Floats<'a, F> {
    groups: Groups<'a>,
    scales: &'a [f32],
    dst: &'a mut [u8],
    float: F,
}

trait Float: Copy {
    /// The bits of the nearest number.
    fn nearest<S: Simd>(self, s: S, v: S::F32) -> S::I32;
}

#[derive(Clone, Copy)]
struct E4M3;
#[derive(Clone, Copy)]
struct E2M1;

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

impl Float for E2M1 {
    #[inline(always)]
    fn nearest<S: Simd>(self, s: S, v: S::F32) -> S::I32 {
        let magnitude = s.abs(v);
        let mut number = s.splat_i32(0);
        // The middle between two numbers belongs to the one of even number.
        for middle in [0.25, 1.25, 2.5, 5.0] {
            number = s.add_one_i32(s.gt(magnitude, s.splat(middle)), number);
        }
        for middle in [0.75, 1.75, 3.5] {
            number = s.add_one_i32(s.ge(magnitude, s.splat(middle)), number);
        }
        let sign = s.shl_i32::<3>(s.shr_i32::<31>(s.to_bits(v)));
        s.or_i32(number, sign)
    }
}

impl<F: Float> Kernel for Floats<'_, F> {
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
                |x| self.float.nearest(s, s.div(x, scale)),
            );
        }
    }
}
