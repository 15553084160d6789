//! What the types of one byte per weight have in common. Sources only: nothing is encoded to them here.

use crate::simd::{Kernel, Level, MOST_LANES, Simd};
use core::marker::PhantomData;

/// An 8-bit number.
pub trait Byte {
    /// The value of the number in the lowest bytes of the lanes, whose other bytes are zero.
    fn decode<S: Simd>(s: S, bytes: S::I32) -> S::F32;
}

/// Converts every number.
pub fn decode<B: Byte>(level: Level, src: &[u8], dst: &mut [f32]) {
    assert_eq!(src.len(), dst.len());
    level.run(Decode::<B> { src, dst, byte: PhantomData });
}

struct Decode<'a, B> {
    src: &'a [u8],
    dst: &'a mut [f32],
    byte: PhantomData<B>,
}

impl<B: Byte> Kernel for Decode<'_, B> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (mut src, mut dst) = (self.src.chunks_exact(S::LANES), self.dst.chunks_exact_mut(S::LANES));
        for (src, dst) in (&mut src).zip(&mut dst) {
            s.store(B::decode(s, s.load_u8(src)), dst);
        }
        let (src, dst) = (src.remainder(), dst.into_remainder());
        let (mut bytes, mut weights) = ([0; MOST_LANES], [0.0; MOST_LANES]);
        bytes[..src.len()].copy_from_slice(src);
        s.store(B::decode(s, s.load_u8(&bytes)), &mut weights);
        dst.copy_from_slice(&weights[..dst.len()]);
    }
}
