//! IQ4_XS: 8 sub-blocks of 32 weights, 4-bit levels that are not spaced evenly, 6-bit scales.
//!
//! Bytes of a block: `d` (f16); a word whose pairs of bits are the high 2 bits of the scales, those of the first one lowest;
//! 4 bytes with the low 4 bits of scales `2 i` (low) and `2 i + 1` (high); then for each sub-block 16 that hold levels `i`
//! (low) and `i + 16` (high). Scales are stored plus 32.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, f16};
use super::four_bit::{self, GROUP};
use super::sums::sum_of_squares;
use crate::Level;
use crate::levels::{self, Levels, NONLINEAR};
use crate::search::unsigned_level;
use crate::simd::{MOST_LANES, Simd};

const LEN: usize = 256;
const BYTES: usize = 136;
/// Sub-blocks.
const SUBS: usize = 8;
/// Scales are stored plus this.
const HALF: i32 = 32;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Iq4Xs>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Iq4Xs, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: GROUP,
    points: NONLINEAR,
    numbers: |block, scales, offsets| {
        let d = levels::f16(block);
        scales.iter_mut().enumerate().for_each(|(sub, scale)| *scale = d * f32::from(stored_scale(block, sub)));
        offsets.fill(0.0);
    },
    set: |scales, _, block| {
        let d = levels::f16(block);
        block[2..8].fill(0);
        for (sub, scale) in scales.iter().enumerate() {
            let stored = (levels::multiple(*scale, d, -32, 31) + HALF as i16) as u8;
            block[4 + sub / 2] |= (stored & 15) << (sub % 2 * 4);
            block[2 + sub / 4] |= (stored >> 4) << (sub % 4 * 2);
        }
    },
    store: |levels, block| levels::store_nibbles::<16>(levels, &mut block[8..]),
};

/// The scale of a sub-block as a number around zero.
#[inline(always)]
fn stored_scale(block: &[u8], sub: usize) -> i16 {
    let low = block[4 + sub / 2] >> (sub % 2 * 4) & 15;
    let high = block[2 + sub / 4] >> (sub % 4 * 2) & 3;
    i16::from(low | high << 4) - HALF as i16
}

struct Iq4Xs;

/// A lane holds one sub-block, as those of a super-block lie side by side: a vector has those of several super-blocks, or
/// some vectors those of one.
impl Encode for Iq4Xs {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let mut squares = [0.0; MOST_LANES];
        if batch.importance.is_some() {
            // Here a lane holds one super-block.
            let rows = batch.rows::<LEN>();
            let sums = sum_of_squares(
                s,
                LEN,
                #[inline(always)]
                |lane| rows[lane],
            );
            s.store(sums, &mut squares);
        }
        let blocks = S::LANES.div_ceil(SUBS);
        let last = (batch.first + S::LANES).min(batch.count);
        // No vector has less than 4 lanes. What the weights count lies behind the weights that are used: a page away from them
        // they would wait for each other, as in the room of a search for scale and minimum.
        let mut room = [[s.splat(0.0); GROUP]; SUBS / 4 + 1];
        let (x, rest) = room.split_at_mut(SUBS.div_ceil(S::LANES));
        let w = &mut rest[0];
        for first in (batch.first..last).step_by(blocks) {
            // The first sub-block of a vector, and how many there are of all.
            let range = |vector: usize| [first * SUBS + vector * S::LANES, batch.count * SUBS];
            let mut scales = [0.0; MOST_LANES];
            for (i, x) in x.iter_mut().enumerate() {
                let blocks_per_row = batch.blocks_per_row * SUBS;
                let subs = Batch::new(s, batch.weights, batch.importance, GROUP, blocks_per_row, range(i));
                batch::load(s, &subs.rows::<GROUP>(), 0, x);
                let mut of_lanes = [0.0; MOST_LANES];
                for (lane, square) in of_lanes[..S::LANES].iter_mut().enumerate() {
                    *square = squares[subs.block(lane) / SUBS - batch.first];
                }
                let variance = s.mul(s.load(&of_lanes), s.splat(2.0 / LEN as f32));
                s.store(four_bit::scale(s, &subs, x, variance, w), &mut scales[i * S::LANES..]);
            }

            let mut extremes = [0.0; MOST_LANES];
            for (extremes, scales) in extremes.as_chunks_mut::<SUBS>().0[..blocks].iter_mut().zip(scales.as_chunks().0)
            {
                *extremes = [extreme(scales); SUBS];
            }
            for (i, x) in x.iter().enumerate() {
                let [scales, extreme] = [&scales, &extremes].map(|lanes| s.load(&lanes[i * S::LANES..]));
                let zero = s.splat(0.0);
                let d = s.div(s.neg(extreme), s.splat(HALF as f32));
                let inverse = s.select(s.eq(d, zero), zero, s.div(s.splat(1.0), d));
                let levels = unsigned_level::<S, HALF>(s, s.mul(inverse, scales));
                let scales = s.mul(d, s.to_f32(s.sub_i32(levels, s.splat_i32(HALF))));
                let bytes = four_bit::levels(s, x, scales);
                store(s, range(i), s.to_f16_bits(d), levels, &bytes, dst);
            }
        }
    }
}

/// The scale of greatest magnitude, of several the first one.
#[inline(always)]
fn extreme(scales: &[f32; SUBS]) -> f32 {
    let mut extreme = 0.0f32;
    for &scale in scales {
        extreme = if scale.abs() > extreme.abs() { scale } else { extreme };
    }
    extreme
}

/// Writes sub-blocks, and what belongs to them in the heads of their super-blocks.
#[inline(always)]
fn store<S: Simd>(
    s: S,
    [first, count]: [usize; 2],
    d: S::I32,
    scales: S::I32,
    bytes: &[S::I32; GROUP / 2],
    dst: &mut [u8],
) {
    let (mut ds, mut levels) = ([0; MOST_LANES], [0; MOST_LANES]);
    s.store_i32(d, &mut ds);
    s.store_i32(scales, &mut levels);
    let mut words = [[0; MOST_LANES]; 4];
    for (word, values) in batch::words::<S, 4>(s, bytes).into_iter().zip(&mut words) {
        s.store_i32(word, values);
    }
    for lane in 0..S::LANES.min(count - first) {
        let (block, sub) = ((first + lane) / SUBS, (first + lane) % SUBS);
        let block = &mut dst[block * BYTES..][..BYTES];
        let level = levels[lane];
        if sub == 0 {
            block[..8].fill(0);
            block[..2].copy_from_slice(&(ds[lane] as u16).to_le_bytes());
        }
        block[2 + sub / 4] |= (level as u8 >> 4) << (sub % 4 * 2);
        block[4 + sub / 2] |= (level as u8 & 15) << (sub % 2 * 4);
        let bytes = &mut block[8 + sub * GROUP / 2..][..GROUP / 2];
        for (word, bytes) in words.iter().zip(bytes.as_chunks_mut::<4>().0) {
            *bytes = word[lane].to_le_bytes();
        }
    }
}

impl Decode<BYTES, LEN> for Iq4Xs {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let d = f16(s, block);
        let subs = out.as_chunks_mut::<GROUP>().0.iter_mut().zip(block[8..].as_chunks::<{ GROUP / 2 }>().0);
        for (sub, (out, bytes)) in subs.enumerate() {
            four_bit::decode(s, bytes, s.mul(d, s.splat(f32::from(stored_scale(block, sub)))), out);
        }
    }
}
