//! TQ2_0: 256 weights, levels -1, 0 and 1 in 2 bits.
//!
//! Bytes of a block: 64, of which byte `i` of each half holds weights `i`, `i + 32`, `i + 64`, `i + 96` of that half from
//! the lowest bits up; `d` (f16). Levels are stored plus 1.

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode, bit_pairs, f16};
use super::ternary::{self, LEN};
use crate::Level;
use crate::simd::Simd;

const BYTES: usize = 66;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Tq2_0>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Tq2_0, BYTES, LEN>(level, src, dst);
}

struct Tq2_0;

impl ByMagnitude for Tq2_0 {
    const GROUP: usize = LEN;
    const GROUPS: usize = 1;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn scale<S: Simd>(s: S, magnitude: S::F32) -> (S::I32, S::F32) {
        ternary::scale(s, magnitude)
    }

    #[inline(always)]
    fn level<S: Simd>(s: S, x: S::F32, inverse: S::F32, _magnitude: f32) -> S::I32 {
        ternary::level(s, x, inverse)
    }

    #[inline(always)]
    fn store(block: &mut [u8], _group: usize, d: u32, levels: &[u8]) {
        for (bytes, half) in block.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<128>().0) {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = half[i] | half[i + 32] << 2 | half[i + 64] << 4 | half[i + 96] << 6;
            }
        }
        block[64..].copy_from_slice(&(d as u16).to_le_bytes());
    }
}

impl Decode<BYTES, LEN> for Tq2_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        ternary::decode(s, &bit_pairs(block), f16(s, &block[64..]), out);
    }
}
