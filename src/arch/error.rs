//! What can be wrong with a checkpoint.

use std::fmt;
use std::path::PathBuf;

use weightmill_kernels::Dtype;

use super::config::ConfigError;
use super::map::ArchMapError;
use crate::checkpoint::CheckpointError;
use crate::scheme::SchemeError;
use crate::tokenizer::TokenizerError;

/// Why a checkpoint cannot be converted. Found before any output exists.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum IdentifyError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(
        "{}: {} missing: the model cannot be converted without. --tensors-only takes every tensor under its own name, \
         for what no language runtime reads",
        folder.display(),
        files.join(", ")
    )]
    Missing { folder: PathBuf, files: Vec<&'static str> },
    #[error(
        "{}: architecture {found:?} is not supported; supported are {}. --arch-map FILE describes another one; \
         --tensors-only takes every tensor under its own name, for what no language runtime reads",
        path.display(),
        supported.join(", ")
    )]
    UnknownArchitecture { path: PathBuf, found: String, supported: Vec<&'static str> },
    #[error(transparent)]
    ArchMap(#[from] ArchMapError),
    #[error(transparent)]
    Scheme(#[from] SchemeError),
    #[error("config.json declares {declared} {what}, but there are only {tensors} tensors")]
    TooMany { what: &'static str, declared: u32, tensors: usize },
    #[error("tensor {}: an expert beyond the {experts} that {by} declares", name.escape_debug())]
    ExtraExpert { name: String, experts: u32, by: String },
    #[error("no rule for {unnamed}: the architecture of {by} does not have them")]
    Unnamed { unnamed: Listing, by: String },
    #[error("missing {missing}, which {by} calls for")]
    MissingTensors { missing: Listing, by: String },
    #[error("tensor {} has the shape {found:?}, but by {by} it is {expected:?}", name.escape_debug())]
    Shape { name: String, found: Vec<u64>, expected: Vec<u64>, by: String },
    #[error("tensor {} is of type {dtype}, where F32, F16, BF16 or F64 is expected", name.escape_debug())]
    Dtype { name: String, dtype: Dtype },
    #[error(
        "tensor {} is of type {dtype}, which GGUF does not have; -t safetensors-bf16 and the like take it over as it is",
        name.escape_debug()
    )]
    NotInGguf { name: String, dtype: Dtype },
    #[error("tensor {} has the shape {shape:?}, which GGUF cannot hold in any form", name.escape_debug())]
    Shapeless { name: String, shape: Vec<u64> },
}

/// Names of tensors: how many, and the first of them.
#[derive(Debug, Default)]
pub struct Listing {
    /// How many there are.
    pub count: usize,
    /// The first few.
    pub names: Vec<String>,
}

impl Listing {
    /// Names kept.
    const KEPT: usize = 8;

    pub(super) fn push(&mut self, name: &str) {
        self.count += 1;
        if self.names.len() < Self::KEPT {
            self.names.push(name.to_owned());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        let names: Vec<String> = self.names.iter().map(|name| name.escape_debug().to_string()).collect();
        write!(f, "{} tensor{plural}: {}", self.count, names.join(", "))?;
        if self.names.len() < self.count {
            write!(f, " ...")?;
        }
        Ok(())
    }
}
