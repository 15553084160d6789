//! Which tensor of GGUF has the columns of a stored weight: what is measured bears the names of GGUF.

use std::collections::HashMap;

use crate::model::{Map, Model, ModelTensor};

/// A tensor of GGUF, and its first matrix that is meant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Which of its matrices.
    pub matrix: usize,
    /// How many it has.
    pub matrices: usize,
    /// Weights per row.
    pub columns: u64,
}

/// The tensors of GGUF that have the columns of stored weights.
pub(crate) struct Holders<'a> {
    /// By the number of the weight and the first element that they have of it.
    by_place: HashMap<(usize, u64), Holder<'a>>,
}

impl<'a> Holders<'a> {
    /// Those of a model.
    pub fn new(model: &'a Model) -> Self {
        let mut by_place = HashMap::new();
        for tensor in &model.tensors {
            let pieces = tensor.data.pieces();
            let matrices = if tensor.shape.len() > 2 { tensor.shape[0] as usize } else { 1 };
            let columns = tensor.shape.last().copied().unwrap_or(1);
            for (number, piece) in pieces.iter().enumerate() {
                if piece.map != Map::Same || piece.view.columns.length != columns {
                    continue;
                }
                let mut hold = |first: u64, matrix: usize| {
                    let holder = Holder { name: tensor.name.as_str(), matrix, matrices, columns };
                    by_place.entry((piece.weight, first)).or_insert(holder);
                };
                if matrices == pieces.len() {
                    hold(piece.view.base, number);
                } else {
                    let view = |matrix: usize| piece.view.matrix(matrices as u64, matrix as u64);
                    (0..matrices)
                        .filter_map(|matrix| Some((view(matrix)?.base, matrix)))
                        .for_each(|(first, matrix)| hold(first, matrix));
                }
            }
        }
        Self { by_place }
    }

    /// The holder of a tensor of the published checkpoint.
    pub fn of(&self, tensor: &ModelTensor) -> Option<Holder<'a>> {
        let piece = tensor.data.pieces().first()?;
        // parts of a matrix see the same columns as its beginning
        self.at(piece.weight, piece.view.base).or_else(|| self.at(piece.weight, 0).filter(|_| tensor.shape.len() == 2))
    }

    /// The holder of matrix `number` of the `count` that such a tensor has.
    pub fn of_matrix(&self, tensor: &ModelTensor, count: usize, number: usize) -> Option<Holder<'a>> {
        match tensor.data.pieces() {
            _ if count == 1 => self.of(tensor),
            pieces if pieces.len() == count => self.at(pieces[number].weight, pieces[number].view.base),
            [piece] => self.at(piece.weight, piece.view.matrix(count as u64, number as u64)?.base),
            _ => None,
        }
    }

    fn at(&self, weight: usize, first: u64) -> Option<Holder<'a>> {
        self.by_place.get(&(weight, first)).copied()
    }
}
