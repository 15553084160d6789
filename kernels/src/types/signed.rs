//! What Q3_K and Q6_K share: super-blocks of 256 weights in 16 sub-blocks that have a scale of either sign each,
//! `x ~ d * scale * level`, where the scale is a small integer itself.
//!
//! A lane holds one super-block.

use super::batch::Batch;
use crate::search::unsigned_level;
use crate::simd::Simd;

/// Weights of a super-block.
pub(super) const LEN: usize = 256;
/// Sub-blocks of a super-block.
pub(super) const SUBS: usize = 16;
/// Weights of a sub-block.
pub(super) const SUB_LEN: usize = 16;

/// The weights of a sub-block.
#[inline(always)]
pub(super) fn weights<S: Simd>(s: S, batch: &Batch, sub: usize) -> [S::F32; SUB_LEN] {
    let mut x = [s.splat(0.0); SUB_LEN];
    s.transpose(batch.weights, |lane| batch.start(lane) + SUB_LEN * sub, &mut x);
    x
}

/// The importance of a sub-block's columns.
#[inline(always)]
pub(super) fn importance<S: Simd>(s: S, batch: &Batch, importance: &[f32], sub: usize) -> [S::F32; SUB_LEN] {
    let mut w = [s.splat(0.0); SUB_LEN];
    s.transpose(importance, |lane| batch.importance_start(lane) + SUB_LEN * sub, &mut w);
    w
}

/// The scale of greatest magnitude, the first one if there are several, and its magnitude.
#[inline(always)]
pub(super) fn extreme<S: Simd>(s: S, scales: &[S::F32; SUBS]) -> [S::F32; 2] {
    let (mut magnitude, mut extreme) = (s.splat(0.0), s.splat(0.0));
    for &scale in scales {
        let larger = s.gt(s.abs(scale), magnitude);
        magnitude = s.select(larger, s.abs(scale), magnitude);
        extreme = s.select(larger, scale, extreme);
    }
    [extreme, magnitude]
}

/// The final levels of the sub-block of weights `x`, whose scale as read from the block will be `scale`. Where that is
/// zero, the levels that the search ended with remain.
#[inline(always)]
pub(super) fn levels<S: Simd, const HALF: i32>(
    s: S,
    x: &[S::F32; SUB_LEN],
    scale: S::F32,
    found: impl Fn(usize) -> S::I32,
) -> [S::I32; SUB_LEN] {
    let levels = x.map(|x| unsigned_level::<S, HALF>(s, s.div(x, scale)));
    let void = s.eq(scale, s.splat(0.0));
    if !s.any(void) {
        return levels;
    }
    core::array::from_fn(|i| s.select_i32(void, found(i), levels[i]))
}
