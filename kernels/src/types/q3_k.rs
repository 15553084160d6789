//! Q3_K: 16 sub-blocks of 16 weights, 3-bit levels, 6-bit scales.
//!
//! Bytes of a block: 32 whose bit `k` is the high bit of the levels of weights `32 k + i`; 64 with the low 2 bits, of which
//! byte `i` of each half holds weights `i`, `i + 32`, `i + 64`, `i + 96` of that half from the lowest bits up; 12 of
//! scales; `d` (f16). Of the scales bytes 0 to 7 hold the low 4 bits of scales `j` (low) and `j + 8` (high), bytes 8 to 11
//! the high 2 bits of scales `j`, `j + 4`, `j + 8`, `j + 12` from the lowest bits up. Scales are stored plus 32.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use super::signed::{self, LEN, SUB_LEN, SUBS};
use super::sums::sum_of_squares;
use crate::Level;
use crate::search::{Descent, Symmetric};
use crate::simd::Simd;
use core::array::from_fn;

const BYTES: usize = 110;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q3K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q3K, BYTES, LEN>(level, src, dst);
}

struct Q3K;

/// Levels are stored plus this.
const HALF: i32 = 4;
/// Scales are stored plus this.
const SCALE_HALF: i32 = 32;

/// What the search found for one super-block per lane.
struct Found<S: Simd> {
    /// As f16 bits.
    d: S::I32,
    /// As stored.
    scales: [S::I32; SUBS],
    /// The levels that the scales were fitted to, as stored.
    levels: [[S::I32; SUB_LEN]; SUBS],
}

impl Encode for Q3K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let found = match batch.importance {
            None => plain(s, batch),
            Some(importance) => weighted(s, batch, importance),
        };
        let mut bytes = [s.splat_i32(0); BYTES];
        let (high, rest) = bytes.split_at_mut(32);
        let (low, rest) = rest.split_at_mut(64);
        // The last weights are the uppermost bits, so they go in first.
        for sub in (0..SUBS).rev() {
            let x = signed::weights(s, batch, sub);
            let scale = s.to_f32(s.sub_i32(found.scales[sub], s.splat_i32(SCALE_HALF)));
            let scale = s.mul(s.from_f16_bits(found.d), scale);
            let levels = signed::levels::<S, HALF>(s, &x, scale, |i| found.levels[sub][i]);
            let (half, at) = (sub / 8, sub % 2 * 16);
            for (high, &level) in high[at..].iter_mut().zip(&levels) {
                *high = s.or_i32(s.shl_i32::<1>(*high), s.shr_i32::<2>(level));
            }
            for (low, &level) in low[32 * half + at..].iter_mut().zip(&levels) {
                *low = s.or_i32(s.shl_i32::<2>(*low), s.and_i32(level, s.splat_i32(3)));
            }
        }
        rest[..12].copy_from_slice(&pack_scales(s, &found.scales));
        rest[12..].copy_from_slice(&[s.and_i32(found.d, s.splat_i32(0xff)), s.shr_i32::<8>(found.d)]);
        batch.store_bytes(s, &bytes, dst);
    }
}

/// Without importance.
#[inline(always)]
fn plain<S: Simd>(s: S, batch: &Batch) -> Found<S> {
    let zero = s.splat(0.0);
    let mut levels = [[s.splat_i32(0); SUB_LEN]; SUBS];
    let mut scales = [zero; SUBS];
    for (sub, (scale, levels)) in scales.iter_mut().zip(&mut levels).enumerate() {
        let found = Descent::search(s, &signed::weights(s, batch, sub), HALF as u8);
        (*scale, *levels) = (found.scale, found.levels);
    }
    let [extreme, _] = signed::extreme(s, &scales);
    let empty = s.eq(extreme, zero);
    let inverse = s.div(s.splat(-SCALE_HALF as f32), extreme);
    let scales = scales.map(|scale| {
        let scale = s.nearest_i32(s.mul(inverse, scale));
        let scale = s.max_i32(s.min_i32(scale, s.splat_i32(SCALE_HALF - 1)), s.splat_i32(-SCALE_HALF));
        s.select_i32(empty, s.splat_i32(0), s.add_i32(scale, s.splat_i32(SCALE_HALF)))
    });
    let d = s.to_f16_bits(s.select(empty, zero, s.div(s.splat(1.0), inverse)));
    Found { d, scales, levels }
}

/// With importance.
#[inline(always)]
fn weighted<S: Simd>(s: S, batch: &Batch, importance: &[f32]) -> Found<S> {
    let zero = s.splat(0.0);
    let variance =
        s.div(s.mul(s.splat(2.0), sum_of_squares(s, batch.weights, |l| batch.start(l), LEN)), s.splat(LEN as f32));
    let mut levels = [[s.splat_i32(0); SUB_LEN]; SUBS];
    let (mut scales, mut totals) = ([zero; SUBS], [zero; SUBS]);
    for sub in 0..SUBS {
        let x = signed::weights(s, batch, sub);
        let mut w = signed::importance(s, batch, importance, sub);
        for (w, &x) in w.iter_mut().zip(&x) {
            *w = s.mul(*w, s.sqrt(s.add(variance, s.mul(x, x))));
        }
        totals[sub] = w.iter().fold(zero, |sum, &w| s.add(sum, w));
        let fit = Symmetric::<HALF>::search(s, &x, &w, &from_fn(|i| s.mul(w[i], x[i])));
        scales[sub] = fit.scale;
        levels[sub] = x.map(|x| fit.level(s, x));
    }
    let products = from_fn(|sub| s.mul(totals[sub], scales[sub]));
    let fit = Symmetric::<SCALE_HALF>::search(s, &scales, &totals, &products);
    Found { d: s.to_f16_bits(fit.scale), scales: scales.map(|scale| fit.level(s, scale)), levels }
}

/// The 12 bytes of scales.
#[inline(always)]
fn pack_scales<S: Simd>(s: S, scales: &[S::I32; SUBS]) -> [S::I32; 12] {
    let low = |v| s.and_i32(v, s.splat_i32(15));
    from_fn(|j| match j {
        0..8 => s.or_i32(low(scales[j]), s.shl_i32::<4>(low(scales[j + 8]))),
        _ => {
            let [a, b, c, d] = from_fn(|k| s.shr_i32::<4>(scales[j - 8 + 4 * k]));
            s.or_i32(s.or_i32(a, s.shl_i32::<2>(b)), s.shl_i32::<4>(s.or_i32(c, s.shl_i32::<2>(d))))
        }
    })
}

/// The scales, as stored.
#[inline(always)]
fn unpack_scales(bytes: &[u8]) -> [u8; SUBS] {
    from_fn(|j| (bytes[j % 8] >> (j / 8 * 4) & 15) | (bytes[8 + j % 4] >> (j / 4 * 2) & 3) << 4)
}

impl Decode<BYTES, LEN> for Q3K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (high, low) = (&block[..32], block[32..96].as_chunks::<32>().0);
        let scales = unpack_scales(&block[96..108]);
        let d = f16(s, &block[108..]);
        for (k, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let low = &low[k / 4];
            let scales = [scales[2 * k], scales[2 * k + 1]].map(|scale| d * (f32::from(scale) - SCALE_HALF as f32));
            for (i, x) in out.iter_mut().enumerate() {
                let level = (low[i] >> (k % 4 * 2) & 3) | (high[i] >> k & 1) << 2;
                *x = scales[i / 16] * f32::from(level as i8 - HALF as i8);
            }
        }
    }
}
