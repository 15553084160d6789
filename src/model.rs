//! A model as a converter sees it: GGUF metadata and tensor names, whatever file the weights lie in.

use weightmill_formats::Metadata;
use weightmill_kernels::Dtype;

/// What identifying a source yields: the 16- or 32-bit GGUF that llama.cpp's converter would have written
/// (or the GGUF that was given), not yet as bytes.
#[derive(Clone, Debug)]
pub struct Model {
    /// `general.architecture`, as in `llama`.
    pub architecture: String,
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
    /// Tensor `index` of the source, its rows reordered by `rows`.
    Stored {
        /// Index into [`weightmill_formats::Source::tensors`].
        index: usize,
        /// Order of the rows.
        rows: RowOrder,
    },
    /// Values that no source tensor holds, such as `rope_freqs`.
    Computed(Vec<f32>),
}

/// How rows of the output map to rows of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// As stored.
    Stored,
    /// Query and key projections of Llama: inside each of `heads` heads the two halves of the rows are
    /// interleaved, because ggml rotates adjacent pairs where transformers rotates halves.
    InterleaveHalves {
        /// Number of heads (of key heads for key projections).
        heads: u64,
    },
}
