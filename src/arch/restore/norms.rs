//! Scales of norms that a family stores less one: how exactly they come back.
//!
//! GGUF has them with one added, as F32. Between 1/2 and 2 its numbers lie 2^-24 or 2^-23 apart, so of a bf16 number,
//! which has 8 significant bits, the sum keeps all bits if it is at least 2^-16 (its last bit is worth 2^-23 then).
//! A smaller one comes back as the nearest multiple of 2^-24 or 2^-23. Of a checkpoint in f16 the converter adds in f16,
//! whose numbers lie 2^-11 or 2^-10 apart there: those that are no multiples of it are lost.

use weightmill_kernels::{Dtype, Level};

use crate::model::{Map, ModelTensor};
use crate::weights::Weights;

/// bf16 numbers from here on come back exactly.
const EXACT: f32 = 1.0 / (1 << 16) as f32;

/// What is to be said of the scales among `tensors`, if there are any that may have been rounded.
pub(super) fn note(weights: &Weights, tensors: &[ModelTensor]) -> Option<String> {
    let list = weights.list();
    let scales = tensors.iter().flat_map(|tensor| tensor.data.pieces()).filter(|piece| piece.map == Map::MinusOne);
    let scales: Vec<usize> = scales.map(|piece| piece.weight).collect();
    if scales.is_empty() {
        return None;
    }
    if list.iter().any(|weight| weight.dtype == Dtype::F16 && weight.shape.len() > 1) {
        return Some(
            "the scales of norms, to which 1 was added in f16, are what that left of them: numbers as close as 2^-10"
                .to_owned(),
        );
    }
    let mut small = 0;
    for weight in scales.iter().map(|index| &list[*index]) {
        let mut values = vec![0.0f32; weight.columns()];
        for row in 0..weight.elements() as usize / values.len().max(1) {
            weights.decode(weight, Level::detect(), row..row + 1, 0..values.len(), &mut values);
            small += values.iter().filter(|value| (**value - 1.0).abs() < EXACT).count();
        }
    }
    (small > 0).then(|| {
        format!(
            "{small} scales of norms are smaller than 2^-16: the GGUF file, which has 1 + scale in F32, does not hold \
             all their bits"
        )
    })
}
