//! What ggml's CPU back end rounds activations to before it multiplies them with weights of a type.
//!
//! It multiplies integers with integers, bf16 with bf16: activations go through the type that `vec_dot_type` of
//! `ggml/src/ggml-cpu/ggml-cpu.c` names. The loss of that belongs to what a quantized model does when it runs, and is
//! part of every figure of llama-perplexity.

use weightmill_kernels::{Dtype, Level, dequantize, quantize};

/// How exactly activations are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// As ggml's CPU back end rounds them.
    #[default]
    Rounded,
    /// As f32: what the weights alone lose.
    Exact,
}

/// Weights per block of Q8_K.
const SUPER_BLOCK: usize = 256;

/// Rounds rows of activations, whose length is a multiple of the blocks of `weights`, as they are for a product with
/// weights of that type.
pub(super) fn round(level: Level, weights: Dtype, columns: usize, activations: &mut [f32]) {
    match weights {
        Dtype::F32 | Dtype::F64 => {}
        Dtype::BF16 | Dtype::F16 => through(level, weights, columns, activations),
        _ if weights.info().block_len == SUPER_BLOCK => {
            activations.chunks_exact_mut(SUPER_BLOCK).for_each(round_super_block);
        }
        _ => through(level, Dtype::Q8_0, columns, activations),
    }
}

/// Rounds numbers to f16, as the cache of keys and values holds them.
pub(super) fn round_to_f16(level: Level, values: &mut [f32]) {
    through(level, Dtype::F16, 1, values);
}

/// To a type and back, some rows at a time.
fn through(level: Level, dtype: Dtype, columns: usize, values: &mut [f32]) {
    let info = dtype.info();
    let rows = (64 * 1024 / columns.max(1)).max(1);
    let mut bytes = vec![0; rows.min(values.len() / columns.max(1)) * columns / info.block_len * info.block_bytes];
    for values in values.chunks_mut(rows * columns) {
        let bytes = &mut bytes[..values.len() / info.block_len * info.block_bytes];
        quantize(level, dtype, values, columns, None, bytes);
        dequantize(level, dtype, bytes, values);
    }
}

/// Q8_K: 256 integers and one f32 scale, such that the value of largest magnitude becomes -127.
fn round_super_block(values: &mut [f32]) {
    let extreme =
        values.iter().copied().fold(0.0f32, |most, value| if value.abs() > most.abs() { value } else { most });
    if extreme == 0.0 {
        return;
    }
    let inverse = -127.0 / extreme;
    let scale = 1.0 / inverse;
    values.iter_mut().for_each(|value| *value = scale * (inverse * *value).round_ties_even().min(127.0));
}
