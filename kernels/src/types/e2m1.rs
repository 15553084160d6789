//! What MXFP4 and NVFP4 share: levels that are 4-bit floats, E2M1 of the OCP microscaling formats.
//!
//! A level's highest bit is its sign, the others number the magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6. They are doubled here, to
//! be whole, and so are halved the scales that they belong to.

use super::decode::{self, floats, nibbles};
use crate::simd::Simd;

/// The doubled values of levels (`kvalues_mxfp4`).
const VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The level nearest to `x`, of two equally near ones that of lesser magnitude; never a negative zero.
///
/// Multiples of `unit` by a value or by a point half-way between two must be exact, and `x` not be so large that its
/// differences to them are rounded to equal ones.
#[inline(always)]
pub(super) fn nearest<S: Simd>(s: S, x: S::F32, unit: S::F32) -> S::I32 {
    let magnitude = s.abs(x);
    let mut level = s.splat_i32(0);
    for middle in [0.5, 1.5, 2.5, 3.5, 5.0, 7.0, 10.0] {
        let beyond = s.gt(magnitude, s.mul(s.splat(middle), unit));
        level = s.add_one_i32(beyond, level);
    }
    signed(s, x, level)
}

/// The level of a number `x` that is far beyond the largest value.
///
/// The reference takes the level whose difference is least, of equal ones the first; and the farther away `x` is, the more
/// differences are rounded to the same number.
#[inline(always)]
pub(super) fn first_nearest<S: Simd>(s: S, x: S::F32, unit: S::F32) -> S::I32 {
    let magnitude = s.abs(x);
    let least = s.sub(magnitude, s.mul(s.splat(12.0), unit));
    let mut level = s.splat_i32(0);
    for value in &VALUES[..7] {
        let difference = s.sub(magnitude, s.mul(s.splat(f32::from(*value)), unit));
        level = s.add_one_i32(s.gt(difference, least), level);
    }
    signed(s, x, level)
}

/// The number of a magnitude with the sign of `x`, unless it is zero.
#[inline(always)]
fn signed<S: Simd>(s: S, x: S::F32, magnitude: S::I32) -> S::I32 {
    let sign = s.shl_i32::<3>(s.shr_i32::<31>(s.to_bits(x)));
    let zero = s.splat_i32(0);
    s.or_i32(magnitude, s.select_i32(s.eq_i32(magnitude, zero), zero, sign))
}

/// Levels as bytes: byte `i` of the result holds the levels `i` (low) and `N / 2 + i` (high) of `N`.
#[inline(always)]
pub(super) fn pack(levels: &[u8], bytes: &mut [u8]) {
    let (low, high) = levels.split_at(bytes.len());
    for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
        *byte = low | high << 4;
    }
}

/// The weights of `2 N` levels packed like that.
#[inline(always)]
pub(super) fn unpack<S: Simd, const N: usize>(s: S, bytes: &[u8; N], unit: S::F32, out: &mut [f32]) {
    static FLOATS: [f32; 16] = floats(&VALUES);
    decode::looked_up(s, nibbles(bytes).as_flattened(), &FLOATS, unit, out);
}
