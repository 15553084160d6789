//! What F16 and BF16 have in common: one little-endian 16-bit word per weight.

use crate::simd::{Kernel, Level, MOST_LANES, Simd};
use core::marker::PhantomData;

/// A 16-bit number.
pub trait Word {
    /// The nearest number of this type, ties to even, in the lower halves of the lanes.
    fn encode<S: Simd>(s: S, v: S::F32) -> S::I32;
    /// The value of the number in the lower halves of the lanes, whose upper halves are zero.
    fn decode<S: Simd>(s: S, words: S::I32) -> S::F32;
}

/// Converts every weight.
pub fn encode<W: Word>(level: Level, src: &[f32], dst: &mut [u8]) {
    assert_eq!(dst.len(), 2 * src.len());
    level.run(Encode::<W> { src, dst, word: PhantomData });
}

/// Converts every number.
pub fn decode<W: Word>(level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len(), 2 * dst.len());
    level.run(Decode::<W> { src, dst, word: PhantomData });
}

struct Encode<'a, W> {
    src: &'a [f32],
    dst: &'a mut [u8],
    word: PhantomData<W>,
}

impl<W: Word> Kernel for Encode<'_, W> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut src, mut dst) = (self.src.chunks_exact(S::LANES), self.dst.chunks_exact_mut(2 * S::LANES));
        for (src, dst) in (&mut src).zip(&mut dst) {
            s.store_u16(W::encode(s, s.load(src)), dst);
        }
        let (src, dst) = (src.remainder(), dst.into_remainder());
        let (mut weights, mut words) = ([0.0; MOST_LANES], [0; 2 * MOST_LANES]);
        weights[..src.len()].copy_from_slice(src);
        s.store_u16(W::encode(s, s.load(&weights)), &mut words);
        dst.copy_from_slice(&words[..dst.len()]);
    }
}

struct Decode<'a, W> {
    src: &'a [u8],
    dst: &'a mut [f32],
    word: PhantomData<W>,
}

impl<W: Word> Kernel for Decode<'_, W> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut src, mut dst) = (self.src.chunks_exact(2 * S::LANES), self.dst.chunks_exact_mut(S::LANES));
        for (src, dst) in (&mut src).zip(&mut dst) {
            s.store(W::decode(s, s.load_u16(src)), dst);
        }
        let (src, dst) = (src.remainder(), dst.into_remainder());
        let (mut words, mut weights) = ([0; 2 * MOST_LANES], [0.0; MOST_LANES]);
        words[..src.len()].copy_from_slice(src);
        s.store(W::decode(s, s.load_u16(&words)), &mut weights);
        dst.copy_from_slice(&weights[..dst.len()]);
    }
}
