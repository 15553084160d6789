//! Q6_K: 16 sub-blocks of 16 weights, 6-bit levels, 8-bit scales.
//!
//! Bytes of a block: 128 with the low 4 bits of the levels, 64 with their high 2 bits, 16 signed scales, `d` (f16). Each
//! half of the weights, 128, has 64 and 32 of these bytes: byte `i` of the 64 holds weights `i` (low) and `i + 64` (high),
//! byte `i` of the 32 holds weights `i`, `i + 32`, `i + 64`, `i + 96` from the lowest bits up.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use super::signed::{self, LEN, SUB_LEN, SUBS};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::search::{SymmetricFit, extreme};
use crate::simd::Simd;

const BYTES: usize = 210;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q6K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q6K, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: SUB_LEN,
    points: Points::Even { first: -32, count: 64 },
    numbers: |block, scales, offsets| {
        let d = levels::f16(&block[208..]);
        scales.iter_mut().zip(&block[192..208]).for_each(|(scale, &stored)| *scale = d * f32::from(stored as i8));
        offsets.fill(0.0);
    },
    set: |scales, _, block| {
        let d = levels::f16(&block[208..]);
        for (stored, scale) in block[192..208].iter_mut().zip(scales) {
            *stored = levels::multiple(*scale, d, -128, 127) as i8 as u8;
        }
    },
    store: |levels, block| {
        let (low, high) = block.split_at_mut(128);
        let halves = low.chunks_exact_mut(64).zip(high.chunks_exact_mut(32));
        for (levels, (low, high)) in levels.chunks_exact(128).zip(halves) {
            levels::store_nibbles::<64>(levels, low);
            for (i, byte) in high.iter_mut().enumerate() {
                let [a, b, c, d] = [0, 32, 64, 96].map(|quarter| levels[quarter + i] >> 4);
                *byte = a | b << 2 | c << 4 | d << 6;
            }
        }
    },
};

struct Q6K;

/// Levels are stored plus this.
const HALF: i32 = 32;

impl Encode for Q6K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let (zero, none) = (s.splat(0.0), s.splat_i32(0));
        let rows = batch.rows();
        let importance = batch.importance.map(
            #[inline(always)]
            |importance| batch.importance_rows(importance),
        );
        let mut fits = [SymmetricFit::<S, HALF>::zero(s); SUBS];
        let mut scales = [zero; SUBS];
        let mut wx = [zero; SUB_LEN];
        for sub in 0..SUBS {
            let x = signed::sub_block(s, &rows, sub);
            let w = match &importance {
                Some(importance) => signed::sub_block(s, importance, sub),
                None => squares(s, &x),
            };
            fits[sub] = signed::fit(s, &x, &w, &mut wx, true);
            scales[sub] = fits[sub].scale;
        }

        let [extreme, magnitude] = extreme(s, &scales);
        // The reference clears such blocks whole.
        let empty = s.lt(magnitude, s.splat(1e-15));
        let inverse = s.div(s.splat(-128.0), extreme);
        let d = s.to_f16_bits(s.select(empty, zero, s.div(s.splat(1.0), inverse)));
        let mut stored = [none; SUBS];
        for (stored, &scale) in stored.iter_mut().zip(&scales) {
            let scale = s.min_i32(s.nearest_i32(s.mul(inverse, scale)), s.splat_i32(127));
            *stored = s.select_i32(empty, none, scale);
        }

        let mut bytes = [none; BYTES];
        let (low, rest) = bytes.split_at_mut(128);
        let (high, rest) = rest.split_at_mut(64);
        // The sub-blocks `first`, `first + 2`, `first + 4`, `first + 6` share bytes.
        for (first, at) in [(0, 0), (1, 16), (8, 32), (9, 48)] {
            let mut levels = [[none; SUB_LEN]; 4];
            for (quarter, levels) in levels.iter_mut().enumerate() {
                let sub = first + 2 * quarter;
                let x = signed::sub_block(s, &rows, sub);
                let scale = s.mul(s.from_f16_bits(d), s.to_f32(stored[sub]));
                *levels = signed::levels::<S, HALF>(s, &x, scale);
                let void = s.eq(scale, zero);
                if s.any(void) {
                    for (level, &x) in levels.iter_mut().zip(&x) {
                        let found = s.select_i32(empty, none, fits[sub].level(s, x));
                        *level = s.select_i32(void, found, *level);
                    }
                }
            }
            let low = &mut low[2 * at - at % 32..];
            for i in 0..SUB_LEN {
                let [a, b, c, d] = [levels[0][i], levels[1][i], levels[2][i], levels[3][i]];
                let nibble = s.splat_i32(15);
                low[i] = s.or_i32(s.and_i32(a, nibble), s.shl_i32::<4>(s.and_i32(c, nibble)));
                low[32 + i] = s.or_i32(s.and_i32(b, nibble), s.shl_i32::<4>(s.and_i32(d, nibble)));
                high[at + i] = bit_pairs(s, [a, b, c, d]);
            }
        }
        for (byte, &scale) in rest.iter_mut().zip(&stored) {
            *byte = s.and_i32(scale, s.splat_i32(0xff));
        }
        (rest[16], rest[17]) = (s.and_i32(d, s.splat_i32(0xff)), s.shr_i32::<8>(d));
        batch.store_bytes(s, &bytes, dst);
    }
}

/// The weights without importance.
#[inline(always)]
fn squares<S: Simd>(s: S, x: &[S::F32; SUB_LEN]) -> [S::F32; SUB_LEN] {
    let mut w = *x;
    for w in &mut w {
        *w = s.mul(*w, *w);
    }
    w
}

/// Bits 4 and 5 of the levels, side by side, those of the first one lowest.
#[inline(always)]
fn bit_pairs<S: Simd>(s: S, [a, b, c, d]: [S::I32; 4]) -> S::I32 {
    let low = s.or_i32(s.shr_i32::<4>(a), s.shl_i32::<2>(s.shr_i32::<4>(b)));
    let high = s.or_i32(s.shr_i32::<4>(c), s.shl_i32::<2>(s.shr_i32::<4>(d)));
    s.or_i32(low, s.shl_i32::<4>(high))
}

impl Decode<BYTES, LEN> for Q6K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, &block[208..]);
        let halves = block[..128].as_chunks::<64>().0.iter().zip(block[128..192].as_chunks::<32>().0);
        let scales: [f32; SUBS] = decode::products(s, d, block[192..208].first_chunk().expect("16 bytes"));
        let halves = halves.zip(scales.as_chunks::<8>().0).zip(out.as_chunks_mut::<128>().0);
        for (((low, high), scales), out) in halves {
            let mut levels = [0; 128];
            for i in 0..32 {
                levels[i] = low[i] & 15 | (high[i] & 3) << 4;
                levels[32 + i] = low[32 + i] & 15 | (high[i] >> 2 & 3) << 4;
                levels[64 + i] = low[i] >> 4 | (high[i] >> 4 & 3) << 4;
                levels[96 + i] = low[32 + i] >> 4 | (high[i] >> 6) << 4;
            }
            let subs = levels.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0);
            for ((levels, out), &scale) in subs.zip(scales) {
                decode::centred(s, levels, HALF, s.splat(scale), out);
            }
        }
    }
}
