//! Q3_K: 16 sub-blocks of 16 weights, 3-bit levels, 6-bit scales.
//!
//! Bytes of a block: 32 whose bit `k` is the high bit of the levels of weights `32 k + i`; 64 with the low 2 bits, of which
//! byte `i` of each half holds weights `i`, `i + 32`, `i + 64`, `i + 96` of that half from the lowest bits up; 12 of
//! scales; `d` (f16). Of the scales bytes 0 to 7 hold the low 4 bits of scales `j` (low) and `j + 8` (high), bytes 8 to 11
//! the high 2 bits of scales `j`, `j + 4`, `j + 8`, `j + 12` from the lowest bits up. Scales are stored plus 32.

use super::batch::{self, Batch, Encode};
use super::decode::{self, Decode, bit_pairs, f16};
use super::signed::{self, LEN, Rows, SUB_LEN, SUBS};
use super::sums::sum_of_squares;
use crate::Level;
use crate::levels::{self, Levels, Points};
use crate::search::{Descent, Start, SymmetricFit, extreme, unsigned_level};
use crate::simd::{MOST_LANES, Simd, Twice};
use core::array::from_fn;

const BYTES: usize = 110;

pub(crate) fn quantize(level: Level, src: &[f32], columns: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
    batch::quantize::<Q3K>(level, src, columns, importance, dst);
}

pub(crate) fn dequantize(level: Level, src: &[u8], dst: &mut [f32]) {
    decode::dequantize::<Q3K, BYTES, LEN>(level, src, dst);
}

pub(crate) static LEVELS: Levels = Levels {
    run: SUB_LEN,
    points: Points::Even { first: -4, count: 8 },
    numbers: |block, scales, offsets| {
        let d = levels::f16(&block[108..]);
        for (scale, stored) in scales.iter_mut().zip(unpack_scales(&block[96..108])) {
            *scale = d * f32::from(stored as i8 - SCALE_HALF as i8);
        }
        offsets.fill(0.0);
    },
    set: |scales, _, block| {
        let d = levels::f16(&block[108..]);
        let mut stored = [0u8; SUBS];
        for (stored, scale) in stored.iter_mut().zip(scales) {
            *stored = (levels::multiple(*scale, d, -32, 31) + SCALE_HALF as i16) as u8;
        }
        for (i, byte) in block[96..104].iter_mut().enumerate() {
            *byte = stored[i] & 15 | (stored[i + 8] & 15) << 4;
        }
        for (i, byte) in block[104..108].iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, quarter| byte | stored[4 * quarter + i] >> 4 << (2 * quarter));
        }
    },
    store: |levels, block| {
        levels::store_bits::<2>(levels, &mut block[..32]);
        levels::store_pairs(levels, &mut block[32..96]);
    },
};

struct Q3K;

/// Levels are stored plus this.
const HALF: i32 = 4;
/// Scales are stored plus this.
const SCALE_HALF: i32 = 32;

/// What the search found for one super-block per lane.
struct Found<S: Simd> {
    /// As f16 bits.
    d: S::I32,
    /// As stored.
    scales: [S::I32; SUBS],
    /// The fits with importance.
    fits: Option<[SymmetricFit<S, HALF>; SUBS]>,
}

impl<S: Simd> Found<S> {
    /// The levels that the scale of a sub-block of weights `x` was fitted to, as stored.
    #[inline(always)]
    fn levels(&self, s: S, sub: usize, x: &[S::F32; SUB_LEN]) -> [S::I32; SUB_LEN] {
        match &self.fits {
            // They are seldom asked for, so they are not kept.
            None => Descent::search::<HALF>(s, x).levels,
            Some(fits) => {
                let mut levels = [s.splat_i32(0); SUB_LEN];
                for (level, &x) in levels.iter_mut().zip(x) {
                    *level = fits[sub].level(s, x);
                }
                levels
            }
        }
    }
}

impl Encode for Q3K {
    const LEN: usize = LEN;
    const BYTES: usize = BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        let rows = batch.rows();
        let found = match batch.importance {
            None => plain(s, batch, &rows),
            Some(importance) => weighted(s, &rows, &batch.importance_rows(importance)),
        };
        let mut bytes = [s.splat_i32(0); BYTES];
        let (high, rest) = bytes.split_at_mut(32);
        let (low, rest) = rest.split_at_mut(64);
        // The last weights are the uppermost bits, so they go in first.
        for sub in (0..SUBS).rev() {
            let x = signed::sub_block(s, &rows, sub);
            let scale = s.to_f32(s.sub_i32(found.scales[sub], s.splat_i32(SCALE_HALF)));
            let scale = s.mul(s.from_f16_bits(found.d), scale);
            let mut levels = signed::levels::<S, HALF>(s, &x, scale);
            let void = s.eq(scale, s.splat(0.0));
            if s.any(void) {
                for (level, found) in levels.iter_mut().zip(found.levels(s, sub, &x)) {
                    *level = s.select_i32(void, found, *level);
                }
            }
            let (half, at) = (sub / 8, sub % 2 * 16);
            let (high, low) = (&mut high[at..][..16], &mut low[32 * half + at..][..16]);
            for (i, &level) in levels.iter().enumerate() {
                high[i] = s.or_i32(s.shl_i32::<1>(high[i]), s.shr_i32::<2>(level));
                low[i] = s.or_i32(s.shl_i32::<2>(low[i]), s.and_i32(level, s.splat_i32(3)));
            }
        }
        rest[..12].copy_from_slice(&pack_scales(s, &found.scales));
        rest[12..].copy_from_slice(&[s.and_i32(found.d, s.splat_i32(0xff)), s.shr_i32::<8>(found.d)]);
        batch.store_bytes(s, &bytes, dst);
    }
}

/// Without importance.
#[inline(always)]
fn plain<S: Simd>(s: S, batch: &Batch, rows: &Rows) -> Found<S> {
    let (zero, none) = (s.splat(0.0), s.splat_i32(0));
    // Of each sub-block, by lane. Few have levels that move: these come together, wherever they lie, four vectors at
    // a time: each level waits for the one before, so one vector would leave the CPU idle.
    let mut of_lanes = [[0.0; MOST_LANES]; SUBS];
    let (mut moving, mut count) = ([(0, 0); MOST_LANES * SUBS], 0);
    for (sub, scales) in of_lanes.iter_mut().enumerate() {
        let x = signed::sub_block(s, rows, sub);
        let start = Start::new::<SUB_LEN, HALF>(s, &x);
        s.store(start.scale, scales);
        let mut lanes = s.bits(start.may_move);
        while lanes != 0 {
            moving[count] = (lanes.trailing_zeros() as usize, sub);
            count += 1;
            lanes &= lanes - 1;
        }
    }
    let t = Twice(Twice(s));
    for moving in moving[..count].chunks(4 * S::LANES) {
        let mut x = [t.splat(0.0); SUB_LEN];
        t.transpose(
            batch.weights,
            #[inline(always)]
            |at| {
                let (lane, sub) = moving[at.min(moving.len() - 1)];
                batch.start(lane) + SUB_LEN * sub
            },
            &mut x,
        );
        let mut scales = [0.0; 4 * MOST_LANES];
        t.store(Descent::search::<HALF>(t, &x).scale, &mut scales);
        for (&(lane, sub), &scale) in moving.iter().zip(&scales) {
            of_lanes[sub][lane] = scale;
        }
    }
    let scales = of_lanes.map(
        #[inline(always)]
        |scales| s.load(&scales),
    );
    let [extreme, _] = extreme(s, &scales);
    let empty = s.eq(extreme, zero);
    let inverse = s.div(s.splat(-SCALE_HALF as f32), extreme);
    let mut stored = [none; SUBS];
    for (stored, &scale) in stored.iter_mut().zip(&scales) {
        *stored = s.select_i32(empty, none, unsigned_level::<S, SCALE_HALF>(s, s.mul(inverse, scale)));
    }
    let d = s.to_f16_bits(s.select(empty, zero, s.div(s.splat(1.0), inverse)));
    Found { d, scales: stored, fits: None }
}

/// With importance.
#[inline(always)]
fn weighted<S: Simd>(s: S, rows: &Rows, importance: &Rows) -> Found<S> {
    let zero = s.splat(0.0);
    let squares = sum_of_squares(
        s,
        LEN,
        #[inline(always)]
        |lane| rows[lane],
    );
    let variance = s.div(s.mul(s.splat(2.0), squares), s.splat(LEN as f32));
    let mut fits = [SymmetricFit::zero(s); SUBS];
    let (mut scales, mut totals, mut wx) = ([zero; SUBS], [zero; SUBS], [zero; SUB_LEN]);
    for sub in 0..SUBS {
        let x = signed::sub_block(s, rows, sub);
        let mut w = signed::sub_block(s, importance, sub);
        for (w, &x) in w.iter_mut().zip(&x) {
            *w = s.mul(*w, s.sqrt(s.add(variance, s.mul(x, x))));
            totals[sub] = s.add(totals[sub], *w);
        }
        fits[sub] = signed::fit(s, &x, &w, &mut wx, true);
        scales[sub] = fits[sub].scale;
    }
    // Great importance can make sums, and so scales, overflow.
    let fit = signed::fit::<S, SUBS, SCALE_HALF>(s, &scales, &totals, &mut wx, false);
    let mut stored = [s.splat_i32(0); SUBS];
    for (stored, &scale) in stored.iter_mut().zip(&scales) {
        *stored = fit.level(s, scale);
    }
    Found { d: s.to_f16_bits(fit.scale), scales: stored, fits: Some(fits) }
}

/// The 12 bytes of scales.
#[inline(always)]
fn pack_scales<S: Simd>(s: S, scales: &[S::I32; SUBS]) -> [S::I32; 12] {
    let mut bytes = [s.splat_i32(0); 12];
    for j in 0..8 {
        let nibble = s.splat_i32(15);
        bytes[j] = s.or_i32(s.and_i32(scales[j], nibble), s.shl_i32::<4>(s.and_i32(scales[j + 8], nibble)));
    }
    for j in 0..4 {
        // The last one is the uppermost, so it goes in first.
        for scale in [scales[j + 12], scales[j + 8], scales[j + 4], scales[j]] {
            bytes[8 + j] = s.or_i32(s.shl_i32::<2>(bytes[8 + j]), s.shr_i32::<4>(scale));
        }
    }
    bytes
}

/// The scales, as stored.
#[inline(always)]
fn unpack_scales(bytes: &[u8]) -> [u8; SUBS] {
    from_fn(|j| (bytes[j % 8] >> (j / 8 * 4) & 15) | (bytes[8 + j % 4] >> (j / 4 * 2) & 3) << 4)
}

impl Decode<BYTES, LEN> for Q3K {
    #[inline(always)]
    fn decode<S: Simd>(s: S, block: &[u8; BYTES], out: &mut [f32; LEN]) {
        let mut levels = bit_pairs(&block[32..96]);
        decode::add_bits::<2>(&mut levels, block.first_chunk().expect("32 bytes"));
        let scales = unpack_scales(&block[96..108]).map(|scale| scale.wrapping_sub(SCALE_HALF as u8));
        let scales = decode::products(s, f16(s, &block[108..]), &scales);
        let subs = levels.as_chunks::<SUB_LEN>().0.iter().zip(out.as_chunks_mut::<SUB_LEN>().0);
        for (&scale, (levels, out)) in scales.iter().zip(subs) {
            decode::centred(s, levels, HALF, s.splat(scale), out);
        }
    }
}
