//! Q4_0: 32 weights, 4-bit levels.
//!
//! Bytes of a block: `d` (f16), then 16 that hold levels `i` (low) and `i + 16` (high).

use super::batch::{Batch, Encode};
use super::centred::{self, Centred, Numbers};
use super::decode::{self, Decode, f16, nibbles};
use super::rows::{self, EncodeWeighted, LEN};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::simd::Simd;

const BYTES: usize = 18;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    rows::quantize::<Q4_0>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q4_0, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: Points::Even { first: -8, count: 16 },
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets.fill(0.0);
    },
    set: |scales, _, block| levels::set_f16(scales[0], block),
    store: |levels, block| levels::store_nibbles::<16>(levels, &mut block[2..]),
};

struct Q4_0;

/// Levels are stored plus this.
const HALF: i32 = 8;

impl Encode for Q4_0 {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        store(s, batch, centred::plain::<S, HALF>(s, batch), dst);
    }
}

impl EncodeWeighted for Q4_0 {
    const IN_STEP: bool = false;
    type Weighed<S: Simd> = Numbers<S>;

    #[inline(always)]
    fn encode_weighted<S: Simd>(s: S, batch: &Batch, weighed: &mut Numbers<S>, dst: &mut [u8]) {
        store(s, batch, centred::weighted::<S, HALF>(s, weighed), dst);
    }
}

#[inline(always)]
fn store<S: Simd>(s: S, batch: &Batch, Centred { d, levels }: Centred<S>, dst: &mut [u8]) {
    let mut bytes = [s.splat_i32(0); BYTES];
    bytes[..2].copy_from_slice(&[s.and_i32(d, s.splat_i32(0xff)), s.shr_i32::<8>(d)]);
    for (i, byte) in bytes[2..].iter_mut().enumerate() {
        *byte = s.or_i32(levels[i], s.shl_i32::<4>(levels[i + 16]));
    }
    batch.store_bytes(s, &bytes, dst);
}

impl Decode<BYTES, LEN> for Q4_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let levels = nibbles::<16>(block[2..].try_into().expect("16 bytes"));
        decode::centred(s, levels.as_flattened(), HALF, f16(s, block), out);
    }
}
