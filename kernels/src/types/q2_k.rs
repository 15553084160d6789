//! Q2_K: 16 sub-blocks of 16 weights, 2-bit levels, 4-bit scales and minima.
//!
//! Bytes of a block: 16 with a sub-block's scale in the low half and its minimum in the high half; for each half of the
//! block 32 whose byte `i` holds in its four pairs of bits the levels of the weights `i`, `32 + i`, `64 + i`, `96 + i`;
//! `d` and `dmin` (f16).

use super::affine::{Affine, LEN};
use super::batch::{self, Batch, Encode, words};
use super::decode::{self, Decode, bit_pairs, f16};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::search::{Deviation, ScaleMin};
use crate::simd::Simd;

const BYTES: usize = 84;

const RULES: Affine = Affine {
    plain: ScaleMin { max_level: 3.0, first: -0.5, delta: 0.1, last: 15, deviation: Deviation::Absolute },
    weighted: ScaleMin { max_level: 3.0, first: -0.9, delta: 0.05, last: 36, deviation: Deviation::Squared },
    add_rms: false,
    variance_factor: 1.0,
    max_scale: 15,
};

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q2K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q2K, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: 16,
    points: Points::Even { first: 0, count: 4 },
    numbers: |block, scales, offsets| {
        let (d, dmin) = (levels::f16(&block[80..]), levels::f16(&block[82..]));
        for (numbers, (scale, offset)) in block.iter().zip(scales.iter_mut().zip(offsets)) {
            *scale = d * f32::from(numbers & 15);
            *offset = -(dmin * f32::from(numbers >> 4));
        }
    },
    set: |scales, offsets, block| {
        let (d, dmin) = (levels::f16(&block[80..]), levels::f16(&block[82..]));
        for (numbers, (scale, offset)) in block.iter_mut().zip(scales.iter().zip(offsets)) {
            let [scale, min] =
                [(*scale, d), (-*offset, dmin)].map(|(number, unit)| levels::multiple(number, unit, 0, 15));
            *numbers = scale as u8 | (min as u8) << 4;
        }
    },
    store: |levels, block| levels::store_pairs(levels, &mut block[16..80]),
};

struct Q2K;

impl Encode for Q2K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let rows = batch.rows();
        let scales = RULES.scales::<S, 16, 16>(s, batch, &rows);
        let mut stored = [s.splat_i32(0); 16];
        for (sub, byte) in stored.iter_mut().enumerate() {
            let min = s.shl_i32::<4>(scales.min.levels[sub]);
            *byte = s.and_i32(s.or_i32(scales.scale.levels[sub], min), s.splat_i32(0xff));
        }
        let mut block = [s.splat_i32(0); BYTES / 4];
        block[..4].copy_from_slice(&words::<S, 4>(s, &stored));
        for sub in 0..16 {
            let numbers = [s.and_i32(stored[sub], s.splat_i32(15)), s.shr_i32::<4>(stored[sub])];
            let levels: [S::I32; 4] = words(s, &RULES.levels::<S, 16, 16>(s, &rows, &scales, sub, numbers));
            // Sub-blocks 0 to 7 are the first half; of each pair of them the second one continues the first one's bytes.
            let block = &mut block[4 + sub / 8 * 8 + sub % 2 * 4..][..4];
            for (word, &levels) in block.iter_mut().zip(&levels) {
                // The newest levels enter at the top; after four of them the first ones are at the bottom.
                *word = s.or_i32(s.shr_i32::<2>(*word), s.shl_i32::<6>(levels));
            }
        }
        block[20] = s.or_i32(scales.scale.d, s.shl_i32::<16>(scales.min.d));
        batch.store(s, &block, dst);
    }
}

impl Decode<BYTES, LEN> for Q2K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (d, dmin) = (f16(s, &block[80..]), f16(s, &block[82..]));
        let levels = bit_pairs(&block[16..80]);
        let [scales, mins] = decode::nibbles::<16>(block.first_chunk().expect("16 bytes"));
        let (scales, mins) = (decode::products(s, d, &scales), decode::products(s, s.neg(dmin), &mins));
        let subs = levels.as_chunks::<16>().0.iter().zip(out.as_chunks_mut::<16>().0);
        for ((levels, out), (&scale, &min)) in subs.zip(scales.iter().zip(&mins)) {
            decode::affine(s, levels, s.splat(scale), s.splat(min), out);
        }
    }
}
