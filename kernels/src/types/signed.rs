//! What Q3_K and Q6_K share: super-blocks of 256 weights in 16 sub-blocks that have a scale of either sign each,
//! `x ~ d * scale * level`, where the scale is a small integer itself.
//!
//! A lane holds one super-block.

use super::batch::Batch;
use crate::search::{Symmetric, SymmetricFit, unsigned_level};
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
    s.transpose(
        batch.weights,
        #[inline(always)]
        |lane| batch.start(lane) + SUB_LEN * sub,
        &mut x,
    );
    x
}

/// The importance of a sub-block's columns.
#[inline(always)]
pub(super) fn importance<S: Simd>(s: S, batch: &Batch, importance: &[f32], sub: usize) -> [S::F32; SUB_LEN] {
    let mut w = [s.splat(0.0); SUB_LEN];
    s.transpose(
        importance,
        #[inline(always)]
        |lane| batch.importance_start(lane) + SUB_LEN * sub,
        &mut w,
    );
    w
}

/// Searches the scale of numbers `x` with weights `w`; see [`Symmetric`] for `finite`.
#[inline(always)]
pub(super) fn fit<S: Simd, const N: usize, const HALF: i32>(
    s: S,
    x: &[S::F32; N],
    w: &[S::F32; N],
    finite: bool,
) -> SymmetricFit<S, HALF> {
    let mut wx = *w;
    for (w, &x) in wx.iter_mut().zip(x) {
        *w = s.mul(*w, x);
    }
    Symmetric::<S, N, HALF> { x, w, wx: &wx, finite }.search(s)
}

/// The final levels of the sub-block of weights `x`, whose scale as read from the block will be `scale`. Where that is
/// zero, the levels that the search ended with remain, and these are not defined.
#[inline(always)]
pub(super) fn levels<S: Simd, const HALF: i32>(s: S, x: &[S::F32; SUB_LEN], scale: S::F32) -> [S::I32; SUB_LEN] {
    let mut levels = [s.splat_i32(0); SUB_LEN];
    for (level, &x) in levels.iter_mut().zip(x) {
        *level = unsigned_level::<S, HALF>(s, s.div(x, scale));
    }
    levels
}
