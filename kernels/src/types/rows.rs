//! Blocks of 32 weights whose search with importance wants to know the mean square of the whole row.

use super::batch::{self, Batch, Encode, load};
use super::sums::sum_of_squares;
use crate::Level;
use crate::simd::{Kernel, MOST_LANES, Simd, Twice};
use core::marker::PhantomData;

/// Weights per block.
pub(super) const LEN: usize = 32;

/// An encoding whose form without importance is [`Encode`].
pub(super) trait EncodeWeighted: Encode {
    /// Vectors go two in step.
    const IN_STEP: bool;
    /// What the search works with.
    type Weighed<S: Simd>: Weighed<S>;

    /// Writes the blocks of the batch to their places in `dst`, the bytes of all blocks.
    fn encode_weighted<S: Simd>(s: S, batch: &Batch, weighed: &mut Self::Weighed<S>, dst: &mut [u8]);
}

/// A block per lane, what its weights count, and room to work in.
pub(super) trait Weighed<S: Simd> {
    /// Zeros.
    fn new(s: S) -> Self;

    /// The weights, and what they count.
    fn numbers(&mut self) -> [&mut [S::F32; LEN]; 2];
}

/// Quantizes rows, batch by batch.
pub(super) fn quantize<E: EncodeWeighted>(
    level: Level,
    src: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) {
    match importance {
        None => batch::quantize::<E>(level, src, columns, None, dst),
        Some(importance) => {
            assert_eq!(importance.len(), columns, "one importance per column");
            assert!(columns.is_multiple_of(LEN) && src.len().is_multiple_of(columns), "whole blocks and rows");
            assert_eq!(src.len() / LEN * E::BYTES, dst.len(), "room for the blocks");
            level.run(Weighted::<E> { src, columns, importance, dst, encoding: PhantomData });
        }
    }
}

struct Weighted<'a, E> {
    src: &'a [f32],
    columns: usize,
    importance: &'a [f32],
    dst: &'a mut [u8],
    encoding: PhantomData<E>,
}

impl<E: EncodeWeighted> Kernel for Weighted<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if E::IN_STEP { self.weighted(Twice(s)) } else { self.weighted(s) }
    }
}

impl<E: EncodeWeighted> Weighted<'_, E> {
    #[inline(always)]
    fn weighted<S: Simd>(self, s: S) {
        let (columns, blocks_per_row) = (self.columns, self.columns / LEN);
        // As many rows as there are lanes, so that the sums over rows are made in lanes too.
        let groups = self.src.chunks(S::LANES * columns).zip(self.dst.chunks_mut(S::LANES * blocks_per_row * E::BYTES));
        let mut weighed = E::Weighed::<S>::new(s);
        for (weights, dst) in groups {
            let rows = weights.len() / columns;
            let sums = sum_of_squares(
                s,
                columns,
                #[inline(always)]
                |lane| &weights[lane.min(rows - 1) * columns..][..columns],
            );
            let mut mean_squares = [0.0; 2 * MOST_LANES];
            s.store(s.div(sums, s.splat(columns as f32)), &mut mean_squares);
            let count = weights.len() / LEN;
            for first in (0..count).step_by(S::LANES) {
                let importance = Some(self.importance);
                let batch = Batch::new(s, weights, importance, LEN, blocks_per_row, [first, count]);
                let mut of_lanes = [0.0; 2 * MOST_LANES];
                for (lane, mean_square) in of_lanes[..S::LANES].iter_mut().enumerate() {
                    *mean_square = mean_squares[batch.row(lane)];
                }
                let mean_square = s.load(&of_lanes);
                let [x, w] = weighed.numbers();
                load(s, &batch.importance_rows::<LEN>(self.importance), 0, w);
                load(s, &batch.rows::<LEN>(), 0, x);
                for (w, &x) in w.iter_mut().zip(&*x) {
                    *w = s.mul(*w, s.sqrt(s.add(mean_square, s.mul(x, x))));
                }
                E::encode_weighted(s, &batch, &mut weighed, dst);
            }
        }
    }
}

/// The weights of each lane's block.
#[inline(always)]
pub(super) fn weights<S: Simd>(s: S, batch: &Batch) -> [S::F32; LEN] {
    let mut x = [s.splat(0.0); LEN];
    load(s, &batch.rows::<LEN>(), 0, &mut x);
    x
}
