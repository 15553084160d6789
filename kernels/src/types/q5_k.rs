//! Q5_K: 8 sub-blocks of 32 weights, 5-bit levels, 6-bit scales and minima.
//!
//! Bytes of a block: `d` and `dmin` (f16), 12 of [packed scales](super::k_scales), 32 whose byte `i` holds in bit `j`
//! the highest bit of level `i` of sub-block `j`, then for each pair of sub-blocks 32 with the low four bits of the
//! first one's levels in the low halves and those of the second one's in the high halves.

use super::affine::{Affine, LEN};
use super::batch::{self, Batch, Encode, words};
use super::decode::{self, Decode};
use super::k_scales;
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::search::{Deviation, ScaleMin};
use crate::simd::Simd;

const BYTES: usize = 176;

const RULES: Affine = Affine {
    plain: ScaleMin { max_level: 31.0, first: -0.5, delta: 0.1, last: 15, deviation: Deviation::Squared },
    weighted: ScaleMin { max_level: 31.0, first: -0.9, delta: 0.05, last: 36, deviation: Deviation::Squared },
    add_rms: true,
    variance_factor: 2.0,
    max_scale: 63,
};

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q5K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q5K, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: 32,
    points: Points::Even { first: 0, count: 32 },
    numbers: k_scales::numbers,
    set: k_scales::set,
    store: |levels, block| {
        levels::store_bits::<4>(levels, &mut block[16..48]);
        levels::store_nibbles::<32>(levels, &mut block[48..]);
    },
};

struct Q5K;

impl Encode for Q5K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let rows = batch.rows();
        let mut scales = RULES.scales::<S, 8, 32>(s, batch, &rows);
        k_scales::limit(s, &mut scales);

        let mut block = [s.splat_i32(0); BYTES / 4];
        block[0] = s.or_i32(scales.scale.d, s.shl_i32::<16>(scales.min.d));
        block[1..4].copy_from_slice(&k_scales::pack(s, &scales.scale.levels, &scales.min.levels));
        let (high_bits, pairs) = block[4..].split_at_mut(8);
        for (pair, block) in pairs.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let low: [S::I32; 8] = words(
                s,
                &RULES.levels::<S, 8, 32>(s, &rows, &scales, 2 * pair, k_scales::stored(s, &scales, 2 * pair)),
            );
            let high: [S::I32; 8] = words(
                s,
                &RULES.levels::<S, 8, 32>(s, &rows, &scales, 2 * pair + 1, k_scales::stored(s, &scales, 2 * pair + 1)),
            );
            let (nibbles, fifths) = (s.splat_i32(0x0f0f_0f0f), s.splat_i32(0x1010_1010));
            for i in 0..8 {
                block[i] = s.or_i32(s.and_i32(low[i], nibbles), s.shl_i32::<4>(s.and_i32(high[i], nibbles)));
                // The newest pair's bits enter at the top; after four pairs the first one's are at the bottom.
                let low = s.shl_i32::<2>(s.and_i32(low[i], fifths));
                let high = s.shl_i32::<3>(s.and_i32(high[i], fifths));
                high_bits[i] = s.or_i32(s.shr_i32::<2>(high_bits[i]), s.or_i32(low, high));
            }
        }
        batch.store(s, &block, dst);
    }
}

impl Decode<BYTES, LEN> for Q5K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let mut levels = k_scales::nibbles(&block[48..]);
        decode::add_bits::<4>(&mut levels, block[16..48].try_into().expect("32 bytes"));
        k_scales::decode(s, block.first_chunk().expect("16 bytes"), &levels, out);
    }
}
