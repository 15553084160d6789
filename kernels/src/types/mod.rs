//! One file per tensor type: its layout, its encoder, its decoder.
#![forbid(unsafe_code)]

pub mod bf16;
pub mod f16;
pub mod f32;
pub mod f64;
pub mod f8_e4m3;
pub mod f8_e5m2;
pub mod f8_e8m0;
pub mod iq1_m;
pub mod iq1_s;
pub mod iq2_s;
pub mod iq2_xs;
pub mod iq2_xxs;
pub mod iq3_s;
pub mod iq3_xxs;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
pub mod nvfp4;
pub mod q1_0;
pub mod q2_0;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
pub mod q8_1;
pub mod q8_k;
pub mod tq1_0;
pub mod tq2_0;

mod affine;
mod batch;
mod by_magnitude;
mod bytes;
mod centred;
mod decode;
mod e2m1;
mod four_bit;
#[cfg(feature = "std")]
mod grid_block;
mod k_scales;
mod min_block;
mod rows;
mod signed;
mod signed_points;
mod sums;
mod ternary;
#[cfg(feature = "std")]
mod ternary_block;
mod ternary_points;
mod words;
