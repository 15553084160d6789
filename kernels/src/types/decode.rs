//! Decoding block by block.

use crate::Level;
use crate::simd::{Kernel, Simd};
use core::marker::PhantomData;

/// A decoding of blocks of `BYTES` bytes to `LEN` weights.
pub(crate) trait Decode<const BYTES: usize, const LEN: usize> {
    /// Decodes one block. Weights that lie side by side are side by side in a vector: every product is one of its own, so
    /// the way they are grouped does not matter.
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]);
}

/// Decodes whole blocks; `src` holds those of exactly `dst.len()` weights.
pub(crate) fn dequantize<D: Decode<BYTES, LEN>, const BYTES: usize, const LEN: usize>(
    level: Level,
    src: &[u8],
    dst: &mut [f32],
) {
    assert!(dst.len().is_multiple_of(LEN) && src.len() == dst.len() / LEN * BYTES, "the blocks of these weights");
    level.run(Blocks::<D, BYTES, LEN> { src, dst, decoding: PhantomData });
}

struct Blocks<'a, D, const BYTES: usize, const LEN: usize> {
    src: &'a [u8],
    dst: &'a mut [f32],
    decoding: PhantomData<D>,
}

impl<D: Decode<BYTES, LEN>, const BYTES: usize, const LEN: usize> Kernel for Blocks<'_, D, BYTES, LEN> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (block, out) in self.src.as_chunks().0.iter().zip(self.dst.as_chunks_mut().0) {
            D::decode(s, block, out);
        }
    }
}

/// The half-precision number at the start of `bytes`, in every lane.
#[inline(always)]
pub(crate) fn f16<S: Simd>(s: S, bytes: &[u8]) -> S::F32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    s.from_f16_bits(s.splat_i32(i32::from(bits)))
}

/// The products of `d` and the scales of sub-blocks, which are signed bytes. Vectors at a time: to make a float of a single
/// one and bring it to all lanes takes as long as a vector of weights.
#[inline(always)]
pub(crate) fn products<S: Simd, const N: usize>(s: S, d: S::F32, scales: &[u8; N]) -> [f32; N] {
    let mut products = [0.0; N];
    for (scales, products) in scales.chunks_exact(S::LANES).zip(products.chunks_exact_mut(S::LANES)) {
        s.store(s.mul(d, s.to_f32(s.load_i8(scales))), products);
    }
    products
}

/// The low and the high halves of bytes.
#[inline(always)]
pub(crate) fn nibbles<const N: usize>(bytes: &[u8; N]) -> [[u8; N]; 2] {
    let mut halves = [*bytes; 2];
    halves[0].iter_mut().for_each(|byte| *byte &= 15);
    halves[1].iter_mut().for_each(|byte| *byte >>= 4);
    halves
}

/// 32 levels of five bits: a word whose bit `i` is the highest bit of level `i`, then 16 bytes with the low four bits of
/// levels `i` (low) and `i + 16` (high).
#[inline(always)]
pub(crate) fn five_bits<S: Simd>(s: S, bytes: &[u8; 20]) -> [u8; 32] {
    let (word, low) = bytes.split_first_chunk().expect("a word");
    let (word, low) = (u32::from_le_bytes(*word), nibbles::<16>(low.try_into().expect("16 bytes")));
    let mut levels = [0; 32];
    let vectors = low.as_flattened().chunks_exact(S::LANES).zip(levels.chunks_exact_mut(S::LANES));
    for (i, (low, levels)) in vectors.enumerate() {
        let highest = s.select_i32(s.mask(word >> (i * S::LANES)), s.splat_i32(16), s.splat_i32(0));
        s.store_u8(s.or_i32(s.load_u8(low), highest), levels);
    }
    levels
}

/// Levels of two bits of a super-block: byte `i` of each half holds levels `i`, `i + 32`, `i + 64`, `i + 96` of that half
/// from the lowest bits up.
#[inline(always)]
pub(crate) fn bit_pairs(bytes: &[u8]) -> [u8; 256] {
    let mut levels = [0; 256];
    for (half, bytes) in levels.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<32>().0) {
        for (i, byte) in bytes.iter().enumerate() {
            half[i] = byte & 3;
            half[32 + i] = byte >> 2 & 3;
            half[64 + i] = byte >> 4 & 3;
            half[96 + i] = byte >> 6;
        }
    }
    levels
}

/// Adds the highest bits, `1 << BIT`, of a super-block's levels: bit `k` of byte `i` is that of level `32 k + i`.
#[inline(always)]
pub(crate) fn add_bits<const BIT: u32>(levels: &mut [u8; 256], bytes: &[u8; 32]) {
    let mut bytes = *bytes;
    for levels in levels.as_chunks_mut::<32>().0 {
        for (level, byte) in levels.iter_mut().zip(&mut bytes) {
            *level |= (*byte & 1) << BIT;
            *byte >>= 1;
        }
    }
}

// Levels are first unpacked to bytes, of which many fit in a vector; these make weights of them.

/// Writes `scale * level` for signed levels.
#[inline(always)]
pub(crate) fn signed<S: Simd>(s: S, levels: &[u8], scale: S::F32, out: &mut [f32]) {
    for (levels, out) in levels.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        s.store(s.mul(scale, s.to_f32(s.load_i8(levels))), out);
    }
}

/// Writes `scale * (level - half)`.
#[inline(always)]
pub(crate) fn centred<S: Simd>(s: S, levels: &[u8], half: i32, scale: S::F32, out: &mut [f32]) {
    for (levels, out) in levels.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        let level = s.sub_i32(s.load_u8(levels), s.splat_i32(half));
        s.store(s.mul(scale, s.to_f32(level)), out);
    }
}

/// Writes `scale * level + min`.
#[inline(always)]
pub(crate) fn affine<S: Simd>(s: S, levels: &[u8], scale: S::F32, min: S::F32, out: &mut [f32]) {
    for (levels, out) in levels.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        s.store(s.add(s.mul(scale, s.to_f32(s.load_u8(levels))), min), out);
    }
}

/// Adds `min` to weights.
#[inline(always)]
pub(crate) fn add<S: Simd>(s: S, min: S::F32, out: &mut [f32]) {
    for out in out.chunks_exact_mut(S::LANES) {
        s.store(s.add(s.load(out), min), out);
    }
}

/// Values of levels as floats.
pub(crate) const fn floats(values: &[i8; 16]) -> [f32; 16] {
    let mut floats = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        floats[i] = values[i] as f32;
        i += 1;
    }
    floats
}

/// Writes `scale * values[level]`.
#[inline(always)]
pub(crate) fn looked_up<S: Simd>(s: S, levels: &[u8], values: &[f32; 16], scale: S::F32, out: &mut [f32]) {
    for (levels, out) in levels.chunks_exact(S::LANES).zip(out.chunks_exact_mut(S::LANES)) {
        s.store(s.mul(scale, s.lookup(values, s.load_u8(levels))), out);
    }
}
