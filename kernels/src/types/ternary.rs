//! What TQ1_0 and TQ2_0 share: super-blocks of 256 weights with one scale, `x ~ d * level`, levels -1, 0 and 1.

use crate::simd::Simd;

/// Weights of a super-block.
pub(super) const LEN: usize = 256;

/// The greatest magnitude as the scale, and its inverse.
#[inline(always)]
pub(super) fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
    let zero = s.splat(0.0);
    let inverse = s.select(s.eq(magnitude, zero), zero, s.div(s.splat(1.0), magnitude));
    (s.to_f16_bits(magnitude), inverse)
}

/// The level plus 1. The inverse of a denormal may be infinite: what does not fit becomes level 0, as in the reference.
#[inline(always)]
pub(super) fn level<S: Simd>(s: S, x: S::F32, inverse: S::F32) -> S::I32 {
    s.add_i32(s.round_away_i32(s.mul(x, inverse)), s.splat_i32(1))
}
