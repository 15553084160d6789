//! Q8_K: 256 weights, 8-bit levels; the other side of llama.cpp's products, decoded only.
//!
//! Bytes of a block: `d` (f32), 256 signed levels, 16 sums of 16 levels each (i16).

use super::decode::{self, Decode};
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 256;
const BYTES: usize = 292;

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q8K, BYTES, LEN>(level, src, dst);
}

struct Q8K;

impl Decode<BYTES, LEN> for Q8K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let (d, levels) = block.split_first_chunk().expect("a scale");
        decode::signed(s, levels, s.splat(f32::from_le_bytes(*d)), out);
    }
}
