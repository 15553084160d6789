//! Which tensor of GGUF has the columns of a stored weight: what is measured bears the names of GGUF.

use std::collections::HashMap;

use crate::model::{Map, Model, ModelTensor};
use crate::weights::Weights;

/// The matrix of the model that has a weight's columns in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    /// The model's name of the tensor.
    pub name: &'a str,
    /// Which of its matrices.
    pub matrix: usize,
}

/// The holders of stored matrices, by the number of the weight.
pub(crate) fn holders<'a>(model: &'a Model, weights: &Weights) -> HashMap<usize, Holder<'a>> {
    let mut holders = HashMap::new();
    for tensor in &model.tensors {
        let pieces = tensor.data.pieces();
        let matrices = if tensor.shape.len() > 2 { tensor.shape[0] as usize } else { 1 };
        for (number, piece) in pieces.iter().enumerate() {
            let weight = &weights.list()[piece.weight];
            let whole_rows = piece.view.columns.stride == 1 && piece.view.columns.length == weight.columns() as u64;
            if whole_rows && piece.map == Map::Same && weight.shape.len() == 2 {
                let matrix = if matrices == pieces.len() { number } else { 0 };
                holders.entry(piece.weight).or_insert(Holder { name: &tensor.name, matrix });
            }
        }
    }
    holders
}

/// The holder of a tensor that is written as one stored weight.
pub(crate) fn holder<'a>(holders: &HashMap<usize, Holder<'a>>, tensor: &ModelTensor) -> Option<Holder<'a>> {
    holders.get(&tensor.data.pieces().first()?.weight).copied()
}
