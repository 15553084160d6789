//! Sums in the order of the elements.

use super::batch::sixteen;
use crate::simd::{Simd, TILE};

/// The sums of the squares of each lane's row, of `len` weights, a multiple of 16.
#[inline(always)]
pub(super) fn sum_of_squares<'a, S: Simd>(s: S, len: usize, row: impl Fn(usize) -> &'a [f32]) -> S::F32 {
    let mut sum = s.splat(0.0);
    for at in (0..len).step_by(TILE) {
        s.columns(
            #[inline(always)]
            |lane| sixteen(row(lane), at),
            #[inline(always)]
            |_, x| sum = s.add(sum, s.mul(x, x)),
        );
    }
    sum
}
