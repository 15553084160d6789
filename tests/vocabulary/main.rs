//! Vocabularies in every form become what llama.cpp's converter makes of them, or one clear error.

mod defects;
#[path = "../support/described.rs"]
mod described;
mod golden;
mod structures;

use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;
use tempfile::TempDir;
use weightmill::checkpoint::{Checkpoint, SideFile};
use weightmill::tokenizer::{TokenizerError, Vocabulary, write_metadata};
use weightmill_formats::Metadata;

/// A checkpoint folder with a tokenizer and no weights to speak of.
struct Folder {
    _scratch: TempDir,
    path: PathBuf,
}

impl Folder {
    fn new(config: &Json) -> Self {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("model");
        fs::create_dir(&path).unwrap();
        let folder = Self { _scratch: scratch, path };
        folder.write("config.json", config.to_string());
        folder.write("model.safetensors", "");
        folder
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path.join(file), bytes).unwrap();
    }

    /// The metadata and the notes.
    fn vocabulary(&self, kind: &str, rows: u32, pre: Option<&str>) -> Result<(Metadata, Vec<String>), TokenizerError> {
        let kind = Vocabulary::ALL.into_iter().find(|vocabulary| format!("{vocabulary:?}") == kind).unwrap();
        let checkpoint = Checkpoint::beside(&self.path).unwrap();
        let config: Json = checkpoint.json(SideFile::Config).unwrap().unwrap();
        let (mut metadata, mut notes) = (Metadata::new(), Vec::new());
        let pre = pre.map(|pre| pre.parse().unwrap());
        write_metadata(kind, &checkpoint, &config, rows, pre, &mut metadata, &mut notes)?;
        Ok((metadata, notes))
    }
}
