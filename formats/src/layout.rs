//! What is to be written, and where each byte of it goes.

use std::ops::Range;

use weightmill_kernels::Dtype;

/// A tensor to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Row-major shape, written with exactly these dimensions.
    pub shape: Vec<u64>,
    /// Type of the bytes.
    pub dtype: Dtype,
}

/// Every offset of a file, known before its first byte is written.
///
/// Bytes that belong neither to the header nor to a tensor are padding and zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The file's first bytes.
    pub header: Vec<u8>,
    /// Byte range of each tensor in the file, in the order in which the tensors were given.
    pub tensors: Vec<Range<u64>>,
    /// Length of the file.
    pub length: u64,
}
