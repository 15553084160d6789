//! Sums in the order of the elements.

use crate::simd::Simd;

/// The sums of the squares of `len` weights, a multiple of 16, that start where `start` says for each lane.
#[inline(always)]
pub(super) fn sum_of_squares<S: Simd>(s: S, weights: &[f32], start: impl Fn(usize) -> usize, len: usize) -> S::F32 {
    let mut sum = s.splat(0.0);
    for at in (0..len).step_by(16) {
        let mut x = [s.splat(0.0); 16];
        s.transpose(
            weights,
            #[inline(always)]
            |lane| start(lane) + at,
            &mut x,
        );
        for x in x {
            sum = s.add(sum, s.mul(x, x));
        }
    }
    sum
}
