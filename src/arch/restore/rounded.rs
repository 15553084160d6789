//! Weights that are not in GGUF as a family stores them, but computed from them: how exactly they come back.
//!
//! Scales of norms are stored less one. GGUF has them with one added, as F32. Between 1/2 and 2 its numbers lie 2^-24 or 2^-23 apart, so of a bf16 number,
//! which has 8 significant bits, the sum keeps all bits if it is at least 2^-16 (its last bit is worth 2^-23 then).
//! A smaller one comes back as the nearest multiple of 2^-24 or 2^-23. Of a checkpoint in f16 the converter adds in f16,
//! whose numbers lie 2^-11 or 2^-10 apart there: those that are no multiples of it are lost.
//!
//! State-space models store logarithms of decays, and GGUF has the decays in F32. 16-bit numbers come back exactly; of F32
//! numbers below 1 several have the same exponential.

use weightmill_kernels::{Dtype, Level};

use crate::model::{Map, ModelTensor};
use crate::weights::Weights;

/// bf16 numbers from here on come back exactly.
const EXACT: f32 = 1.0 / (1 << 16) as f32;

/// What is to be said of those among `tensors` that may have been rounded.
pub(super) fn notes(weights: &Weights, tensors: &[ModelTensor]) -> Vec<String> {
    let made_by = |map: Map| {
        let pieces = tensors.iter().flat_map(|tensor| tensor.data.pieces());
        pieces.filter(|piece| piece.map == map).map(|piece| piece.weight).collect::<Vec<usize>>()
    };
    let decays = (!made_by(Map::LogOfMinus).is_empty()).then(|| {
        "A_log is computed back from its exponential: 16-bit numbers exactly, F32 numbers but for their last bits"
            .to_owned()
    });
    scales(weights, &made_by(Map::MinusOne)).into_iter().chain(decays).collect()
}

fn scales(weights: &Weights, scales: &[usize]) -> Option<String> {
    let list = weights.list();
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
