//! The 6-bit scales and minima of Q4_K and Q5_K, 16 numbers in 12 bytes.
//!
//! Bytes 0 to 3: scales 0 to 3; bytes 4 to 7: minima 0 to 3; bytes 8 to 11: the low 4 bits of scale and minimum 4 to 7,
//! whose high 2 bits stand above the 6 bits of bytes 0 to 3 and 4 to 7.

use super::affine::{LEN, SubScales};
use super::batch::words;
use super::decode::{self, f16};
use crate::levels;
use crate::simd::Simd;

/// Limits scales and minima to 6 bits. Only scales below zero, whose bytes wrapped, are beyond.
#[inline(always)]
pub(super) fn limit<S: Simd>(s: S, scales: &mut SubScales<S, 8>) {
    for levels in [&mut scales.scale.levels, &mut scales.min.levels] {
        for level in levels {
            *level = s.min_i32(*level, s.splat_i32(63));
        }
    }
}

/// The 12 bytes as three words.
#[inline(always)]
pub(super) fn pack<S: Simd>(s: S, scales: &[S::I32; 8], mins: &[S::I32; 8]) -> [S::I32; 3] {
    let mut bytes = [s.splat_i32(0); 12];
    for j in 0..4 {
        let low = |v| s.and_i32(v, s.splat_i32(0x0f));
        let high = |v| s.and_i32(s.shl_i32::<2>(v), s.splat_i32(0xc0));
        bytes[j] = s.or_i32(scales[j], high(scales[j + 4]));
        bytes[j + 4] = s.or_i32(mins[j], high(mins[j + 4]));
        bytes[j + 8] = s.or_i32(low(scales[j + 4]), s.shl_i32::<4>(low(mins[j + 4])));
    }
    words(s, &bytes)
}

/// Scale and minimum of a sub-block as they will be read: the lowest 6 bits.
#[inline(always)]
pub(super) fn stored<S: Simd>(s: S, scales: &SubScales<S, 8>, sub: usize) -> [S::I32; 2] {
    let six_bits = s.splat_i32(63);
    [s.and_i32(scales.scale.levels[sub], six_bits), s.and_i32(scales.min.levels[sub], six_bits)]
}

/// Scales and minima from the 12 bytes.
#[inline(always)]
fn unpack(bytes: &[u8; 12]) -> [[u8; 8]; 2] {
    let word = |i: usize| u32::from_le_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]]);
    let high = |word: u32| word >> 2 & 0x3030_3030;
    let numbers =
        |first: u32, low: u32| u64::from(first & 0x3f3f_3f3f) | u64::from(low & 0x0f0f_0f0f | high(first)) << 32;
    [numbers(word(0), word(2)), numbers(word(1), word(2) >> 4)].map(u64::to_le_bytes)
}

/// The levels of pairs of sub-blocks: of 32 bytes each, the first one's are the low halves and the second one's the high.
#[inline(always)]
pub(super) fn nibbles(bytes: &[u8]) -> [u8; LEN] {
    let mut levels = [0; LEN];
    for (pair, bytes) in levels.as_chunks_mut::<64>().0.iter_mut().zip(bytes.as_chunks::<32>().0) {
        pair.copy_from_slice(decode::nibbles(bytes).as_flattened());
    }
    levels
}

/// Writes the weights of levels; `head` is what blocks start with: `d`, `dmin` and the 12 bytes.
#[inline(always)]
pub(super) fn decode<S: Simd>(s: S, head: &[u8; 16], levels: &[u8; LEN], out: &mut [f32; LEN]) {
    let (d, dmin) = (f16(s, head), f16(s, &head[2..]));
    let mut numbers = [0; 16];
    numbers.as_chunks_mut().0.copy_from_slice(&unpack(head.last_chunk().expect("12 bytes")));
    let scales = decode::products(s, d, &numbers);
    let mins = decode::products(s, dmin, &numbers);
    let subs = levels.as_chunks::<32>().0.iter().zip(out.as_chunks_mut::<32>().0);
    for ((levels, out), (&scale, &min)) in subs.zip(scales.iter().zip(&mins[8..])) {
        // Both at once, and LLVM makes shuffles of the scalar level.
        decode::centred(s, levels, 0, s.splat(scale), out);
        decode::add(s, s.neg(s.splat(min)), out);
    }
}

/// Scale and offset of every sub-block.
pub(super) fn numbers(block: &[u8], scales: &mut [f32], offsets: &mut [f32]) {
    let (d, dmin) = (levels::f16(block), levels::f16(&block[2..]));
    let [own, mins] = unpack(block[4..16].try_into().expect("12 bytes"));
    scales.iter_mut().zip(own).for_each(|(number, scale)| *number = d * f32::from(scale));
    offsets.iter_mut().zip(mins).for_each(|(number, min)| *number = -(dmin * f32::from(min)));
}

/// Stores the nearest scale and minimum of every sub-block.
pub(super) fn set(scales: &[f32], offsets: &[f32], block: &mut [u8]) {
    let (d, dmin) = (levels::f16(block), levels::f16(&block[2..]));
    let number = |number: f32, unit: f32| levels::multiple(number, unit, 0, 63) as u8;
    let pairs: [[u8; 2]; 8] = core::array::from_fn(|sub| [number(scales[sub], d), number(-offsets[sub], dmin)]);
    for j in 0..4 {
        let ([scale, min], [later_scale, later_min]) = (pairs[j], pairs[j + 4]);
        block[4 + j] = scale | later_scale >> 4 << 6;
        block[8 + j] = min | later_min >> 4 << 6;
        block[12 + j] = later_scale & 15 | (later_min & 15) << 4;
    }
}
