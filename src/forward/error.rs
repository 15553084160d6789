//! Why a model cannot be run.

use std::path::PathBuf;

use super::family::FAMILIES;
use crate::pipeline;

/// Failures of a forward pass.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("models of architecture {name} cannot be run by this program; it runs {}", families())]
    UnknownArchitecture { name: String },
    #[error("the metadata key {key} is {found}, and the model cannot be run by it")]
    BadKey { key: String, found: String },
    #[error("tensor {tensor} is missing; without it the model cannot be run")]
    MissingTensor { tensor: String },
    #[error("tensor {tensor} has the shape {found:?}, but {expected:?} goes with the other tensors and the metadata")]
    Shape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
    #[error(
        "after layer {layer} the numbers are no longer finite (first at token {token}); the model, or what was made of \
         it, computes nothing useful"
    )]
    NonFinite { layer: usize, token: usize },
    #[error(
        "--max-memory {limit} is too little: one sequence of {tokens} tokens takes {needed} bytes in a layer; give at \
         least {needed}, or a smaller --context"
    )]
    Memory { limit: u64, needed: u64, tokens: usize },
    #[error("{}: cannot {action} the file of activations: {error}", folder.display())]
    Spill { folder: PathBuf, action: &'static str, error: std::io::Error },
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error(transparent)]
    Read(#[from] pipeline::Error),
    #[error("interrupted")]
    Cancelled,
}

fn families() -> String {
    FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ")
}
