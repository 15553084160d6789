//! What every reader offers: metadata, a list of tensors, and views of their bytes.

use std::ops::Range;
use std::path::Path;

use weightmill_kernels::Dtype;

use crate::{Metadata, Result};

/// One tensor of a source, validated: its bytes lie inside its file. Tensors overlap only where the format has tied ones share
/// their bytes, as pickles do.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Name as the file has it.
    pub name: String,
    /// Row-major: the last dimension is the contiguous one (the reverse of GGUF's `ne`). Never empty of
    /// dimensions in GGUF; a safetensors scalar has none.
    pub shape: Vec<u64>,
    /// Type of the stored bytes.
    pub dtype: Dtype,
    /// Index into [`Source::files`].
    pub file: usize,
    /// First byte, counted from the beginning of that file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of weights. Cannot overflow: readers check the product.
    pub fn weights(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Weights per row: the last dimension, 1 for a scalar.
    pub fn columns(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }
}

/// An opened model: one or more mapped files of one format.
pub trait Source: Send + Sync {
    /// Name of the format, as in `safetensors`.
    fn format(&self) -> &'static str;

    /// Paths of the mapped files, in shard order.
    fn files(&self) -> Vec<&Path>;

    /// Metadata in file order. For safetensors the `__metadata__` strings.
    fn metadata(&self) -> &Metadata;

    /// Tensors in the order of the format: file by file, and inside a file in the order of its header.
    fn tensors(&self) -> &[TensorInfo];

    /// The bytes of a tensor, straight from the map. What happens when another process changes the file meanwhile is
    /// said in [`crate::mmap`].
    ///
    /// # Panics
    ///
    /// If `tensor` is not one of [`Source::tensors`].
    fn view(&self, tensor: &TensorInfo) -> &[u8];

    /// Tells the system that these bytes of a tensor will be read soon. `range` counts from the tensor's first byte.
    fn prefetch(&self, tensor: &TensorInfo, range: Range<u64>);

    /// Tells the system that these bytes of a tensor are not needed again, so that mapped pages do not pile up.
    /// `range` counts from the tensor's first byte. Views stay valid.
    fn release(&self, tensor: &TensorInfo, range: Range<u64>);

    /// Fails if a file's length or time of modification is not what it was when it was opened: to be called before
    /// what was made from the source is published.
    fn check_unchanged(&self) -> Result<()>;
}
