//! A checkpoint from a GGUF file: names, row orders, configuration, tokenizer and card are restored.

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::{Published, card};
use crate::arch::{RestoreError, restore, to_json};
use crate::card::sampling;
use crate::model::Model;
use crate::tokenizer;
use crate::weights::Weights;

/// The checkpoint that `model`, stored in `weights`, was made from, as far as the file tells.
///
/// # Errors
/// If configuration and tensors cannot be restored. A tokenizer that cannot is left out, which is noted.
pub fn of_gguf(model: &Model, weights: &Weights) -> Result<Published, RestoreError> {
    let restored = restore(model, weights)?;
    let mut notes = restored.notes;
    let mut files = Vec::new();
    match tokenizer::restore(&model.metadata) {
        Ok(restored) => files.extend(restored),
        Err(problem) => notes.push(format!(
            "the tokenizer is not restored: {problem}; copy tokenizer.json or tokenizer.model of the original model \
             into the folder"
        )),
    }
    let quantized = weights.list().iter().filter(|weight| weight.dtype.is_quantized()).count();
    if quantized > 0 {
        notes.push(format!("{quantized} tensors are decoded from quantized blocks: what was rounded away stays lost"));
    }
    files.push(("generation_config.json".to_owned(), generation_config(&restored.config, &model.metadata)));
    files.push(("README.md".to_owned(), card::write(&model.metadata).into_bytes()));
    files.sort();
    Ok(Published {
        tensors: restored.tensors,
        stem: None,
        config: Some(restored.config),
        files,
        notes,
        ..Published::default()
    })
}

/// Which tokens begin and end a text, and how the next is to be chosen.
fn generation_config(config: &Map<String, Json>, metadata: &Metadata) -> Vec<u8> {
    let mut settings = Map::new();
    for key in ["bos_token_id", "eos_token_id"] {
        if let Some(id) = config.get(key) {
            settings.insert(key.to_owned(), id.clone());
        }
    }
    for (key, value) in sampling::restore(metadata) {
        if let Some(value) = to_json(value) {
            settings.insert(key.to_owned(), value);
        }
    }
    super::pretty(&Json::Object(settings))
}
