//! What Q4_1 and Q5_1 share: blocks of 32 weights with a scale and a minimum, `x ~ d * level + m`.
//!
//! A lane holds one block.

use super::batch::{Batch, Encode};
use super::rows::{self, EncodeWeighted, Weighed, weights};
use crate::Level;
use crate::search::{Deviation, Room, ScaleMin};
use crate::simd::Simd;
use core::marker::PhantomData;

pub(super) use super::rows::LEN;

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
    rows::quantize::<Blocks<B>>(level, src, columns, importance, dst);
}

struct Blocks<B>(PhantomData<B>);

impl<B: MinBlock> Encode for Blocks<B> {
    const LEN: usize = LEN;
    const BYTES: usize = B::BYTES;

    /// The range divided evenly (`quantize_row_q4_1_ref`, `quantize_row_q5_1_ref`).
    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let x = weights(s, batch);
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
        B::store(s, batch, head(s, d, min), &levels, dst);
    }
}

impl<B: MinBlock> EncodeWeighted for Blocks<B> {
    const IN_STEP: bool = true;
    type Weighed<S: Simd> = Room<S, LEN>;

    /// The search for scale and minimum (`quantize_row_q4_1_impl`, `quantize_row_q5_1_impl`).
    #[inline(always)]
    fn encode_weighted<S: Simd>(s: S, batch: &Batch, room: &mut Room<S, LEN>, dst: &mut [u8]) {
        const SEARCH: ScaleMin =
            ScaleMin { max_level: 0.0, first: -0.9, delta: 0.05, last: 36, deviation: Deviation::Squared };
        let search = ScaleMin { max_level: f32::from(B::MAX_LEVEL), ..SEARCH };
        let fit = search.search(s, room);
        let [x, _] = room.numbers();
        let mut levels = [s.splat_i32(0); LEN];
        for (level, &x) in levels.iter_mut().zip(&*x) {
            *level = fit.level(s, x);
        }
        B::store(s, batch, head(s, fit.scale, fit.min), &levels, dst);
    }
}

impl<S: Simd> Weighed<S> for Room<S, LEN> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Room::new(s)
    }

    #[inline(always)]
    fn numbers(&mut self) -> [&mut [S::F32; LEN]; 2] {
        self.numbers()
    }
}

/// `d` and `m` as the first word of a block.
#[inline(always)]
fn head<S: Simd>(s: S, d: S::F32, m: S::F32) -> S::I32 {
    s.or_i32(s.to_f16_bits(d), s.shl_i32::<16>(s.to_f16_bits(m)))
}
