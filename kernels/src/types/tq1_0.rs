//! TQ1_0: 256 weights, levels -1, 0 and 1, five of them in a byte.
//!
//! Bytes of a block: 32 with weights 0 to 159, 16 with weights 160 to 239, 4 with weights 240 to 255, `d` (f16). Byte `i` of
//! `n` holds weights `i`, `i + n`, `i + 2 n` and so on; the last four bytes hold four of them, and a zero.
//!
//! Levels plus 1 are the digits of a number below 243 in base 3, the first one the highest; stored is the number's 256/243,
//! rounded up, so that the digits come out one by one as the carries of multiplications by 3.

use super::by_magnitude::{self, ByMagnitude};
use super::decode::{self, Decode, f16};
use super::ternary::{self, LEN};
use crate::Level;
use crate::simd::Simd;

const BYTES: usize = 54;

/// Importance does not matter: there is nothing to choose.
pub(crate) fn quantize(level: Level, src: &[f32], _columns: usize, _importance: Option<&[f32]>, dst: &mut [u8]) {
    by_magnitude::quantize::<Tq1_0>(level, src, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Tq1_0, BYTES, LEN>(level, src, dst);
}

struct Tq1_0;

impl ByMagnitude for Tq1_0 {
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
        pack::<32, 5>(levels, block);
        pack::<16, 5>(&levels[160..], &mut block[32..]);
        pack::<4, 4>(&levels[240..], &mut block[48..]);
        block[52..].copy_from_slice(&(d as u16).to_le_bytes());
    }
}

/// `N` bytes of `DIGITS` levels each.
#[inline(always)]
fn pack<const N: usize, const DIGITS: usize>(levels: &[u8], bytes: &mut [u8]) {
    let (levels, bytes) = (&levels.as_chunks::<N>().0[..DIGITS], &mut bytes[..N]);
    for (i, byte) in bytes.iter_mut().enumerate() {
        let mut number = 0u16;
        for levels in levels {
            number = number * 3 + u16::from(levels[i]);
        }
        for _ in DIGITS..5 {
            number *= 3;
        }
        *byte = (number * 256).div_ceil(243) as u8;
    }
}

/// The levels of `N` bytes, `levels.len() / N` of each.
#[inline(always)]
fn unpack<const N: usize>(bytes: &[u8], levels: &mut [u8]) {
    let mut rests: [u8; N] = *bytes.first_chunk().expect("N bytes");
    for levels in levels.as_chunks_mut::<N>().0 {
        for (level, rest) in levels.iter_mut().zip(&mut rests) {
            // The carry of a multiplication by 3; what is left has the digits that follow.
            *level = u8::from(*rest > 85) + u8::from(*rest > 170);
            *rest = rest.wrapping_mul(3);
        }
    }
}

/// The levels of 4 bytes, 4 of each: one vector of all of them.
#[inline(always)]
fn unpack_four(bytes: &[u8], levels: &mut [u8; 16]) {
    const POWERS: [u8; 4] = [1, 3, 9, 27];
    let bytes: &[u8; 4] = bytes.first_chunk().expect("4 bytes");
    for (i, level) in levels.iter_mut().enumerate() {
        let rest = bytes[i % 4].wrapping_mul(POWERS[i / 4]);
        *level = ((u16::from(rest) * 3) >> 8) as u8;
    }
}

impl Decode<BYTES, LEN> for Tq1_0 {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let mut levels = [0; LEN];
        unpack::<32>(block, &mut levels[..160]);
        unpack::<16>(&block[32..], &mut levels[160..240]);
        unpack_four(&block[48..], levels.last_chunk_mut().expect("16 levels"));
        ternary::decode(s, &levels, f16(s, &block[52..]), out);
    }
}
