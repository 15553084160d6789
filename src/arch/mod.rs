//! Architectures: what a checkpoint's config and tensors become in GGUF. One row of [`ARCHITECTURES`] each.

mod error;

use serde_json::Value as Json;
use weightmill_formats::Source;

use crate::checkpoint::{Checkpoint, SideFile};
use crate::model::Model;

pub use error::IdentifyError;

/// How checkpoints of one family become GGUF.
pub struct Architecture {
    /// Names in `architectures` of config.json that belong to this row.
    pub config_names: &'static [&'static str],
    /// `general.architecture`.
    pub name: &'static str,
}

/// The table of architectures.
pub const ARCHITECTURES: &[Architecture] = &[];

/// The 16- or 32-bit GGUF, not yet as bytes, that llama.cpp's converter makes of `checkpoint`, whose tensors
/// are those of `source`.
///
/// # Errors
/// When files are missing, the architecture is unknown, config.json and the tensors contradict each other, or the
/// tokenizer is not understood. All are found before any output exists.
pub fn identify(checkpoint: &Checkpoint, source: &dyn Source) -> Result<Model, IdentifyError> {
    let _ = source;
    let config: Json = checkpoint
        .json(SideFile::Config)?
        .ok_or_else(|| IdentifyError::Missing { folder: checkpoint.folder().to_owned(), files: vec!["config.json"] })?;
    let found = config["architectures"][0].as_str().unwrap_or("none");
    let supported = ARCHITECTURES.iter().flat_map(|row| row.config_names).copied().collect();
    Err(IdentifyError::UnknownArchitecture {
        path: checkpoint.path(SideFile::Config),
        found: found.to_owned(),
        supported,
    })
}
