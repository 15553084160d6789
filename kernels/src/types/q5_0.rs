//! Q5_0: 32 weights, 5-bit levels.
//!
//! Bytes of a block: `d` (f16), a word whose bit `i` is the high bit of level `i`, then 16 bytes that hold the low 4 bits of
//! levels `i` (low) and `i + 16` (high).

use super::batch::{Batch, Encode};
use super::centred::{self, Centred, Numbers};
use super::decode::{self, Decode, f16, five_bits};
use super::rows::{self, EncodeWeighted, LEN};
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::simd::Simd;

const BYTES: usize = 22;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    rows::quantize::<Q5_0>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q5_0, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: LEN,
    points: Points::Even { first: -16, count: 32 },
    numbers: |block, scales, offsets| {
        scales[0] = levels::f16(block);
        offsets.fill(0.0);
    },
    set: |scales, _, block| levels::set_f16(scales[0], block),
    store: |levels, block| {
        levels::store_fifths(levels, &mut block[2..]);
        levels::store_nibbles::<16>(levels, &mut block[6..]);
    },
};

struct Q5_0;

/// Levels are stored plus this.
const HALF: i32 = 16;

impl Encode for Q5_0 {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        store(s, batch, centred::plain::<S, HALF>(s, batch), dst);
    }
}

impl EncodeWeighted for Q5_0 {
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
    let (head, low) = bytes.split_at_mut(6);
    head[..2].copy_from_slice(&[s.and_i32(d, s.splat_i32(0xff)), s.shr_i32::<8>(d)]);
    for (byte, levels) in head[2..].iter_mut().zip(levels.as_chunks::<8>().0) {
        // The last one is the uppermost bit, so it goes in first. Bits come down at the end: `and` with `or` is one instruction
        // of AVX-512, a shift with `or` is two.
        let mut bits = s.splat_i32(0);
        for &level in levels.iter().rev() {
            bits = s.or_i32(s.shl_i32::<1>(bits), s.and_i32(level, s.splat_i32(HALF)));
        }
        *byte = s.shr_i32::<4>(bits);
    }
    let nibble = s.splat_i32(15);
    for (i, byte) in low.iter_mut().enumerate() {
        *byte = s.or_i32(s.and_i32(levels[i], nibble), s.shl_i32::<4>(s.and_i32(levels[i + 16], nibble)));
    }
    batch.store_bytes(s, &bytes, dst);
}

impl Decode<BYTES, LEN> for Q5_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let levels = five_bits(s, block[2..].try_into().expect("a word and 16 bytes"));
        decode::centred(s, &levels, HALF, f16(s, block), out);
    }
}
