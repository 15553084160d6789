//! What Q4_1 and Q5_1 share: blocks of 32 weights with a scale and a minimum, `x ~ d * level + m`.
//!
//! A lane holds one block.

use super::batch::{Batch, load};
use super::rows::weights;
use super::sums::sum_of_squares;
use crate::Level;
use crate::search::{Deviation, Room, ScaleMin};
use crate::simd::{Kernel, MOST_LANES, Simd, Twice};
use core::marker::PhantomData;

/// Weights of a block.
pub(crate) const LEN: usize = 32;

/// An encoding with a scale and a minimum.
pub(crate) trait MinBlock {
    const MAX_LEVEL: u8;
    const BYTES: usize;

    /// Writes the batch's blocks: `head` holds `d` and, in the upper half, `m` as f16 bits; levels are bytes.
    fn store<S: Simd>(s: S, batch: &Batch, head: S::I32, levels: &[S::I32; LEN], dst: &mut [u8]);
}

/// Quantizes rows.
pub(crate) fn quantize<B: MinBlock>(
    level: Level,
    src: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) {
    assert!(columns > 0 && columns.is_multiple_of(LEN) && src.len().is_multiple_of(columns), "whole blocks and rows");
    assert_eq!(src.len() / LEN * B::BYTES, dst.len(), "room for the blocks");
    assert!(importance.is_none_or(|i| i.len() == columns), "one importance per column");
    level.run(Rows::<B> { src, columns, importance, dst, encoding: PhantomData });
}

struct Rows<'a, B> {
    src: &'a [f32],
    columns: usize,
    importance: Option<&'a [f32]>,
    dst: &'a mut [u8],
    encoding: PhantomData<B>,
}

impl<B: MinBlock> Kernel for Rows<'_, B> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.importance {
            None => self.plain(s),
            Some(importance) => self.weighted(Twice(s), importance),
        }
    }
}

impl<B: MinBlock> Rows<'_, B> {
    /// The range divided evenly (`quantize_row_q4_1_ref`, `quantize_row_q5_1_ref`).
    #[inline(always)]
    fn plain<S: Simd>(self, s: S) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        for batch in batches(s, self.src, self.columns) {
            let x = weights(s, &batch);
            let (mut min, mut max) = (s.splat(f32::MAX), s.splat(f32::MIN));
            for &x in &x {
                min = s.min(x, min);
                max = s.max(x, max);
            }
            let d = s.div(s.sub(max, min), s.splat(f32::from(B::MAX_LEVEL)));
            let inverse = s.select(s.eq(d, zero), zero, s.div(one, d));
            // The inverse of a denormal can be infinite. What does not fit ends as 0: C's conversion as x86 does it,
            // cut down to a byte.
            let mut levels = [s.splat_i32(0); LEN];
            for (byte, &x) in levels.iter_mut().zip(&x) {
                let level = s.trunc_i32(s.add(s.mul(s.sub(x, min), inverse), s.splat(0.5)));
                *byte = s.min_i32(s.and_i32(level, s.splat_i32(0xff)), s.splat_i32(B::MAX_LEVEL.into()));
            }
            B::store(s, &batch, head(s, d, min), &levels, self.dst);
        }
    }

    /// The search for scale and minimum (`quantize_row_q4_1_impl`, `quantize_row_q5_1_impl`).
    #[inline(always)]
    fn weighted<S: Simd>(self, s: S, importance: &[f32]) {
        const SEARCH: ScaleMin =
            ScaleMin { max_level: 0.0, first: -0.9, delta: 0.05, last: 36, deviation: Deviation::Squared };
        let search = ScaleMin { max_level: f32::from(B::MAX_LEVEL), ..SEARCH };
        // The variance is the whole row's; as many rows at a time as there are lanes.
        let rows = self.src.chunks(S::LANES * self.columns);
        let mut room = Room::<S, LEN>::new(s);
        for (rows, dst) in rows.zip(self.dst.chunks_mut(S::LANES * self.columns / LEN * B::BYTES)) {
            let variances = variances(s, rows, self.columns);
            for batch in batches(s, rows, self.columns) {
                let [x, w] = room.numbers();
                load(s, &batch.rows::<LEN>(), 0, x);
                load(s, &batch.importance_rows::<LEN>(importance), 0, w);
                let mut variance = [0.0; 2 * MOST_LANES];
                for (lane, variance) in variance[..S::LANES].iter_mut().enumerate() {
                    *variance = variances[batch.row(lane)];
                }
                let variance = s.load(&variance);
                for (w, &x) in w.iter_mut().zip(&*x) {
                    *w = s.mul(*w, s.sqrt(s.add(variance, s.mul(x, x))));
                }
                let fit = search.search(s, &mut room);
                let [x, _] = room.numbers();
                let mut levels = [s.splat_i32(0); LEN];
                for (level, &x) in levels.iter_mut().zip(&*x) {
                    *level = fit.level(s, x);
                }
                B::store(s, &batch, head(s, fit.scale, fit.min), &levels, dst);
            }
        }
    }
}

/// Batches of the blocks of these rows.
#[inline(always)]
fn batches<S: Simd>(s: S, rows: &[f32], columns: usize) -> impl Iterator<Item = Batch<'_>> {
    let (count, blocks_per_row) = (rows.len() / LEN, columns / LEN);
    (0..count).step_by(S::LANES).map(move |first| Batch::new(s, rows, None, LEN, blocks_per_row, [first, count]))
}

/// The mean square of each row; of at most as many rows as there are lanes.
#[inline(always)]
fn variances<S: Simd>(s: S, rows: &[f32], columns: usize) -> [f32; 2 * MOST_LANES] {
    let last = rows.len() / columns - 1;
    let sum = sum_of_squares(
        s,
        columns,
        #[inline(always)]
        |lane| &rows[lane.min(last) * columns..][..columns],
    );
    let mut variances = [0.0; 2 * MOST_LANES];
    s.store(s.div(sum, s.splat(columns as f32)), &mut variances);
    variances
}

/// `d` and `m` as the first word of a block.
#[inline(always)]
fn head<S: Simd>(s: S, d: S::F32, m: S::F32) -> S::I32 {
    s.or_i32(s.to_f16_bits(d), s.shl_i32::<16>(s.to_f16_bits(m)))
}
