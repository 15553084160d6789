//! Why rounding ended.

use std::path::PathBuf;

use crate::{forward, pipeline};

/// Failures of calibrated rounding.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error(
        "--max-memory {limit} is too little for tensor {}: the second moment of its {columns} inputs and what goes with it \
         take {needed} bytes; give at least {needed}",
        tensor.escape_debug()
    )]
    Memory { tensor: String, columns: usize, needed: u64, limit: u64 },
    #[error(
        "{}: it holds what a run with other options, texts or files has rounded; remove it, or start anew with --force",
        folder.display()
    )]
    OtherRun { folder: PathBuf },
    #[error("{}: cannot {action} it: {error}", path.display())]
    Folder { path: PathBuf, action: &'static str, error: std::io::Error },
    #[error("interrupted; what is rounded is kept in {}, and the same command goes on from there", folder.display())]
    Cancelled { folder: PathBuf },
    #[error(transparent)]
    Forward(forward::Error),
    #[error(transparent)]
    Read(#[from] pipeline::Error),
    #[error(transparent)]
    File(#[from] weightmill_formats::Error),
}
