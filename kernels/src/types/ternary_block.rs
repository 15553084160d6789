//! What the encoders of the types of one bit share: super-blocks of 256 weights in sub-blocks of 16 or 32 with a scale each,
//! whose levels -1, 0 and 1, moved by an eighth, are points of a grid.

use super::batch::{self, Batch, Encode};
use super::sums::sum_of_squares;
use crate::Level;
use crate::grid;
use crate::search::{OnTernary, Split, Ternary};
use crate::simd::Simd;
use core::marker::PhantomData;

/// Weights of a super-block.
const LEN: usize = 256;
/// Weights of a group.
const GROUP: usize = 8;
/// The most lanes of a vector.
const LANES: usize = 16;

/// Such an encoding, with sub-blocks of `SUB` weights.
pub(super) trait TernaryBlock<const SUB: usize> {
    /// Bytes per block.
    const BYTES: usize;
    /// Sub-blocks whose greatest magnitude is less are zero.
    const EPSILON: f32;
    /// What `d` is multiplied by before it is stored.
    const FACTOR: f32;
    /// `d` is fitted to all levels in the end.
    const REFIT: bool;

    /// Fits sub-blocks without the grid.
    fn split<S: Simd>(s: S, x: &[S::F32; SUB], w: &[S::F32; SUB]) -> Split<S, SUB>;

    /// Whether the levels of a sub-block's group are moved down, by what the split says of its parts.
    fn is_minus(minus: u8, group: usize) -> bool;

    /// Writes a block whose bytes are all zero.
    fn store(block: &mut [u8], found: &Found);
}

/// A super-block.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// As f16 bits.
    pub d: u16,
    /// By sub-block, of which there are 8 or 16.
    pub scales: [u8; 16],
    /// By sub-block: bits of the parts whose levels are moved down.
    pub minus: [u8; 16],
    /// Indices of the points, by group.
    pub points: [u16; LEN / GROUP],
    /// The scales of the sub-blocks.
    fits: [f32; 16],
}

const EMPTY: Found = Found { d: 0, scales: [0; 16], minus: [0; 16], points: [0; LEN / GROUP], fits: [0.0; 16] };

/// Quantizes rows.
pub(super) fn quantize<B: TernaryBlock<SUB>, const SUB: usize>(
    level: Level,
    src: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) {
    batch::quantize::<Blocks<B, SUB>>(level, src, columns, importance, dst);
}

struct Blocks<B, const SUB: usize>(PhantomData<B>);

impl<B: TernaryBlock<SUB>, const SUB: usize> Encode for Blocks<B, SUB> {
    const LEN: usize = LEN;
    const BYTES: usize = B::BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        assert!(S::LANES <= LANES);
        let count = S::LANES.min(batch.count - batch.first);
        let weights = &batch.weights[batch.start(0)..][..count * LEN];
        let mut of_weights = [0.0; LANES * LEN];
        weigh(s, batch, weights, &mut of_weights);
        let of_weights = &of_weights[..count * LEN];

        // From here on a lane holds one sub-block.
        let mut found = [EMPTY; LANES];
        let mut search = OnTernary::new();
        let subs = weights.len() / SUB;
        for first in (0..subs).step_by(S::LANES) {
            let start = |lane: usize| (first + lane).min(subs - 1) * SUB;
            let [mut x, mut w] = [[s.splat(0.0); SUB]; 2];
            s.transpose(weights, start, &mut x);
            s.transpose(of_weights, start, &mut w);
            let lanes = Lanes::of(s, B::EPSILON, &x, B::split(s, &x, &w));
            for lane in 0..S::LANES.min(subs - first) {
                if lanes.found >> lane & 1 == 0 {
                    continue;
                }
                let (block, sub) = ((first + lane) / (LEN / SUB), (first + lane) % (LEN / SUB));
                let found = &mut found[block];
                let minus = lanes.minus[lane] as u8;
                let (mut codes, mut of_groups) = ([0; 4], [false; 4]);
                for group in 0..4 {
                    codes[group] = lanes.codes[group][lane] as u16;
                    of_groups[group] = B::is_minus(minus, group);
                }
                let of_sub = start(lane)..start(lane) + SUB;
                let ternary = Ternary {
                    x: &weights[of_sub.clone()],
                    w: &of_weights[of_sub],
                    codes: &codes,
                    minus: &of_groups,
                    scale: lanes.scales[lane],
                };
                let points = &mut found.points[sub * (SUB / GROUP)..(sub + 1) * (SUB / GROUP)];
                found.fits[sub] = search.search(s, ternary, points);
                found.minus[sub] = minus;
            }
        }

        let blocks = weights.as_chunks::<LEN>().0.iter().zip(of_weights.as_chunks::<LEN>().0);
        let dst = dst[batch.first * B::BYTES..].chunks_exact_mut(B::BYTES);
        for ((found, (x, w)), dst) in found.iter_mut().zip(blocks).zip(dst) {
            found.set_scales::<S, B, SUB>(s, x, w);
            dst.fill(0);
            B::store(dst, found);
        }
    }
}

/// What weights count: by importance and size, or by size alone. Here a lane holds one super-block, then one weight.
#[inline(always)]
fn weigh<S: Simd>(s: S, batch: &Batch, weights: &[f32], out: &mut [f32]) {
    let rows = batch.rows::<LEN>();
    let squares = sum_of_squares(
        s,
        LEN,
        #[inline(always)]
        |lane| rows[lane],
    );
    let mut variances = [0.0; LANES];
    s.store(s.div(s.mul(s.splat(2.0), squares), s.splat(LEN as f32)), &mut variances);
    for (lane, weights) in weights.as_chunks::<LEN>().0.iter().enumerate() {
        let importance = batch.importance.map(|importance| &importance[batch.importance_start(lane)..][..LEN]);
        let (variance, out) = (s.splat(variances[lane]), &mut out[lane * LEN..][..LEN]);
        for at in (0..LEN).step_by(S::LANES) {
            let x = s.load(&weights[at..]);
            let w = match importance {
                None => s.mul(x, x),
                Some(importance) => s.mul(s.load(&importance[at..]), s.sqrt(s.add(variance, s.mul(x, x)))),
            };
            s.store(w, &mut out[at..]);
        }
    }
}

/// A vector of splits, lane by lane.
struct Lanes {
    /// A bit per lane.
    found: u32,
    scales: [f32; LANES],
    minus: [i32; LANES],
    /// By group.
    codes: [[i32; LANES]; 4],
}

impl Lanes {
    #[inline(always)]
    fn of<S: Simd, const SUB: usize>(s: S, epsilon: f32, x: &[S::F32; SUB], split: Split<S, SUB>) -> Lanes {
        let mut most = s.splat(0.0);
        for &x in x {
            most = s.max(most, s.abs(x));
        }
        let found = s.and(split.found, s.not(s.lt(most, s.splat(epsilon))));
        let mut lanes = Lanes { found: s.bits(found), scales: [0.0; LANES], minus: [0; LANES], codes: [[0; LANES]; 4] };
        s.store(split.scale, &mut lanes.scales);
        s.store_i32(split.minus, &mut lanes.minus);
        for (codes, levels) in lanes.codes.iter_mut().zip(split.levels.as_chunks::<GROUP>().0) {
            let mut code = s.splat_i32(0);
            for &level in levels.iter().rev() {
                code = s.add_i32(s.shl_i32::<2>(code), level);
            }
            s.store_i32(code, codes);
        }
        lanes
    }
}

impl Found {
    /// Works out `d` and the scales in its units.
    #[inline(always)]
    fn set_scales<S: Simd, B: TernaryBlock<SUB>, const SUB: usize>(&mut self, s: S, x: &[f32; LEN], w: &[f32; LEN]) {
        let subs = LEN / SUB;
        let largest = self.fits[..subs].iter().fold(0.0f32, |most, &fit| if most > fit { most } else { fit });
        if largest == 0.0 {
            self.minus = [0; 16];
            return;
        }
        let mut d = largest / 15.0;
        let inverse = s.splat(1.0 / d);
        for at in (0..16).step_by(S::LANES) {
            let scale = s.sub(s.mul(inverse, s.load(&self.fits[at..])), s.splat(1.0));
            let scale = s.nearest_i32(s.mul(s.splat(0.5), scale));
            let scale = s.max_i32(s.min_i32(scale, s.splat_i32(7)), s.splat_i32(0));
            s.store_u8(scale, &mut self.scales[at..]);
        }
        if B::REFIT {
            let [sum_qx, sum_q2] = self.sums::<B, SUB>(x, w);
            if sum_q2 > 0.0 {
                d = sum_qx / sum_q2;
            }
        }
        let mut bits = [0; LANES];
        s.store_i32(s.to_f16_bits(s.splat(d * B::FACTOR)), &mut bits);
        self.d = bits[0] as u16;
    }

    /// The sums of `w q x` and `w q q` over all weights, where `q` is in units of `d`.
    #[inline(always)]
    fn sums<B: TernaryBlock<SUB>, const SUB: usize>(&self, x: &[f32; LEN], w: &[f32; LEN]) -> [f32; 2] {
        let [mut sum_qx, mut sum_q2] = [0.0; 2];
        let groups = x.as_chunks::<GROUP>().0.iter().zip(w.as_chunks::<GROUP>().0).zip(&self.points).enumerate();
        for (group, ((x, w), &point)) in groups {
            let sub = group / (SUB / GROUP);
            let delta = if B::is_minus(self.minus[sub], group % (SUB / GROUP)) { -0.125 } else { 0.125 };
            let scale = f32::from(2 * self.scales[sub] + 1);
            for ((x, w), &level) in x.iter().zip(w).zip(&grid::IQ1[usize::from(point)]) {
                let q = (f32::from(level) + delta) * scale;
                sum_qx += w * q * x;
                sum_q2 += w * q * q;
            }
        }
        [sum_qx, sum_q2]
    }
}
