//! IQ4_NL: 32 weights, 4-bit levels that are not spaced evenly.
//!
//! Bytes of a block: `d` (f16), then 16 that hold levels `i` (low) and `i + 16` (high).

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use super::four_bit::{self, GROUP};
use crate::Level;
use crate::levels::{self, Levels, NONLINEAR};
use crate::simd::Simd;

const LEN: usize = GROUP;
const BYTES: usize = 18;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Iq4Nl>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq4Nl, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: NONLINEAR,
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets.fill(0.0);
    },
    set: |scales, _, block| levels::set_f16(scales[0], block),
    store: |levels, block| levels::store_nibbles::<16>(levels, &mut block[2..]),
};

struct Iq4Nl;

impl Encode for Iq4Nl {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    /// A lane holds one block.
    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let [mut x, mut w] = [[s.splat(0.0); GROUP]; 2];
        batch::load(s, &batch.rows::<GROUP>(), 0, &mut x);
        let mut squares = s.splat(0.0);
        for x in x {
            squares = s.add(squares, s.mul(x, x));
        }
        let variance = s.mul(squares, s.splat(2.0 / LEN as f32));
        let scale = four_bit::scale(s, batch, &x, variance, &mut w);
        let d = s.to_f16_bits(scale);
        let mut bytes = [s.and_i32(d, s.splat_i32(0xff)); BYTES];
        bytes[1] = s.shr_i32::<8>(d);
        bytes[2..].copy_from_slice(&four_bit::levels(s, &x, scale));
        batch.store_bytes(s, &bytes, dst);
    }
}

impl Decode<BYTES, LEN> for Iq4Nl {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        four_bit::decode(s, block[2..].try_into().expect("16 bytes"), f16(s, block), out);
    }
}
