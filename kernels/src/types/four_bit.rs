//! What IQ4_NL and IQ4_XS share: groups of 32 weights with 4-bit levels whose values are not spaced evenly.
//!
//! 16 bytes hold the levels `i` (low) and `i + 16` (high) of a group.

use super::batch::{Batch, load};
use super::decode::{self, floats, nibbles};
use crate::search::{Nonlinear, VALUES, nearest_level};
use crate::simd::Simd;

/// Weights of a group.
pub(super) const GROUP: usize = 32;

/// Searches the scale of the group of weights `x` that is each lane's block. `variance` is twice the mean square of the
/// block's or the super-block's weights; `w` is room for what the weights count.
#[inline(always)]
pub(super) fn scale<S: Simd>(
    s: S,
    batch: &Batch,
    x: &[S::F32; GROUP],
    variance: S::F32,
    w: &mut [S::F32; GROUP],
) -> S::F32 {
    match batch.importance {
        None => {
            for (w, &x) in w.iter_mut().zip(x) {
                *w = s.mul(x, x);
            }
        }
        Some(importance) => {
            load(s, &batch.importance_rows::<GROUP>(importance), 0, w);
            for (w, &x) in w.iter_mut().zip(x) {
                *w = s.mul(*w, s.sqrt(s.add(variance, s.mul(x, x))));
            }
        }
    }
    Nonlinear { x, w }.search(s)
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
