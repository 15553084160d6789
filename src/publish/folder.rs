//! A checkpoint from a checkpoint: the same names, decoded weights, and the files beside them.

use serde_json::{Map, Value as Json};

use super::Published;
use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};
use crate::model::{ModelTensor, TensorData};
use crate::weights::Weights;

/// How the names of files end that belong to a model: configuration, tokenizer, card, code.
const CARRIED_ENDINGS: &[&str] = &[".json", ".jinja", ".txt", ".model", ".tiktoken", ".md", ".py"];

/// How the names of files begin that say under which terms it is published.
const CARRIED_BEGINNINGS: &[&str] = &["LICENSE", "NOTICE", "USE_POLICY"];

/// Files that speak of how the weights were stored, or are written anew.
const LEFT_OUT: &[&str] = &["quantize_config.json", "quant_config.json", "hf_quant_config.json", "recipe.yaml"];

/// The weights of `checkpoint` under their own names.
///
/// # Errors
/// If a file beside the weights cannot be read.
pub fn of_checkpoint(checkpoint: &Checkpoint, weights: &Weights) -> Result<Published, CheckpointError> {
    let tensors = weights.list().iter().enumerate().map(|(index, weight)| ModelTensor {
        name: weight.name.clone(),
        shape: weight.shape.clone(),
        dtype: weight.dtype,
        data: TensorData::stored(index, &weight.shape),
    });
    let config: Option<Map<String, Json>> = checkpoint.json(SideFile::Config)?;
    let mut notes = Vec::new();
    let config = config.map(|mut config| {
        if config.shift_remove("quantization_config").is_some() {
            notes.push("quantization_config is left out of config.json: the weights are decoded".to_owned());
        }
        config
    });
    let is_carried = |name: &str| {
        let index = name.ends_with(".index.json");
        let known = CARRIED_ENDINGS.iter().any(|ending| name.ends_with(ending))
            || CARRIED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        known && !index && name != SideFile::Config.name() && !LEFT_OUT.contains(&name)
    };
    let files = checkpoint.others(is_carried)?;
    Ok(Published { tensors: tensors.collect(), config, files, notes })
}
