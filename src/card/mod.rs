//! The `general.*` metadata that says what a model is and where it comes from.
//!
//! llama.cpp's converter gathers it from the model card (README.md), config.json, generation_config.json, the folder's
//! name and the number of weights; this module gives the same keys, values and order (gguf-py's `Metadata`).
//! Where the converter would stop with an error (a card that is no YAML, a version written as a number) a note says
//! what was done instead: descriptive metadata is no reason to refuse a model.

mod authorship;
mod front_matter;
mod name;
pub(crate) mod sampling;
mod size;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use weightmill_formats::Metadata;

pub use size::ParameterCounts;

/// Most bytes of a README.md that are read. The front matter lies at its beginning and has a few kilobytes.
pub const MAX_CARD_BYTES: u64 = 1 << 20;

/// What the metadata of a checkpoint is derived from.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// `general.architecture`, as in `llama`.
    pub architecture: &'a str,
    /// The checkpoint folder's own name, which is taken for the model's name.
    pub folder_name: &'a str,
    /// Text of README.md, see [`read_card`].
    pub readme: Option<&'a str>,
    /// config.json.
    pub config: &'a serde_json::Value,
    /// generation_config.json, where it exists and is valid JSON.
    pub generation_config: Option<&'a serde_json::Value>,
    /// Weights of the model to be written, computed tensors included.
    pub counts: ParameterCounts,
}

/// Metadata from `general.architecture` and `general.type` to `general.languages`, in the order of the file; and
/// notes on what could not be taken over as it stands.
pub fn general(sources: &Sources) -> (Metadata, Vec<String>) {
    let mut notes = Vec::new();
    let card = front_matter::parse(sources.readme.unwrap_or_default()).unwrap_or_else(|reason| {
        notes.push(format!("README.md: the front matter is ignored: {reason}"));
        front_matter::Mapping::new()
    });
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", sources.architecture);
    metadata.set("general.type", "model");
    sampling::describe(sources.generation_config, &mut metadata, &mut notes);
    authorship::describe(&card, sources, &mut metadata, &mut notes);
    (metadata, notes)
}

/// The first [`MAX_CARD_BYTES`] of the README.md of a checkpoint folder, `None` if there is none. Bytes that are no
/// UTF-8 are replaced.
pub fn read_card(folder: &Path) -> io::Result<Option<String>> {
    let path = folder.join("README.md");
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_CARD_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
