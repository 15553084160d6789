//! Quantization kernels: rows of `f32` weights to the blocks of llama.cpp's tensor types and back.
//!
//! The contract is bit identity. For every finite input that llama.cpp's own quantizer accepts, the blocks
//! written here equal its blocks (x86-64 build without fused multiply-add), with and without per-column
//! importance, at every CPU level. Every level gives the same bytes because each SIMD lane works on one
//! sub-block and performs exactly the scalar sequence of operations: no horizontal float sums, no fused
//! multiply-add, the rounding mode named in the operation.
//!
//! This crate knows bytes and numbers only: no files, no model knowledge, and no threads but those that make the tables of grids.
#![cfg_attr(not(feature = "std"), no_std)]

mod codec;
mod dtype;
mod finite;
mod grid;
pub mod groups;
mod levels;
mod search;
pub mod simd;
mod types;
mod validate;

pub use codec::{dequantize, quantize};
pub use dtype::{Dequantize, Dtype, DtypeInfo, Quantize, Scales};
pub use finite::first_non_finite;
pub use levels::{Levels, Points, read_scales, write_levels, write_scales};
pub use simd::Level;
pub use validate::validate;
