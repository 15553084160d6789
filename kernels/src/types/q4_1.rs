//! Q4_1: 32 weights, 4-bit levels, a scale and a minimum.
//!
//! Bytes of a block: `d` and `m` (f16), then 16 with levels 0 to 15 in the low halves and 16 to 31 in the high halves.

use super::batch::{Batch, words};
use super::decode::{self, Decode, f16, nibbles};
use super::min_block::{self, LEN, MinBlock};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::simd::Simd;

const BYTES: usize = 20;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    min_block::quantize::<Q4_1>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q4_1, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: Points::Even { first: 0, count: 16 },
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets[0] = levels::f16(&block[2..]);
    },
    set: |scales, offsets, block| {
        levels::set_f16(scales[0], block);
        levels::set_f16(offsets[0], &mut block[2..]);
    },
    store: |levels, block| levels::store_nibbles::<16>(levels, &mut block[4..]),
};

struct Q4_1;

impl MinBlock for Q4_1 {
    const MAX_LEVEL: u8 = 15;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn store<S: Simd>(s: S, batch: &Batch, head: S::I32, levels: &[S::I32; LEN], dst: &mut [u8]) {
        let mut bytes = [head; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = s.or_i32(levels[i], s.shl_i32::<4>(levels[16 + i]));
        }
        let [a, b, c, d] = words(s, &bytes);
        batch.store(s, &[head, a, b, c, d], dst);
    }
}

impl Decode<BYTES, LEN> for Q4_1 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let levels = nibbles::<16>(block[4..].try_into().expect("16 bytes"));
        decode::affine(s, levels.as_flattened(), f16(s, block), f16(s, &block[2..]), out);
    }
}
