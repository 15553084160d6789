//! A model as a converter sees it: GGUF metadata and tensor names, whatever file the weights lie in.

use weightmill_formats::Metadata;
use weightmill_kernels::Dtype;

use crate::view::View;

/// What identifying a source yields: the 16- or 32-bit GGUF that llama.cpp's converter would have written
/// (or the GGUF that was given), not yet as bytes.
#[derive(Clone, Debug)]
pub struct Model {
    /// `general.architecture`, as in `llama`.
    pub architecture: String,
    /// No language model: tensors have their publisher's names, order and shapes, and no architecture says what they are.
    pub own_names: bool,
    /// Metadata in the order of the file.
    pub metadata: Metadata,
    /// Tensors in the order of the file.
    pub tensors: Vec<ModelTensor>,
    /// What should be said about the source: tensors left out, guesses made.
    pub notes: Vec<String>,
}

/// One tensor of a [`Model`].
#[derive(Clone, Debug)]
pub struct ModelTensor {
    /// GGUF name, as in `blk.0.attn_q.weight`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<u64>,
    /// Type in that GGUF: what the weights are rounded to before quantization.
    pub dtype: Dtype,
    /// Where the values come from.
    pub data: TensorData,
}

/// Where the values of a tensor come from.
#[derive(Clone, Debug)]
pub enum TensorData {
    /// Rows of stored weights, one piece after the other. All pieces have rows of the same length.
    Pieces(Vec<Piece>),
    /// The same rows of several weights beside each other, in turns: of every row so many columns of the first piece, as
    /// many of the second and so on, then again of the first. All pieces have the tensor's rows, and as many columns.
    Woven(Vec<Piece>, u64),
    /// Values that no source tensor holds, such as `rope_freqs`.
    Computed(Vec<f32>),
}

/// Rows of a tensor that come from one stored weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Number of the weight in [`crate::weights::Weights::list`].
    pub weight: usize,
    /// Which of its elements.
    pub view: View,
    /// What is done with each.
    pub map: Map,
}

/// Arithmetic on every value of a weight: in f32, but of weights that are stored as f16 the results are rounded to f16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Map {
    /// None.
    #[default]
    Same,
    /// `x + 1`: Gemma stores the scales of its norms less one.
    PlusOne,
    /// `x - 1`, which undoes [`Map::PlusOne`] but for what was rounded away.
    MinusOne,
    /// `-exp(x)`: state-space models store the logarithm of their decay.
    MinusExp,
    /// `ln(-x)`, which undoes [`Map::MinusExp`] but for what was rounded away.
    LogOfMinus,
}

impl Map {
    /// What undoes it.
    pub fn inverse(self) -> Self {
        match self {
            Map::Same => Map::Same,
            Map::PlusOne => Map::MinusOne,
            Map::MinusOne => Map::PlusOne,
            Map::MinusExp => Map::LogOfMinus,
            Map::LogOfMinus => Map::MinusExp,
        }
    }

    /// Applies it to `values`.
    pub fn apply(self, values: &mut [f32]) {
        match self {
            Map::Same => {}
            Map::PlusOne => values.iter_mut().for_each(|value| *value += 1.0),
            Map::MinusOne => values.iter_mut().for_each(|value| *value -= 1.0),
            Map::LogOfMinus => values.iter_mut().for_each(|value| *value = (-f64::from(*value)).ln() as f32),
            Map::MinusExp => values.iter_mut().for_each(|value| *value = -f64::from(*value).exp() as f32),
        }
    }
}

impl TensorData {
    /// All of weight number `weight`, of this shape, as stored.
    pub fn stored(weight: usize, shape: &[u64]) -> Self {
        TensorData::Pieces(vec![Piece { weight, view: View::whole(shape), map: Map::Same }])
    }

    /// The pieces; none of computed values.
    pub fn pieces(&self) -> &[Piece] {
        match self {
            TensorData::Pieces(pieces) | TensorData::Woven(pieces, _) => pieces,
            TensorData::Computed(_) => &[],
        }
    }
}
