//! What Q4_0 and Q5_0 share: 32 weights with one scale of either sign, `x ~ d * level`.
//!
//! A lane holds one block.

use super::batch::Batch;
use super::rows::{self, LEN, Weighed};
use super::signed::fit;
use crate::search::extreme;
use crate::simd::Simd;

/// The scale as f16 bits, and the levels as stored: plus `HALF`.
pub(super) struct Centred<S: Simd> {
    pub d: S::I32,
    pub levels: [S::I32; LEN],
}

/// The scale maps the weight of greatest magnitude to `-HALF`; levels round half up.
#[inline(always)]
pub(super) fn plain<S: Simd, const HALF: i32>(s: S, batch: &Batch) -> Centred<S> {
    let x = rows::weights(s, batch);
    let zero = s.splat(0.0);
    let [extreme, _] = extreme(s, &x);
    let d = s.div(extreme, s.splat(-HALF as f32));
    let inverse = s.select(s.eq(d, zero), zero, s.div(s.splat(1.0), d));
    // The inverse of a denormal may be infinite. The reference then converts infinities and NaN to integers, which gives
    // the number whose lowest byte is 0.
    let infinite = s.gt(s.abs(inverse), s.splat(f32::MAX));
    let mut levels = [s.splat_i32(0); LEN];
    for (level, &x) in levels.iter_mut().zip(&x) {
        let v = s.select(infinite, zero, s.add(s.mul(x, inverse), s.splat(HALF as f32 + 0.5)));
        *level = s.min_i32(s.trunc_i32(v), s.splat_i32(2 * HALF - 1));
    }
    Centred { d: s.to_f16_bits(d), levels }
}

/// A block per lane: its weights `x`, what they count, and room for the products of both.
pub(super) struct Numbers<S: Simd> {
    x: [S::F32; LEN],
    w: [S::F32; LEN],
    wx: [S::F32; LEN],
}

impl<S: Simd> Weighed<S> for Numbers<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        let [x, w, wx] = [[s.splat(0.0); LEN]; 3];
        Numbers { x, w, wx }
    }

    #[inline(always)]
    fn numbers(&mut self) -> [&mut [S::F32; LEN]; 2] {
        [&mut self.x, &mut self.w]
    }
}

/// The scale that a search finds, and the levels that it was fitted to.
#[inline(always)]
pub(super) fn weighted<S: Simd, const HALF: i32>(s: S, Numbers { x, w, wx }: &mut Numbers<S>) -> Centred<S> {
    let fit = fit::<S, LEN, HALF>(s, x, w, wx, true);
    let mut levels = [s.splat_i32(0); LEN];
    for (level, &x) in levels.iter_mut().zip(&*x) {
        *level = fit.level(s, x);
    }
    Centred { d: s.to_f16_bits(fit.scale), levels }
}
