//! What the encoders of the types of 2 and 3 bits share: super-blocks of 256 weights in sub-blocks of 16 or 32 with a scale
//! each, whose magnitudes are points of a grid, `|x| ~ d / 2 * (2 scale + 1) * (2 level + 1)` or the like.
//!
//! Here a vector holds weights of one sub-block, or one inverse scale of those tried per lane: sub-blocks take different ways
//! through the lists of points near by, so they cannot go in lanes.

use super::batch::{self, Batch, Encode};
use super::sums::sum_of_squares;
use crate::Level;
use crate::grid::Grid;
use crate::search::{Fits, GROUPS, Magnitudes, OnGrid, Positive, Rules, SUBS};
use crate::simd::{MOST_LANES, Simd};

/// Weights of a super-block.
const LEN: usize = 256;

/// Such an encoding.
pub(super) trait GridBlock {
    type Grid: Grid;
    /// Bytes per block.
    const BYTES: usize;
    const RULES: Rules;
    /// Of eight signs an even number is negative; where it is not, the weight that counts least takes the other sign.
    const EVEN_SIGNS: bool;
    /// With importance, a weight counts by its column's times `sqrt(variance_factor * mean(x * x) + x * x)`.
    const VARIANCE_FACTOR: f32;
    /// Sub-blocks whose greatest magnitude is less are zero.
    const EPSILON: f32;
    /// The largest value is first mapped to the scale that a search without the grid finds, not to the greatest magnitude.
    const SEARCH_FIRST: bool;
    /// What `d` is multiplied by before it is stored.
    const FACTOR: f32;

    /// What weights count by without importance, given `variance_factor * mean(x * x)`.
    fn plain<S: Simd>(s: S, x: S::F32, variance: S::F32) -> S::F32;

    /// Writes a block whose bytes are all zero.
    fn store(block: &mut [u8], found: &Found<Self::Grid>);
}

/// A super-block.
pub(super) struct Found<G: Grid> {
    /// As f16 bits.
    pub d: u16,
    /// All scales are zero.
    pub flat: bool,
    /// A bit per sub-block that was not searched, as it is as good as zero.
    pub empty: u16,
    /// By sub-block, of which there are 8 or 16.
    pub scales: [u8; 16],
    /// Indices of the points, by group.
    pub points: [u16; 64],
    /// A bit per weight.
    pub signs: [u8; 32],
    grid: core::marker::PhantomData<G>,
}

/// Writes scales `2 i` (low) and `2 i + 1` (high) to byte `i`.
#[inline(always)]
pub(super) fn store_scales(scales: &[u8; 16], bytes: &mut [u8]) {
    for (byte, [low, high]) in bytes.iter_mut().zip(scales.as_chunks::<2>().0) {
        *byte = low | high << 4;
    }
}

/// Quantizes rows.
pub(super) fn quantize<B: GridBlock>(
    level: Level,
    src: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    dst: &mut [u8],
) {
    batch::quantize::<Blocks<B>>(level, src, columns, importance, dst);
}

struct Blocks<B>(core::marker::PhantomData<B>);

impl<B: GridBlock> Encode for Blocks<B> {
    const LEN: usize = LEN;
    const BYTES: usize = B::BYTES;

    #[inline(always)]
    fn encode<S: Simd>(s: S, batch: &Batch, dst: &mut [u8]) {
        // Here a lane holds one super-block.
        let rows = batch.rows::<LEN>();
        let squares = sum_of_squares(
            s,
            LEN,
            #[inline(always)]
            |lane| rows[lane],
        );
        let mut variances = [0.0; MOST_LANES];
        let factor = s.splat(B::VARIANCE_FACTOR);
        s.store(s.div(s.mul(factor, squares), s.splat(LEN as f32)), &mut variances);
        let mut search = OnGrid::<B::Grid, S>::new();
        let count = S::LANES.min(batch.count - batch.first);
        // As many super-blocks at a time as have a vector's worth of sub-blocks of 32.
        let together = (S::LANES / (LEN / SUB_LEN)).clamp(1, MOST);
        for first in (0..count).step_by(together) {
            let mut blocks = [Block::EMPTY; MOST];
            let blocks = &mut blocks[..together.min(count - first)];
            for (block, lane) in blocks.iter_mut().zip(first..) {
                block.set::<S, B>(s, batch, lane, variances[lane]);
            }
            let scales = if B::SEARCH_FIRST { scales::<S, B>(s, blocks) } else { [0.0; 16] };
            for ((block, scales), lane) in blocks.iter_mut().zip(scales.chunks_exact(LEN / SUB_LEN)).zip(first..) {
                let block_bytes = &mut dst[(batch.first + lane) * B::BYTES..][..B::BYTES];
                block_bytes.fill(0);
                B::store(block_bytes, &block.search::<S, B>(s, &mut search, scales));
            }
        }
    }
}

/// Weights of a sub-block where the scale is first searched without the grid.
const SUB_LEN: usize = 32;
/// The most super-blocks that this is done for at a time.
const MOST: usize = 2;

/// The scales of sub-blocks of 32 with levels up to 4, without the grid. Here a lane holds one sub-block.
#[inline(always)]
fn scales<S: Simd, B: GridBlock>(s: S, blocks: &[Block]) -> [f32; 16] {
    assert_eq!(B::RULES.len, SUB_LEN);
    let [mut of_x, mut of_w] = [[0.0; MOST * LEN]; 2];
    for (at, block) in blocks.iter().enumerate() {
        of_x[at * LEN..][..LEN].copy_from_slice(&block.x);
        of_w[at * LEN..][..LEN].copy_from_slice(&block.w);
    }
    let subs = blocks.len() * (LEN / SUB_LEN);
    let mut scales = [0.0; 16];
    for first in (0..subs).step_by(S::LANES) {
        let [mut x, mut w] = [[s.splat(0.0); SUB_LEN]; 2];
        let start = |lane: usize| (first + lane).min(subs - 1) * SUB_LEN;
        s.transpose(&of_x, start, &mut x);
        s.transpose(&of_w, start, &mut w);
        s.store(Positive::search(s, &x, &w, 4).scale, &mut scales[first..]);
    }
    scales
}

/// A super-block of magnitudes.
struct Block {
    /// Where signs are even some are negative.
    x: [f32; LEN],
    w: [f32; LEN],
    wx: [f32; LEN],
    root: [f32; LEN],
    /// A bit per weight.
    signs: [u8; LEN / 8],
}

impl Block {
    const EMPTY: Block = Block { x: [0.0; LEN], w: [0.0; LEN], wx: [0.0; LEN], root: [0.0; LEN], signs: [0; LEN / 8] };

    /// Takes the weights of a lane into an empty one.
    #[inline(always)]
    fn set<S: Simd, B: GridBlock>(&mut self, s: S, batch: &Batch, lane: usize, variance: f32) {
        let weights = &batch.weights[batch.start(lane)..][..LEN];
        let importance = batch.importance.map(|importance| &importance[batch.importance_start(lane)..][..LEN]);
        let variance = s.splat(variance);
        for at in (0..LEN).step_by(S::LANES) {
            let x = s.load(&weights[at..]);
            let w = match importance {
                None => B::plain(s, x, variance),
                Some(w) => s.mul(s.load(&w[at..]), s.sqrt(s.add(variance, s.mul(x, x)))),
            };
            let negative = s.not(s.ge(x, s.splat(0.0)));
            let bits = s.bits(negative) << (at % 8);
            self.signs[at / 8] |= bits as u8;
            if S::LANES > 8 {
                self.signs[at / 8 + 1] |= (bits >> 8) as u8;
            }
            s.store(s.select(negative, s.neg(x), x), &mut self.x[at..]);
            s.store(w, &mut self.w[at..]);
            s.store(s.sqrt(w), &mut self.root[at..]);
        }
        if B::EVEN_SIGNS {
            self.make_signs_even();
        }
        for at in (0..LEN).step_by(S::LANES) {
            s.store(s.mul(s.load(&self.w[at..]), s.load(&self.x[at..])), &mut self.wx[at..]);
        }
    }

    #[inline(always)]
    fn make_signs_even(&mut self) {
        let groups = self.x.as_chunks_mut::<8>().0.iter_mut().zip(self.w.as_chunks::<8>().0).zip(&mut self.signs);
        for ((x, w), signs) in groups {
            if signs.count_ones() % 2 == 1 {
                let (mut least, mut at) = (w[0] * x[0] * x[0], 0);
                for i in 1..8 {
                    let loss = w[i] * x[i] * x[i];
                    (least, at) = if loss < least { (loss, i) } else { (least, at) };
                }
                x[at] = -x[at];
                *signs ^= 1 << at;
            }
        }
    }

    #[inline(always)]
    fn search<S: Simd, B: GridBlock>(
        &mut self,
        s: S,
        search: &mut OnGrid<B::Grid, S>,
        first: &[f32],
    ) -> Found<B::Grid> {
        let (len, dims) = (B::RULES.len, B::Grid::DIMS);
        let (subs, groups) = (LEN / len, len / dims);
        let mut found = Found {
            d: 0,
            flat: true,
            empty: 0,
            scales: [0; 16],
            points: [0; 64],
            signs: self.signs,
            grid: core::marker::PhantomData,
        };
        let mut fits = Fits { searched: 0, mapped: [0.0; SUBS], scales: [0.0; SUBS], codes: [[0; SUBS]; GROUPS] };
        let top = (2 * B::Grid::TOP + 1) as f32;
        for (sub, x) in self.x.chunks_exact(len).enumerate() {
            let mut most = s.load(x);
            for x in x.chunks_exact(S::LANES) {
                most = s.max(s.load(x), most);
            }
            let most = s.reduce_max(most);
            (fits.mapped[sub], fits.scales[sub]) = match B::SEARCH_FIRST {
                true => (first[sub] * (B::Grid::TOP + 1) as f32, first[sub]),
                false => (most, most / top),
            };
            if most < B::EPSILON || fits.mapped[sub] <= 0.0 {
                found.empty |= 1 << sub;
            }
        }
        fits.searched = u32::from(!found.empty);
        let numbers = Magnitudes { x: &self.x, w: &self.w, wx: &self.wx, root: &self.root };
        search.search(s, B::RULES, numbers, &mut fits);
        let mut scales = [0.0; 16];
        let mut largest = 0.0f32;
        for sub in 0..subs {
            let signs = &mut found.signs[sub * len / 8..(sub + 1) * len / 8];
            if found.empty >> sub & 1 == 1 {
                signs.fill(0);
                continue;
            }
            let points = &mut found.points[sub * groups..(sub + 1) * groups];
            for (point, codes) in points.iter_mut().zip(&fits.codes) {
                *point = search.index(codes[sub] as u16);
            }
            if fits.scales[sub] < 0.0 {
                signs.iter_mut().for_each(|signs| *signs = !*signs);
            }
            scales[sub] = fits.scales[sub].abs();
            largest = if largest > scales[sub] { largest } else { scales[sub] };
        }
        if largest == 0.0 {
            return found;
        }
        found.flat = false;
        let d = largest / 31.0;
        let mut lanes = [0; MOST_LANES];
        s.store_i32(s.to_f16_bits(s.splat(d * B::FACTOR)), &mut lanes);
        found.d = lanes[0] as u16;
        let inverse = s.splat(1.0 / d);
        for at in (0..16).step_by(S::LANES) {
            let scale = s.sub(s.mul(inverse, s.load(&scales[at..])), s.splat(1.0));
            let scale = s.nearest_i32(s.mul(s.splat(0.5), scale));
            let scale = s.max_i32(s.min_i32(scale, s.splat_i32(15)), s.splat_i32(0));
            s.store_u8(scale, &mut found.scales[at..]);
        }
        found
    }
}
