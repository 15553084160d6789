//! Blocks in lanes: which weights a lane works on, and where its block goes.

use crate::Level;
use crate::simd::{Kernel, Simd};
use core::marker::PhantomData;

/// An encoding that works on as many blocks at a time as a vector has lanes.
pub(crate) trait Encode {
    /// Weights per block.
    const LEN: usize;
    /// Bytes per block.
    const BYTES: usize;

    /// Writes the blocks of the batch to their places in `dst`, the bytes of all blocks.
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]);
}

/// Quantizes rows, batch by batch.
pub(crate) fn quantize<E: Encode>(
    level: Level,
    src: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) {
    assert!(
        columns > 0 && columns.is_multiple_of(E::LEN) && src.len().is_multiple_of(columns),
        "whole blocks and rows"
    );
    assert_eq!(src.len() / E::LEN * E::BYTES, dst.len(), "room for the blocks");
    assert!(importance.is_none_or(|i| i.len() == columns), "one importance per column");
    level.run(Rows::<E> { src, columns, importance, dst, encoding: PhantomData });
}

struct Rows<'a, E> {
    src: &'a [f32],
    columns: usize,
    importance: Option<&'a [f32]>,
    dst: &'a mut [u8],
    encoding: PhantomData<E>,
}

impl<E: Encode> Kernel for Rows<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let count = self.src.len() / E::LEN;
        for first in (0..count).step_by(S::LANES) {
            let batch = Batch {
                weights: self.src,
                importance: self.importance,
                len: E::LEN,
                blocks_per_row: self.columns / E::LEN,
                first,
                count,
            };
            // Lanes read far apart, which no CPU foresees.
            let [from, to] = [1, 2].map(|batch| (first + batch * S::LANES).min(count) * E::LEN);
            s.prefetch(&self.src[from..to]);
            E::encode(s, &batch, self.dst);
        }
    }
}

/// Consecutive blocks, one per lane. Where fewer are left than a vector has lanes, the last one is repeated.
pub(crate) struct Batch<'a> {
    /// The weights of all blocks.
    pub weights: &'a [f32],
    /// One number per column.
    pub importance: Option<&'a [f32]>,
    /// Weights per block.
    pub len: usize,
    pub blocks_per_row: usize,
    /// The block in lane 0.
    pub first: usize,
    /// Blocks in all.
    pub count: usize,
}

impl Batch<'_> {
    /// Where the weights of the lane's block start.
    #[inline(always)]
    pub fn start(&self, lane: usize) -> usize {
        self.block(lane) * self.len
    }

    /// Where the importance of the lane's block starts.
    #[inline(always)]
    pub fn importance_start(&self, lane: usize) -> usize {
        self.block(lane) % self.blocks_per_row * self.len
    }

    #[inline(always)]
    pub fn block(&self, lane: usize) -> usize {
        (self.first + lane).min(self.count - 1)
    }

    /// Writes the lanes' blocks, given as little-endian words, to their places in `dst`, the bytes of all blocks.
    #[inline(always)]
    pub fn store<S: Simd, const WORDS: usize>(&self, s: S, words: &[S::I32; WORDS], dst: &mut [u8]) {
        let dst = dst[self.first * WORDS * 4..].as_chunks_mut::<4>().0;
        let lanes = S::LANES.min(self.count - self.first);
        let mut values = [0; 64];
        for (i, &word) in words.iter().enumerate() {
            s.store_i32(word, &mut values);
            for (lane, value) in values[..lanes].iter().enumerate() {
                dst[lane * WORDS + i] = value.to_le_bytes();
            }
        }
    }

    /// Writes the lanes' blocks, given byte by byte, to their places in `dst`, the bytes of all blocks. The upper bits of
    /// the bytes must be zero.
    #[inline(always)]
    pub fn store_bytes<S: Simd, const BYTES: usize>(&self, s: S, bytes: &[S::I32; BYTES], dst: &mut [u8]) {
        let lanes = S::LANES.min(self.count - self.first);
        let dst = &mut dst[self.first * BYTES..][..lanes * BYTES];
        let (words, rest) = bytes.as_chunks::<4>();
        let mut values = [0; 64];
        for (i, &bytes) in words.iter().enumerate() {
            s.store_i32(word(s, bytes), &mut values);
            for (value, block) in values.iter().zip(dst.as_chunks_mut::<BYTES>().0) {
                block[4 * i..][..4].copy_from_slice(&value.to_le_bytes());
            }
        }
        for (i, &byte) in rest.iter().enumerate() {
            s.store_i32(byte, &mut values);
            for (value, block) in values.iter().zip(dst.as_chunks_mut::<BYTES>().0) {
                block[4 * words.len() + i] = *value as u8;
            }
        }
    }
}

/// Four bytes as a word: lane by lane, the low byte of `bytes[i]` becomes byte `i`; the other bits must be zero.
#[inline(always)]
fn word<S: Simd>(s: S, bytes: [S::I32; 4]) -> S::I32 {
    let low = s.or_i32(bytes[0], s.shl_i32::<8>(bytes[1]));
    let high = s.or_i32(s.shl_i32::<16>(bytes[2]), s.shl_i32::<24>(bytes[3]));
    s.or_i32(low, high)
}

/// Bytes as words, four by four.
#[inline(always)]
pub(crate) fn words<S: Simd, const WORDS: usize>(s: S, bytes: &[S::I32]) -> [S::I32; WORDS] {
    assert_eq!(bytes.len(), 4 * WORDS);
    let mut words = [s.splat_i32(0); WORDS];
    for (four, out) in bytes.as_chunks().0.iter().zip(&mut words) {
        *out = word(s, *four);
    }
    words
}
