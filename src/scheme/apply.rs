//! From codes to weights: the arithmetic.

use weightmill_kernels::Level;
use weightmill_kernels::simd::{Kernel, Simd};

use super::coding::Coding;

/// How value, scale and offset of a weight make it, each operation rounded to f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Formula {
    /// `value * scale * factor`
    Scaled {
        /// The same for all weights.
        factor: f32,
    },
    /// `(value - offset) * scale`
    Centred,
    /// `value * scale + offset`, the product first rounded to this precision.
    Affine(Precision),
}

/// What a product is rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub(super) enum Precision {
    F32,
    F16,
    BF16,
}

/// A stretch of a row: its codes, and the numbers of the groups that they belong to.
pub(super) struct Stretch<'a> {
    /// What a code means.
    pub coding: &'a Coding,
    /// What is done with it.
    pub formula: Formula,
    /// The codes.
    pub codes: &'a [u8],
    /// To which group each column belongs.
    pub groups: Groups<'a>,
    /// The groups' scales.
    pub scales: &'a [f32],
    /// The groups' offsets, as many; unused by [`Formula::Scaled`].
    pub offsets: &'a [f32],
    /// Room for the weights.
    pub weights: &'a mut [f32],
}

/// The groups of a stretch's columns.
#[derive(Clone, Copy)]
pub(super) enum Groups<'a> {
    /// So many columns each, one after another.
    Runs {
        /// Columns of a group.
        length: usize,
        /// Columns of the first group that lie before the stretch.
        skipped: usize,
    },
    /// As listed, one number per column.
    Listed(&'a [u32]),
}

/// Vectors of no level have more lanes.
const MOST_LANES: usize = 32;

/// Computes the weights of a stretch.
pub(super) fn apply(level: Level, stretch: Stretch<'_>) {
    stretch.coding.look_up(level, stretch.codes, stretch.weights);
    level.run(stretch);
}

impl Kernel for Stretch<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.coding {
            Coding::Unsigned => self.with(
                s,
                #[inline(always)]
                |codes, _| s.to_f32(s.load_u8(codes)),
            ),
            Coding::Signed => self.with(
                s,
                #[inline(always)]
                |codes, _| s.to_f32(s.load_i8(codes)),
            ),
            _ => self.with(
                s,
                #[inline(always)]
                |_, room| s.load(room),
            ),
        }
    }
}

impl Stretch<'_> {
    /// `value` gives the values of a vector of codes, which may stand in the room for their weights already.
    #[inline(always)]
    fn with<S: Simd>(self, s: S, value: impl Fn(&[u8], &[f32]) -> S::F32) {
        match self.formula {
            Formula::Scaled { factor } => self.each(
                s,
                value,
                #[inline(always)]
                |value, scale, _| s.mul(s.mul(value, scale), s.splat(factor)),
            ),
            Formula::Centred => self.each(
                s,
                value,
                #[inline(always)]
                |value, scale, offset| s.mul(s.sub(value, offset), scale),
            ),
            Formula::Affine(precision) => self.each(
                s,
                value,
                #[inline(always)]
                |value, scale, offset| s.add(round(s, precision, s.mul(value, scale)), offset),
            ),
        }
    }

    /// `weight` makes weights of values, scales and offsets.
    #[inline(always)]
    fn each<S: Simd>(
        self,
        s: S,
        value: impl Fn(&[u8], &[f32]) -> S::F32,
        weight: impl Fn(S::F32, S::F32, S::F32) -> S::F32,
    ) {
        let Stretch { groups, scales, offsets, codes, weights, .. } = self;
        let mut left = Left { codes, weights };
        match groups {
            Groups::Runs { length, skipped } => {
                let mut run = length - skipped;
                for (scale, offset) in scales.iter().zip(offsets) {
                    let (scale, offset) = (s.splat(*scale), s.splat(*offset));
                    let (codes, weights) = left.take(run);
                    fill(
                        s,
                        codes,
                        weights,
                        #[inline(always)]
                        |codes, room| weight(value(codes, room), scale, offset),
                    );
                    run = length;
                }
            }
            // Scales and offsets are brought into the order of the columns, a vector at a time.
            Groups::Listed(groups) => {
                let (mut scale, mut offset) = ([0.0; MOST_LANES], [0.0; MOST_LANES]);
                for groups in groups.chunks(S::LANES) {
                    for (at, group) in groups.iter().enumerate() {
                        (scale[at], offset[at]) = (scales[*group as usize], offsets[*group as usize]);
                    }
                    let (scale, offset) = (s.load(&scale), s.load(&offset));
                    let (codes, weights) = left.take(groups.len());
                    fill(
                        s,
                        codes,
                        weights,
                        #[inline(always)]
                        |codes, room| weight(value(codes, room), scale, offset),
                    );
                }
            }
        }
    }
}

/// The rest of a stretch.
struct Left<'a> {
    codes: &'a [u8],
    weights: &'a mut [f32],
}

impl<'a> Left<'a> {
    /// Cuts off so many columns, or as many as there are.
    #[inline(always)]
    fn take(&mut self, columns: usize) -> (&'a [u8], &'a mut [f32]) {
        let (codes, rest) = self.codes.split_at(columns.min(self.codes.len()));
        let (weights, room) = std::mem::take(&mut self.weights).split_at_mut(codes.len());
        (self.codes, self.weights) = (rest, room);
        (codes, weights)
    }
}

/// Fills `weights` with those of `codes`, which are as many.
#[inline(always)]
fn fill<S: Simd>(s: S, codes: &[u8], weights: &mut [f32], weight: impl Fn(&[u8], &[f32]) -> S::F32) {
    let (mut vectors, mut room) = (codes.chunks_exact(S::LANES), weights.chunks_exact_mut(S::LANES));
    for (codes, room) in (&mut vectors).zip(&mut room) {
        s.store(weight(codes, room), room);
    }
    let (rest, room) = (vectors.remainder(), room.into_remainder());
    if !rest.is_empty() {
        let (mut codes, mut weights) = ([0; MOST_LANES], [0.0; MOST_LANES]);
        codes[..rest.len()].copy_from_slice(rest);
        weights[..rest.len()].copy_from_slice(room);
        s.store(weight(&codes, &weights), &mut weights);
        room.copy_from_slice(&weights[..rest.len()]);
    }
}

/// The nearest number of this precision, ties to even.
#[inline(always)]
fn round<S: Simd>(s: S, precision: Precision, value: S::F32) -> S::F32 {
    match precision {
        Precision::F32 => value,
        Precision::F16 => s.round_f16(value),
        Precision::BF16 => {
            let bits = s.to_bits(value);
            let odd = s.and_i32(s.shr_i32::<16>(bits), s.splat_i32(1));
            let up = s.add_i32(bits, s.add_i32(odd, s.splat_i32(0x7fff)));
            let rounded = s.from_bits(s.and_i32(up, s.splat_i32(0xffff_0000_u32 as i32)));
            s.select(s.eq(value, value), rounded, value)
        }
    }
}
