//! Quantized safetensors checkpoints, decoded by the public API.

mod defects;
mod definitions;
mod golden;
mod memory;
mod rectangles;
