//! Q8_1: 32 weights, 8-bit levels; the other side of llama.cpp's products, decoded only.
//!
//! Bytes of a block: `d` (f16), `d` times the sum of the levels (f16), then 32 signed levels.

use super::decode::{self, Decode, f16};
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 32;
const BYTES: usize = 36;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q8_1, BYTES, LEN>(level, src, dst);
}

struct Q8_1;

impl Decode<BYTES, LEN> for Q8_1 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        decode::signed(s, &block[4..], f16(s, block), out);
    }
}
