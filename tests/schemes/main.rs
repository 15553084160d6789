//! Quantized safetensors checkpoints, decoded by the public API.

mod defects;
mod golden;
mod memory;
mod rectangles;
