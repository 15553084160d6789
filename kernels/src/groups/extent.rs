//! How far the weights of a group reach.

use super::{Groups, MOST_LANES};
use crate::simd::{Kernel, Level, Simd};

/// The greatest magnitude of every group.
///
/// # Panics
/// If `dst` does not have one element for each group.
pub fn max_abs(level: Level, groups: Groups<'_>, dst: &mut [f32]) {
    assert_eq!(groups.count(), dst.len(), "one for each group");
    level.run(MaxAbs { groups, dst });
}

/// The least and the greatest weight of every group.
///
/// # Panics
/// If `least` or `greatest` does not have one element for each group.
pub fn min_max(level: Level, groups: Groups<'_>, least: &mut [f32], greatest: &mut [f32]) {
    assert!(groups.count() == least.len() && groups.count() == greatest.len(), "one for each group");
    level.run(MinMax { groups, least, greatest });
}

struct MaxAbs<'a> {
    groups: Groups<'a>,
    dst: &'a mut [f32],
}

impl Kernel for MaxAbs<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (group, dst) in self.groups.iter().zip(self.dst) {
            let mut most = s.splat(0.0);
            for vector in vectors(s, group, 0.0) {
                most = s.max(s.abs(vector), most);
            }
            *dst = s.reduce_max(most);
        }
    }
}

struct MinMax<'a> {
    groups: Groups<'a>,
    least: &'a mut [f32],
    greatest: &'a mut [f32],
}

impl Kernel for MinMax<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for ((group, least), greatest) in self.groups.iter().zip(self.least).zip(self.greatest) {
            let first = s.splat(group[0]);
            let (mut low, mut high) = (first, first);
            for vector in vectors(s, group, group[0]) {
                low = s.min(vector, low);
                high = s.max(vector, high);
            }
            *least = s.reduce_min(low);
            *greatest = s.reduce_max(high);
        }
    }
}

/// The vectors that make up a group, the last one filled up.
#[inline(always)]
fn vectors<S: Simd>(s: S, group: &[f32], filling: f32) -> impl Iterator<Item = S::F32> {
    let whole = group.chunks_exact(S::LANES);
    let rest = whole.remainder();
    let last = (!rest.is_empty()).then(
        #[inline(always)]
        || {
            let mut padded = [filling; MOST_LANES];
            padded[..rest.len()].copy_from_slice(rest);
            s.load(&padded)
        },
    );
    whole
        .map(
            #[inline(always)]
            move |vector| s.load(vector),
        )
        .chain(last)
}
