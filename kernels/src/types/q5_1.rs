//! Q5_1: 32 weights, 5-bit levels, a scale and a minimum.
//!
//! Bytes of a block: `d` and `m` (f16), a word whose bit `i` is the highest bit of level `i`, then 16 with the low four
//! bits of levels 0 to 15 in the low halves and those of 16 to 31 in the high halves.

use super::batch::{Batch, words};
use super::decode::{self, Decode, f16, five_bits};
use super::min_block::{self, LEN, MinBlock};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::simd::Simd;

const BYTES: usize = 24;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    min_block::quantize::<Q5_1>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q5_1, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: Points::Even { first: 0, count: 32 },
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets[0] = levels::f16(&block[2..]);
    },
    set: |scales, offsets, block| {
        levels::set_f16(scales[0], block);
        levels::set_f16(offsets[0], &mut block[2..]);
    },
    store: |levels, block| {
        levels::store_fifths(levels, &mut block[4..]);
        levels::store_nibbles::<16>(levels, &mut block[8..]);
    },
};

struct Q5_1;

impl MinBlock for Q5_1 {
    const MAX_LEVEL: u8 = 31;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn store<S: Simd>(s: S, batch: &Batch, head: S::I32, levels: &[S::I32; LEN], dst: &mut [u8]) {
        // Bits enter at the top; after 32 levels the first one's is at the bottom.
        let mut fifths = s.splat_i32(0);
        for &level in levels {
            fifths = s.or_i32(s.shr_i32::<1>(fifths), s.shl_i32::<31>(s.shr_i32::<4>(level)));
        }
        let mut bytes = [head; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let nibble = s.splat_i32(15);
            *byte = s.or_i32(s.and_i32(levels[i], nibble), s.shl_i32::<4>(s.and_i32(levels[16 + i], nibble)));
        }
        let [a, b, c, d] = words(s, &bytes);
        batch.store(s, &[head, fifths, a, b, c, d], dst);
    }
}

impl Decode<BYTES, LEN> for Q5_1 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let levels = five_bits(s, block[4..].try_into().expect("a word and 16 bytes"));
        decode::affine(s, &levels, f16(s, block), f16(s, &block[2..]), out);
    }
}
