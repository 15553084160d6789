//! One file per tensor type: its layout, its encoder, its decoder.
#![forbid(unsafe_code)]

pub mod bf16;
pub mod f16;
pub mod f32;
pub mod f64;

mod words;
