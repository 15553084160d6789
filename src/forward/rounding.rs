//! What ggml's CPU back end rounds activations to before it multiplies them with weights of a type.
//!
//! It multiplies integers with integers, bf16 with bf16: activations go through the type that `vec_dot_type` of
//! `ggml/src/ggml-cpu/ggml-cpu.c` names. The loss of that belongs to what a quantized model does when it runs, and is
//! part of every figure of llama-perplexity.

use half::f16;
use rayon::prelude::*;
use weightmill_kernels::{Dtype, Level};

use crate::weights;

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

/// Weights per block of Q8_0.
const BLOCK: usize = 32;

/// Numbers that a thread rounds at a time; a multiple of both blocks.
const AT_ONCE: usize = 16 * 1024;

/// Rounds rows of activations, whose length is a multiple of the blocks of `dtype`, as they are for a product with
/// weights of that type.
pub(super) fn round(level: Level, dtype: Dtype, activations: &mut [f32]) {
    let pieces = activations.par_chunks_mut(AT_ONCE);
    match dtype {
        Dtype::F32 | Dtype::F64 => {}
        Dtype::BF16 | Dtype::F16 => pieces.for_each(|piece| weights::round(level, dtype, piece)),
        _ if dtype.info().block_len == SUPER_BLOCK => {
            pieces.for_each(|piece| piece.chunks_exact_mut(SUPER_BLOCK).for_each(round_super_block));
        }
        _ => pieces.for_each(|piece| piece.chunks_exact_mut(BLOCK).for_each(round_block)),
    }
}

/// Rounds numbers to f16, as the cache of keys and values holds them.
pub(super) fn round_to_f16(level: Level, values: &mut [f32]) {
    values.par_chunks_mut(AT_ONCE).for_each(|piece| weights::round(level, Dtype::F16, piece));
}

/// Q8_0 as `quantize_row_q8_0` of ggml's x86 code makes it of activations: unlike the one for files it divides 127 by the largest
/// magnitude, not one by the scale, and rounds what lies in the middle to even.
fn round_block(values: &mut [f32]) {
    let most = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    if most == 0.0 {
        return;
    }
    let (scale, inverse) = (f16::from_f32(most / 127.0).to_f32(), 127.0 / most);
    values.iter_mut().for_each(|value| *value = scale * (*value * inverse).round_ties_even());
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
