//! What can be wrong with a checkpoint.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;

/// Why a checkpoint cannot be converted. Found before any output exists.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum IdentifyError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{}: {} missing: the model cannot be converted without", folder.display(), files.join(", "))]
    Missing { folder: PathBuf, files: Vec<&'static str> },
    #[error("{}: architecture {found:?} is not supported; supported are {}", path.display(), supported.join(", "))]
    UnknownArchitecture { path: PathBuf, found: String, supported: Vec<&'static str> },
}
