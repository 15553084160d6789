//! Q1_0: 128 weights, of which only the sign is kept; the scale is their mean magnitude.
//!
//! Bytes of a block: `d` (f16), then 16 whose bits from the lowest up are set where a weight is not negative.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use crate::Level;
use crate::simd::Simd;

const LEN: usize = 128;
const BYTES: usize = 18;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q1_0>(level, src, columns, None, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q1_0, BYTES, LEN>(level, src, dst);
}

struct Q1_0;

impl Encode for Q1_0 {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    /// A lane holds one block.
    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let (zero, none) = (s.splat(0.0), s.splat_i32(0));
        let mut sum = zero;
        let mut bytes = [none; BYTES];
        for (pair, bytes) in bytes[2..].as_chunks_mut::<2>().0.iter_mut().enumerate() {
            let mut x = [zero; 16];
            s.transpose(
                batch.weights,
                #[inline(always)]
                |lane| batch.start(lane) + 16 * pair,
                &mut x,
            );
            for (i, &x) in x.iter().enumerate() {
                sum = s.add(sum, s.abs(x));
                let bit = s.select_i32(s.ge(x, zero), s.splat_i32(1 << (i % 8)), none);
                bytes[i / 8] = s.or_i32(bytes[i / 8], bit);
            }
        }
        let d = s.to_f16_bits(s.div(sum, s.splat(LEN as f32)));
        bytes[..2].copy_from_slice(&[s.and_i32(d, s.splat_i32(0xff)), s.shr_i32::<8>(d)]);
        batch.store_bytes(s, &bytes, dst);
    }
}

impl Decode<BYTES, LEN> for Q1_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        for (out, bytes) in out.as_chunks_mut::<16>().0.iter_mut().zip(block[2..].as_chunks().0) {
            let bits = u32::from(u16::from_le_bytes(*bytes));
            for (i, out) in out.chunks_exact_mut(S::LANES).enumerate() {
                s.store(s.select(s.mask(bits >> (i * S::LANES)), d, s.neg(d)), out);
            }
        }
    }
}
