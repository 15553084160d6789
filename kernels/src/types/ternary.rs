//! What TQ1_0 and TQ2_0 share: super-blocks of 256 weights with one scale, `x ~ d * level`, levels -1, 0 and 1.

use super::decode;
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

/// Writes the weights of levels plus 1.
#[inline(always)]
pub(super) fn decode<S: Simd>(s: S, levels: &[u8; LEN], d: S::F32, out: &mut [f32; LEN]) {
    // There are four products only, one of which no quantizer writes. Made for a vector's lanes, of which no level has more.
    let mut products = [0.0; 16];
    decode::centred(s, &[0, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1, d, &mut products);
    let weights: &[f32; 8] = products.first_chunk().expect("8 of 16");
    for (levels, out) in levels.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        s.store(s.lookup(weights, s.load_u8(levels)), out);
    }
}
