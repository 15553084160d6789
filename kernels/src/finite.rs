//! Are weights finite?
#![forbid(unsafe_code)]

use crate::simd::{Kernel, Level, Simd};

/// The index of the first weight that is an infinity or NaN.
pub fn first_non_finite(level: Level, weights: &[f32]) -> Option<usize> {
    const CHUNK: usize = 4096;
    let suspect = weights.chunks(CHUNK).position(|weights| !level.run(AllFinite { weights }))?;
    let start = suspect * CHUNK;
    weights[start..].iter().position(|weight| !weight.is_finite()).map(|at| start + at)
}

struct AllFinite<'a> {
    weights: &'a [f32],
}

impl Kernel for AllFinite<'_> {
    type Out = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let chunks = self.weights.chunks_exact(S::LANES);
        let rest = chunks.remainder();
        // Infinities and NaN are what is not less than infinity in magnitude.
        let infinity = s.splat(f32::INFINITY);
        let none = s.lt(infinity, infinity);
        let bad = chunks.fold(none, |bad, weights| s.or(bad, s.not(s.lt(s.abs(s.load(weights)), infinity))));
        !s.any(bad) && rest.iter().all(|weight| weight.is_finite())
    }
}
