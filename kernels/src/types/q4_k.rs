//! Q4_K: 8 sub-blocks of 32 weights, 4-bit levels, 6-bit scales and minima.
//!
//! Bytes of a block: `d` and `dmin` (f16), 12 of [packed scales](super::k_scales), then for each pair of sub-blocks 32
//! with the first one's levels in the low halves and the second one's in the high halves.

use super::affine::{Affine, LEN};
use super::batch::{self, Batch, Encode, words};
use super::decode::{self, Decode};
use super::k_scales;
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::search::{Deviation, ScaleMin};
use crate::simd::Simd;

const BYTES: usize = 144;

const RULES: Affine = Affine {
    plain: ScaleMin { max_level: 15.0, first: -1.0, delta: 0.1, last: 20, deviation: Deviation::Squared },
    weighted: ScaleMin { max_level: 15.0, first: -0.9, delta: 0.05, last: 36, deviation: Deviation::Squared },
    add_rms: true,
    variance_factor: 2.0,
    max_scale: 63,
};

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q4K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q4K, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: 32,
    points: Points::Even { first: 0, count: 16 },
    numbers: k_scales::numbers,
    set: k_scales::set,
    store: |levels, block| levels::store_nibbles::<32>(levels, &mut block[16..]),
};

struct Q4K;

impl Encode for Q4K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let rows = batch.rows();
        let mut scales = RULES.scales::<S, 8, 32>(s, batch, &rows);
        // With importance the reference leaves this out, unlike for Q5_K.
        if batch.importance.is_none() {
            k_scales::limit(s, &mut scales);
        }
        let mut block = [s.splat_i32(0); BYTES / 4];
        block[0] = s.or_i32(scales.scale.d, s.shl_i32::<16>(scales.min.d));
        block[1..4].copy_from_slice(&k_scales::pack(s, &scales.scale.levels, &scales.min.levels));
        for (pair, block) in block[4..].as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut bytes =
                RULES.levels::<S, 8, 32>(s, &rows, &scales, 2 * pair, k_scales::stored(s, &scales, 2 * pair));
            let high =
                RULES.levels::<S, 8, 32>(s, &rows, &scales, 2 * pair + 1, k_scales::stored(s, &scales, 2 * pair + 1));
            for (byte, &high) in bytes.iter_mut().zip(&high) {
                *byte = s.or_i32(*byte, s.shl_i32::<4>(high));
            }
            *block = words(s, &bytes);
        }
        batch.store(s, &block, dst);
    }
}

impl Decode<BYTES, LEN> for Q4K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let levels = k_scales::nibbles(&block[16..]);
        k_scales::decode(s, block.first_chunk().expect("16 bytes"), &levels, out);
    }
}
