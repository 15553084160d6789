//! The 6-bit scales and minima of Q4_K and Q5_K, 16 numbers in 12 bytes.
//!
//! Bytes 0 to 3: scales 0 to 3; bytes 4 to 7: minima 0 to 3; bytes 8 to 11: the low 4 bits of scale and minimum 4 to 7,
//! whose high 2 bits stand above the 6 bits of bytes 0 to 3 and 4 to 7.

use super::affine::SubScales;
use super::batch::words;
use crate::simd::Simd;
use core::array::from_fn;

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

/// SubScales and minima from the 12 bytes.
#[inline(always)]
pub(super) fn unpack(bytes: &[u8; 12]) -> [[u8; 8]; 2] {
    let number = |at: usize, shift: u32, j: usize| {
        if j < 4 { bytes[at + j] & 63 } else { bytes[4 + j] >> shift & 15 | bytes[at + j - 4] >> 6 << 4 }
    };
    [from_fn(|j| number(0, 0, j)), from_fn(|j| number(4, 4, j))]
}
