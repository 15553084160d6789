//! What Q3_K and Q6_K share: super-blocks of 256 weights in 16 sub-blocks that have a scale of either sign each,
//! `x ~ d * scale * level`, where the scale is a small integer itself.
//!
//! A lane holds one super-block.

use super::batch;
use crate::search::{Symmetric, SymmetricFit, unsigned_level};
use crate::simd::Simd;

/// Weights of a super-block.
pub(super) const LEN: usize = 256;
/// Sub-blocks of a super-block.
pub(super) const SUBS: usize = 16;
/// Weights of a sub-block.
pub(super) const SUB_LEN: usize = 16;

/// The super-block of each lane, or the importance of its columns.
pub(super) type Rows<'a> = batch::LaneRows<'a, LEN>;

/// The weights, or importances, of a sub-block.
#[inline(always)]
pub(super) fn sub_block<S: Simd>(s: S, rows: &Rows, sub: usize) -> [S::F32; SUB_LEN] {
    let mut x = [s.splat(0.0); SUB_LEN];
    batch::load(s, rows, SUB_LEN * sub, &mut x);
    x
}

/// Searches the scale of numbers `x` with weights `w`; `wx` is room for their products. See [`Symmetric`] for `finite`.
#[inline(always)]
pub(super) fn fit<S: Simd, const N: usize, const HALF: i32>(
    s: S,
    x: &[S::F32; N],
    w: &[S::F32; N],
    wx: &mut [S::F32; N],
    finite: bool,
) -> SymmetricFit<S, HALF> {
    for (wx, (&w, &x)) in wx.iter_mut().zip(w.iter().zip(x)) {
        *wx = s.mul(w, x);
    }
    Symmetric::<S, N, HALF> { x, w, wx, finite }.search(s)
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
