//! Q6_K: 16 sub-blocks of 16 weights, 6-bit levels, 8-bit scales.
//!
//! Bytes of a block: 128 with the low 4 bits of the levels, 64 with their high 2 bits, 16 signed scales, `d` (f16). Each
//! half of the weights, 128, has 64 and 32 of these bytes: byte `i` of the 64 holds weights `i` (low) and `i + 64` (high),
//! byte `i` of the 32 holds weights `i`, `i + 32`, `i + 64`, `i + 96` from the lowest bits up.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use super::signed::{self, LEN, SUBS};
use crate::Level;
use crate::search::{Symmetric, SymmetricFit};
use crate::simd::Simd;

const BYTES: usize = 210;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q6K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q6K, BYTES, LEN>(level, src, dst);
}

struct Q6K;

/// Levels are stored plus this.
const HALF: i32 = 32;

impl Encode for Q6K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let zero = s.splat(0.0);
        let mut fits = [SymmetricFit::<S, HALF>::zero(s); SUBS];
        for (sub, fit) in fits.iter_mut().enumerate() {
            let x = signed::weights(s, batch, sub);
            let w = match batch.importance {
                Some(importance) => signed::importance(s, batch, importance, sub),
                None => x.map(|x| s.mul(x, x)),
            };
            *fit = Symmetric::search(s, &x, &w, &core::array::from_fn(|i| s.mul(w[i], x[i])));
        }

        let [extreme, magnitude] = signed::extreme(s, &fits.map(|fit| fit.scale));
        // The reference clears such blocks whole.
        let empty = s.lt(magnitude, s.splat(1e-15));
        let inverse = s.div(s.splat(-128.0), extreme);
        let d = s.to_f16_bits(s.select(empty, zero, s.div(s.splat(1.0), inverse)));
        let scales = fits.map(|fit| {
            let scale = s.min_i32(s.nearest_i32(s.mul(inverse, fit.scale)), s.splat_i32(127));
            s.select_i32(empty, s.splat_i32(0), scale)
        });

        let mut bytes = [s.splat_i32(0); BYTES];
        let (low, rest) = bytes.split_at_mut(128);
        let (high, rest) = rest.split_at_mut(64);
        let nibble = |v| s.and_i32(v, s.splat_i32(15));
        for half in 0..2 {
            for side in 0..2 {
                // The sub-blocks that share bytes.
                let quarters = [0, 2, 4, 6].map(|sub| {
                    let sub = 8 * half + sub + side;
                    let x = signed::weights(s, batch, sub);
                    let scale = s.mul(s.from_f16_bits(d), s.to_f32(scales[sub]));
                    let found = |i: usize| s.select_i32(empty, s.splat_i32(0), fits[sub].level(s, x[i]));
                    signed::levels::<S, HALF>(s, &x, scale, found)
                });
                for i in 0..16 {
                    let [a, b, c, d] = quarters.map(|levels| levels[i]);
                    let at = 16 * side + i;
                    low[64 * half + at] = s.or_i32(nibble(a), s.shl_i32::<4>(nibble(c)));
                    low[64 * half + 32 + at] = s.or_i32(nibble(b), s.shl_i32::<4>(nibble(d)));
                    let [a, b, c, d] = [a, b, c, d].map(|level| s.shr_i32::<4>(level));
                    let lower = s.or_i32(a, s.shl_i32::<2>(b));
                    high[32 * half + at] = s.or_i32(lower, s.shl_i32::<4>(s.or_i32(c, s.shl_i32::<2>(d))));
                }
            }
        }
        let byte = |v| s.and_i32(v, s.splat_i32(0xff));
        rest[..16].copy_from_slice(&scales.map(byte));
        rest[16..].copy_from_slice(&[byte(d), s.shr_i32::<8>(d)]);
        batch.store_bytes(s, &bytes, dst);
    }
}

impl Decode<BYTES, LEN> for Q6K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, &block[208..]);
        let halves = block[..128].as_chunks::<64>().0.iter().zip(block[128..192].as_chunks::<32>().0);
        let halves = halves.zip(block[192..208].as_chunks::<8>().0).zip(out.as_chunks_mut::<128>().0);
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
                let scale = d * f32::from(scale as i8);
                for (x, &level) in out.iter_mut().zip(levels) {
                    *x = scale * f32::from(level as i8 - HALF as i8);
                }
            }
        }
    }
}
