//! Codes whose scales lie elsewhere: the arithmetic of the safetensors formats that servers load.
//!
//! A row of weights is divided into groups of equally many columns (the whole row is one group, too). First a group's
//! extent is measured ([`max_abs`], [`min_max`]); the format makes a scale of it, and maybe an offset, rounds both to the type
//! that it stores them in, and may have a better scale searched ([`search`], [`search_e2m1`]). Then every weight becomes a code of one byte
//! ([`integers`], [`e4m3`], [`e4m3_times`], [`e2m1`]); packing codes is the format's business.
//!
//! All levels give the same bytes: extents do not depend on an order, codes are made one by one, and the search has a group
//! in every lane.
#![forbid(unsafe_code)]

mod extent;
mod floats;
mod grid;
mod integers;
mod search;

pub use extent::{max_abs, min_max};
pub use floats::{Ties, e2m1, e4m3, e4m3_times};
pub use integers::{Offsets, integers};
pub use search::{Bounds, FloatScale, Signs, search, search_e2m1};

use crate::simd::{MOST_LANES, Simd};

/// Weights of rows of `columns`, in groups of `group` columns.
#[derive(Clone, Copy, Debug)]
pub struct Groups<'a> {
    /// The weights, row by row. All are finite.
    pub weights: &'a [f32],
    /// Weights of a row.
    pub columns: usize,
    /// Weights of a group: `columns` is a multiple of it.
    pub group: usize,
}

impl<'a> Groups<'a> {
    /// Number of groups, of all rows together.
    ///
    /// # Panics
    /// If the weights do not fill rows, or a row not groups.
    pub fn count(&self) -> usize {
        assert!(
            self.group > 0 && self.columns > 0 && self.columns.is_multiple_of(self.group),
            "{} columns do not fill groups of {}",
            self.columns,
            self.group
        );
        assert!(self.weights.len().is_multiple_of(self.columns), "the weights fill rows of {}", self.columns);
        self.weights.len() / self.group
    }

    fn iter(&self) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        self.weights.chunks_exact(self.group)
    }
}

/// Makes a code of every weight.
#[inline(always)]
fn each<S: Simd>(s: S, weights: &[f32], dst: &mut [u8], code: impl Fn(S::F32) -> S::I32) {
    let (mut whole, mut codes) = (weights.chunks_exact(S::LANES), dst.chunks_exact_mut(S::LANES));
    for (weights, codes) in (&mut whole).zip(&mut codes) {
        s.store_u8(code(s.load(weights)), codes);
    }
    let (rest, codes) = (whole.remainder(), codes.into_remainder());
    if !rest.is_empty() {
        let (mut padded, mut bytes) = ([0.0; MOST_LANES], [0; MOST_LANES]);
        padded[..rest.len()].copy_from_slice(rest);
        s.store_u8(code(s.load(&padded)), &mut bytes);
        codes.copy_from_slice(&bytes[..codes.len()]);
    }
}
