//! Decoding block by block.

use crate::Level;
use crate::simd::{Kernel, Simd};
use core::marker::PhantomData;

/// A decoding of blocks of `BYTES` bytes to `LEN` weights.
pub(crate) trait Decode<const BYTES: usize, const LEN: usize> {
    /// Decodes one block. `s` is there for what has no plain form; loops over elements the compiler turns into vectors.
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

/// The half-precision number at the start of `bytes`.
#[inline(always)]
pub(crate) fn f16<S: Simd>(s: S, bytes: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let mut value = [0.0; 64];
    s.store(s.from_f16_bits(s.splat_i32(i32::from(bits))), &mut value);
    value[0]
}
