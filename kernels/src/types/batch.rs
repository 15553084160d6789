//! Blocks in lanes: which weights a lane works on, and where its block goes.

use crate::Level;
use crate::simd::{Kernel, MOST_LANES, Simd, TILE};
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
            let blocks_per_row = self.columns / E::LEN;
            let batch = Batch::new(s, self.src, self.importance, E::LEN, blocks_per_row, [first, count]);
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
    /// By lane, the block's row and its place there. Dividing for each would take longer than some of the encodings.
    places: [[usize; 2]; 2 * MOST_LANES],
}

impl<'a> Batch<'a> {
    /// The batch whose first block is `first` of `count`.
    #[inline(always)]
    pub fn new<S: Simd>(
        _: S,
        weights: &'a [f32],
        importance: Option<&'a [f32]>,
        len: usize,
        blocks_per_row: usize,
        [first, count]: [usize; 2],
    ) -> Self {
        let mut place = [first / blocks_per_row, first % blocks_per_row];
        let mut places = [place; 2 * MOST_LANES];
        let lanes = S::LANES.min(count - first);
        for lane in &mut places[1..S::LANES] {
            place[1] += 1;
            if place[1] == blocks_per_row {
                place = [place[0] + 1, 0];
            }
            *lane = place;
        }
        // The last block is repeated.
        if lanes < S::LANES {
            let last = places[lanes - 1];
            places[lanes..].fill(last);
        }
        Batch { weights, importance, len, blocks_per_row, first, count, places }
    }

    /// Where the weights of the lane's block start.
    #[inline(always)]
    pub fn start(&self, lane: usize) -> usize {
        self.block(lane) * self.len
    }

    /// Where the importance of the lane's block starts. Only types on grids ask, whose tables need threads.
    #[cfg(feature = "std")]
    #[inline(always)]
    pub fn importance_start(&self, lane: usize) -> usize {
        self.places[lane][1] * self.len
    }

    /// The weights of each lane's block, of `LEN` weights.
    #[inline(always)]
    pub fn rows<const LEN: usize>(&self) -> LaneRows<'a, LEN> {
        assert_eq!(self.len, LEN);
        let blocks = self.weights.as_chunks().0;
        let mut rows = [&blocks[self.count - 1]; 2 * MOST_LANES];
        for (lane, row) in rows.iter_mut().enumerate() {
            *row = &blocks[self.block(lane)];
        }
        rows
    }

    /// The importance of the columns of each lane's block.
    #[inline(always)]
    pub fn importance_rows<const LEN: usize>(&self, importance: &'a [f32]) -> LaneRows<'a, LEN> {
        assert_eq!(self.len, LEN);
        let blocks = importance.as_chunks().0;
        self.places.map(
            #[inline(always)]
            |[_, at]| &blocks[at],
        )
    }

    /// The row of the lane's block.
    #[inline(always)]
    pub fn row(&self, lane: usize) -> usize {
        self.places[lane][0]
    }

    #[inline(always)]
    pub fn block(&self, lane: usize) -> usize {
        (self.first + lane).min(self.count - 1)
    }

    /// Writes the lanes' blocks, given as little-endian words, to their places in `dst`, the bytes of all blocks.
    #[inline(always)]
    pub fn store<S: Simd, const WORDS: usize>(&self, s: S, words: &[S::I32; WORDS], dst: &mut [u8]) {
        let blocks = self.blocks::<S>(4 * WORDS, dst);
        for (i, &word) in words.iter().enumerate() {
            store_lanes(s, word, blocks, 4 * WORDS, 4 * i, i32::to_le_bytes);
        }
    }

    /// Writes the lanes' blocks, given byte by byte, to their places in `dst`, the bytes of all blocks. The upper bits of
    /// the bytes must be zero.
    #[inline(always)]
    pub fn store_bytes<S: Simd, const BYTES: usize>(&self, s: S, bytes: &[S::I32; BYTES], dst: &mut [u8]) {
        let blocks = self.blocks::<S>(BYTES, dst);
        let (words, rest) = bytes.as_chunks::<4>();
        for (i, &bytes) in words.iter().enumerate() {
            store_lanes(s, word(s, bytes), blocks, BYTES, 4 * i, i32::to_le_bytes);
        }
        let (pairs, rest) = rest.as_chunks::<2>();
        for &[low, high] in pairs {
            let pair = s.or_i32(low, s.shl_i32::<8>(high));
            store_lanes(s, pair, blocks, BYTES, 4 * words.len(), |pair| (pair as u16).to_le_bytes());
        }
        for &byte in rest {
            store_lanes(s, byte, blocks, BYTES, BYTES - 1, |byte| [byte as u8]);
        }
    }

    /// The lanes' blocks.
    #[inline(always)]
    fn blocks<'b, S: Simd>(&self, bytes: usize, dst: &'b mut [u8]) -> &'b mut [u8] {
        let lanes = S::LANES.min(self.count - self.first);
        &mut dst[self.first * bytes..][..lanes * bytes]
    }
}

/// A row of weights, or of their columns' importance, for each lane.
pub(crate) type LaneRows<'a, const LEN: usize> = [&'a [f32; LEN]; 2 * MOST_LANES];

/// Loads the columns of rows from `start` on; their number is a multiple of 16.
#[inline(always)]
pub(crate) fn load<S: Simd, const LEN: usize, const N: usize>(
    s: S,
    rows: &LaneRows<LEN>,
    start: usize,
    dst: &mut [S::F32; N],
) {
    for at in (0..N).step_by(TILE) {
        s.columns(
            #[inline(always)]
            |lane| sixteen(rows[lane], start + at),
            #[inline(always)]
            |i, column| dst[at + i] = column,
        );
    }
}

/// The 16 weights from `at` on.
#[inline(always)]
pub(crate) fn sixteen(row: &[f32], at: usize) -> &[f32; TILE] {
    row[at..].first_chunk().expect("16 weights in the row")
}

/// Writes each lane to its block, of so many bytes, from byte `at` on.
#[inline(always)]
fn store_lanes<S: Simd, const N: usize>(
    s: S,
    v: S::I32,
    blocks: &mut [u8],
    bytes: usize,
    at: usize,
    bytes_of: impl Fn(i32) -> [u8; N],
) {
    let mut lanes = [0; 2 * MOST_LANES];
    s.store_i32(v, &mut lanes);
    if blocks.len() == S::LANES * bytes {
        // LLVM does not take over from the comparison that no index is beyond the end.
        let blocks = &mut blocks[..S::LANES * bytes];
        // Written out, as their number is known; of a loop LLVM makes scattering instructions, which are slow.
        for lane in 0..S::LANES {
            blocks[lane * bytes + at..][..N].copy_from_slice(&bytes_of(lanes[lane]));
        }
    } else {
        for (block, &lane) in blocks.chunks_exact_mut(bytes).zip(&lanes) {
            block[at..][..N].copy_from_slice(&bytes_of(lane));
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
