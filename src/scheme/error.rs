//! What can be wrong with a quantized checkpoint.

use std::fmt;
use std::path::PathBuf;

use weightmill_kernels::Dtype;

/// Why the weights of a quantized checkpoint cannot be read. Found before any of them is decoded.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum SchemeError {
    #[error("{what} is not read; {remedy}")]
    Refused { what: String, remedy: &'static str },
    #[error("quantization_config: {key}: {problem}")]
    Config { key: String, problem: String },
    #[error("{place}: {fault}")]
    Tensor { place: Box<Place>, fault: Fault },
}

/// Where a defect is.
#[derive(Debug)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The tensor's name.
    pub tensor: String,
    /// Its first byte in the file.
    pub offset: u64,
}

/// What is wrong with a tensor. Numbers and shapes are those found in the file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("belongs to a quantized weight whose tensor {part:?} is missing; fetch the checkpoint again")]
    Missing { part: String },
    #[error("belongs to no quantized weight that is there; the checkpoint is incomplete or mixed from two")]
    Orphan,
    #[error("of type {dtype}, but nothing beside it says what its codes mean")]
    Uncoded { dtype: Dtype },
    #[error("has the shape {found:?}; expected {expected}")]
    Shape { found: Vec<u64>, expected: String },
    #[error("is of type {found}; expected {expected}")]
    Dtype { found: Dtype, expected: &'static str },
    #[error("{problem}")]
    Value { problem: String },
    #[error("holds the weight {weight:?}, which tensor {other:?} holds too")]
    Duplicate { weight: String, other: String },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: tensor {:?} (at byte {})", self.file.display(), self.tensor, self.offset)
    }
}
