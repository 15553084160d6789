//! What IQ4_NL and IQ4_XS share: groups of 32 weights with 4-bit levels whose values are not spaced evenly.
//!
//! 16 bytes hold the levels `i` (low) and `i + 16` (high) of a group.

use super::batch::Batch;
use super::decode::{self, floats, nibbles};
use crate::search::{Nonlinear, VALUES, nearest_level};
use crate::simd::Simd;

/// Weights of a group.
pub(super) const GROUP: usize = 32;

/// The weights that start where `start` says for each lane.
#[inline(always)]
pub(super) fn load<S: Simd>(s: S, src: &[f32], start: impl Fn(usize) -> usize) -> [S::F32; GROUP] {
    let mut x = [s.splat(0.0); GROUP];
    s.transpose(src, start, &mut x);
    x
}

/// Searches the scale of the group of weights `x` that starts at weight `at` of each lane's block. `variance` is twice the
/// mean square of the block's weights.
#[inline(always)]
pub(super) fn scale<S: Simd>(s: S, batch: &Batch, x: &[S::F32; GROUP], at: usize, variance: S::F32) -> S::F32 {
    let mut w = *x;
    match batch.importance {
        None => {
            for (w, &x) in w.iter_mut().zip(x) {
                *w = s.mul(x, x);
            }
        }
        Some(importance) => {
            w = load(
                s,
                importance,
                #[inline(always)]
                |lane| batch.importance_start(lane) + at,
            );
            for (w, &x) in w.iter_mut().zip(x) {
                *w = s.mul(*w, s.sqrt(s.add(variance, s.mul(x, x))));
            }
        }
    }
    Nonlinear { x, w: &w }.search(s)
}

/// The levels of a group, as its 16 bytes.
#[inline(always)]
pub(super) fn levels<S: Simd>(s: S, x: &[S::F32; GROUP], scale: S::F32) -> [S::I32; GROUP / 2] {
    let zero = s.splat(0.0);
    let inverse = s.select(s.eq(scale, zero), zero, s.div(s.splat(1.0), scale));
    let mut bytes = [s.splat_i32(0); GROUP / 2];
    for (i, byte) in bytes.iter_mut().enumerate() {
        let low = nearest_level(s, s.mul(inverse, x[i]));
        let high = nearest_level(s, s.mul(inverse, x[i + GROUP / 2]));
        *byte = s.or_i32(low, s.shl_i32::<4>(high));
    }
    bytes
}

/// The weights of a group's bytes.
#[inline(always)]
pub(super) fn decode<S: Simd>(s: S, bytes: &[u8; GROUP / 2], scale: S::F32, out: &mut [f32; GROUP]) {
    static FLOATS: [f32; 16] = floats(&VALUES);
    decode::looked_up(s, nibbles(bytes).as_flattened(), &FLOATS, scale, out);
}
