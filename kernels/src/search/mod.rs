//! The searches that choose scales: the reference's heuristics, step for step, one sub-block per lane.
//!
//! Identical bytes need identical sums, so every sum runs over the elements in their order with one accumulator per
//! lane, and every product keeps the reference's association. Source of all of them: ggml-quants.c, by the names given.
#![forbid(unsafe_code)]

mod descent;
#[cfg(feature = "std")]
mod nearest;
mod nonlinear;
#[cfg(feature = "std")]
mod on_grid;
mod positive;
mod scale_min;
#[cfg(feature = "std")]
mod split;
mod symmetric;
#[cfg(feature = "std")]
mod ternary;

pub(crate) use descent::{Descent, Start};
pub(crate) use nonlinear::{Nonlinear, VALUES, nearest_level};
#[cfg(feature = "std")]
pub(crate) use on_grid::{Fits, GROUPS, Magnitudes, OnGrid, Refine, Rules, SUBS};
pub(crate) use positive::Positive;
pub(crate) use scale_min::{Deviation, Fit, Room, ScaleMin};
#[cfg(feature = "std")]
pub(crate) use split::Split;
pub(crate) use symmetric::{Symmetric, SymmetricFit, extreme, unsigned_level};
#[cfg(feature = "std")]
pub(crate) use ternary::{OnTernary, Ternary};
