//! config.json and the tensors of a checkpoint, restored from a GGUF file of a known architecture.
//!
//! The settings come from the metadata; what the family takes for granted is completed as for any checkpoint, and its
//! rules are read backwards. Whether the restored config says the same as the metadata is checked by going forward
//! again.

mod families;
mod family;
mod gguf;
mod rope;
mod rounded;
mod settings;

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::config::{Config, ConfigError};
use super::invert::{InvertError, invert};
use super::{ARCHITECTURES, Description, append, hyper};
use crate::model::{Model, ModelTensor};
use crate::weights::Weights;
use families::FAMILIES;
use family::Family;
use gguf::Gguf;

pub use gguf::to_json;

/// Settings of a config.json.
type Settings = Map<String, Json>;

/// Why a checkpoint cannot be restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RestoreError {
    #[error(
        "GGUF files of the architecture {architecture:?} cannot be written as a checkpoint folder; those of {} can. \
         Write another GGUF file, as in -t BF16, or take the original checkpoint",
        supported.join(", ")
    )]
    Architecture { architecture: String, supported: Vec<&'static str> },
    #[error("the key {key} is missing in the metadata, or of another type than expected")]
    Key { key: String },
    #[error("the key {key} says that there are {layers} layers, but there are only {tensors} tensors")]
    Layers { key: String, layers: u64, tensors: usize },
    #[error("the divisors in {tensor} are none that a config.json of this family can express")]
    RopeFactors { tensor: &'static str },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tensors(#[from] InvertError),
}

/// A checkpoint's own view of a model.
#[derive(Debug)]
pub struct Restored {
    /// config.json, without the type of the weights.
    pub config: Settings,
    /// Tensors by their Hugging Face names.
    pub tensors: Vec<ModelTensor>,
    /// What config.json cannot say, and what the GGUF file does not say.
    pub notes: Vec<String>,
}

/// Restores config.json and the tensors of `model`, whose tensors are all stored plainly in `weights`.
///
/// # Errors
/// If the architecture is not one of those that can be restored, or if metadata and tensors contradict it.
pub fn restore(model: &Model, weights: &Weights) -> Result<Restored, RestoreError> {
    let gguf = Gguf { prefix: &model.architecture, metadata: &model.metadata, weights };
    let fits = |family: &&Family| family.architecture == model.architecture && (family.when)(&gguf);
    let family = FAMILIES.iter().find(fits).ok_or_else(|| {
        let mut supported: Vec<&str> = FAMILIES.iter().map(|family| family.architecture).collect();
        supported.dedup();
        RestoreError::Architecture { architecture: model.architecture.clone(), supported }
    })?;
    let row = ARCHITECTURES.iter().find(|row| row.config_names.contains(&family.config_name));
    let row = row.expect("every family has a row");
    let settings = gguf.settings(family)?;
    let path = weights.source().files().first().map(|path| path.to_path_buf()).unwrap_or_default();
    let mut config = Config::of(path, settings.clone());
    (row.complete)(&mut config)?;
    let description = (row.describe)(&config)?;
    let computed: Vec<&str> = description.computed.iter().map(|(name, _)| *name).collect();
    let mut tensors = invert(weights, &description.rules, description.layers, &computed)?;
    if family.renames {
        tensors.iter_mut().for_each(|tensor| tensor.name = own_name(&tensor.name, &description.renames));
    }
    let mut notes = unexpressed(&gguf, row.name, &config, description)?;
    if !family.assumed.is_empty() {
        notes.push(format!(
            "GGUF files do not hold all settings; these are as llama.cpp runs every model of the family, or left to \
             their defaults: {}",
            family.assumed.join(", ")
        ));
    }
    notes.extend(rounded::notes(weights, &tensors));
    Ok(Restored { config: settings, tensors, notes })
}

/// A name as the checkpoint has it: by the most particular of the renames, and of several that say the same by the last.
fn own_name(name: &str, renames: &[(String, String)]) -> String {
    let fitting = renames.iter().filter(|(_, common)| name.starts_with(common.as_str()));
    let found = fitting.max_by_key(|(_, common)| common.len());
    found.map_or_else(|| name.to_owned(), |(own, common)| format!("{own}{}", &name[common.len()..]))
}

/// Hyper-parameters that the restored config would not become again.
fn unexpressed(
    gguf: &Gguf<'_>,
    name: &str,
    config: &Config,
    description: Description,
) -> Result<Vec<String>, ConfigError> {
    let mut again = Metadata::new();
    append(&mut again, gguf.prefix, description.leading);
    match description.own {
        Some(own) => append(&mut again, gguf.prefix, own),
        None => hyper::write(config, gguf.prefix, &mut again, &mut Vec::new())?,
    }
    append(&mut again, gguf.prefix, description.hyper_parameters);
    let of_model = format!("{}.", gguf.prefix);
    let differing = gguf.metadata.iter().filter(|(key, value)| {
        key.starts_with(&of_model)
            && again.get(key) != Some(value)
            // The same count in another integer type is the same.
            && (value.to_unsigned().is_none() || again.unsigned(key) != value.to_unsigned())
    });
    let keys: Vec<&str> = differing.map(|(key, _)| key).collect();
    let mut notes = Vec::new();
    if !keys.is_empty() {
        notes.push(format!("config.json does not say what these keys of the GGUF file say: {}", keys.join(", ")));
    }
    if name != gguf.prefix {
        notes.push(format!(
            "the checkpoint is of the architecture {name}, which llama.cpp runs alike: a GGUF file that is made of it \
             does not say {}",
            gguf.prefix
        ));
    }
    Ok(notes)
}
