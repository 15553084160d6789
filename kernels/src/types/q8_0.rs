//! Q8_0: 32 weights, 8-bit levels.
//!
//! Bytes of a block: `d` (f16), then 32 signed levels.

use super::decode::{self, Decode, f16};
use crate::Level;
use crate::simd::{Kernel, Simd};

const LEN: usize = 32;
const BYTES: usize = 34;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    assert!(src.len().is_multiple_of(LEN) && dst.len() == src.len() / LEN * BYTES, "room for the blocks");
    level.run(Quantize { src: src.as_chunks().0, dst: dst.as_chunks_mut().0 });
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q8_0, BYTES, LEN>(level, src, dst);
}

struct Quantize<'a> {
    src: &'a [[f32; LEN]],
    dst: &'a mut [[u8; BYTES]],
}

impl Kernel for Quantize<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Maxima do not depend on the order, so here a vector holds weights of one block. Scales are worked out for as
        // many blocks as there are lanes.
        for (src, dst) in self.src.chunks(S::LANES).zip(self.dst.chunks_mut(S::LANES)) {
            let mut max = [0.0; 64];
            for (max, block) in max.iter_mut().zip(src) {
                let mut lanes = s.splat(0.0);
                for x in block.chunks_exact(S::LANES) {
                    lanes = s.max(lanes, s.abs(s.load(x)));
                }
                *max = s.reduce_max(lanes);
            }
            let (zero, one) = (s.splat(0.0), s.splat(1.0));
            let d = s.div(s.load(&max), s.splat(127.0));
            let mut inverse = [0.0; 64];
            s.store(s.select(s.eq(d, zero), zero, s.div(one, d)), &mut inverse);
            let mut bits = [0; 64];
            s.store_i32(s.to_f16_bits(d), &mut bits);
            for (i, (block, bytes)) in src.iter().zip(dst).enumerate() {
                let (head, levels) = bytes.split_at_mut(2);
                head.copy_from_slice(&(bits[i] as u16).to_le_bytes());
                let inverse = s.splat(inverse[i]);
                for (x, levels) in block.chunks_exact(S::LANES).zip(levels.chunks_exact_mut(S::LANES)) {
                    s.store_u8(s.round_away_i32(s.mul(s.load(x), inverse)), levels);
                }
            }
        }
    }
}

struct Q8_0;

impl Decode<BYTES, LEN> for Q8_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        for (x, &level) in out.iter_mut().zip(&block[2..]) {
            *x = f32::from(level as i8) * d;
        }
    }
}
