//! Types whose scales follow from the greatest magnitude of a group of weights alone: nothing is searched, and importance
//! has no influence.
//!
//! Maxima do not depend on the order, so here a vector holds weights of one group. Scales are worked out for as many
//! groups at a time as a vector has lanes.

use crate::Level;
use crate::simd::{Kernel, MOST_LANES, Simd};
use core::marker::PhantomData;

/// Such an encoding.
pub(super) trait ByMagnitude {
    /// Weights of a group, which share a scale: a multiple of 16, at most 256.
    const GROUP: usize;
    /// Groups in a block.
    const GROUPS: usize;
    /// Bytes per block.
    const BYTES: usize;

    /// From the groups' greatest magnitudes, one per lane: the scale as stored and the number that [`level`](Self::level)
    /// gets.
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32);

    /// The levels of weights, as the lowest bytes; `unit` is the group's second number, `magnitude` its greatest one.
    fn level<S: Simd>(s: S, x: S::F32, unit: S::F32, magnitude: f32) -> S::I32;

    /// Writes a group, `scale` and `levels`, to its places in the block.
    fn store(block: &mut [u8], group: usize, scale: u32, levels: &[u8]);
}

/// Quantizes whole blocks.
pub(super) fn quantize<E: ByMagnitude>(level: Level, src: &[f32], dst: &mut [u8]) {
    let len = E::GROUP * E::GROUPS;
    assert!(src.len().is_multiple_of(len) && dst.len() == src.len() / len * E::BYTES, "room for the blocks");
    level.run(Quantize::<E> { src, dst, encoding: PhantomData });
}

struct Quantize<'a, E> {
    src: &'a [f32],
    dst: &'a mut [u8],
    encoding: PhantomData<E>,
}

impl<E: ByMagnitude> Kernel for Quantize<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Whole blocks, as many as have a vector's worth of groups.
        let blocks = S::LANES.div_ceil(E::GROUPS);
        let batches = self.src.chunks(blocks * E::GROUPS * E::GROUP).zip(self.dst.chunks_mut(blocks * E::BYTES));
        for (src, dst) in batches {
            let mut magnitudes = [0.0; MOST_LANES];
            for (magnitude, group) in magnitudes.iter_mut().zip(src.chunks_exact(E::GROUP)) {
                let mut lanes = s.splat(0.0);
                for x in group.chunks_exact(S::LANES) {
                    lanes = s.max(lanes, s.abs(s.load(x)));
                }
                *magnitude = s.reduce_max(lanes);
            }
            let (mut scales, mut units) = ([0; MOST_LANES], [0.0; MOST_LANES]);
            for at in (0..blocks * E::GROUPS).step_by(S::LANES) {
                let (scale, unit) = E::scale(s, s.load(&magnitudes[at..]));
                s.store_i32(scale, &mut scales[at..]);
                s.store(unit, &mut units[at..]);
            }
            let mut groups = src.chunks_exact(E::GROUP).enumerate();
            for block in dst.chunks_exact_mut(E::BYTES) {
                for (group, (i, weights)) in groups.by_ref().take(E::GROUPS).enumerate() {
                    let mut levels = [0; 256];
                    let unit = s.splat(units[i]);
                    for (x, levels) in weights.chunks_exact(S::LANES).zip(levels.chunks_exact_mut(S::LANES)) {
                        s.store_u8(E::level(s, s.load(x), unit, magnitudes[i]), levels);
                    }
                    E::store(block, group, scales[i] as u32, &levels[..E::GROUP]);
                }
            }
        }
    }
}
