//! A checkpoint from a checkpoint: the same names, decoded weights, and the files beside them.

use serde_json::{Map, Value as Json};

use super::{Published, pretty};
use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};
use crate::model::{self, ModelTensor, Piece, TensorData};
use crate::view::View;
use crate::weights::{Weight, Weights};

/// How the names of files end that belong to a model: configuration, tokenizer, card, code.
const CARRIED_ENDINGS: &[&str] = &[".json", ".jinja", ".txt", ".model", ".tiktoken", ".md", ".py"];

/// How the names of files begin that say under which terms it is published.
const CARRIED_BEGINNINGS: &[&str] = &["LICENSE", "NOTICE", "USE_POLICY"];

/// Files that speak of how the weights were stored, or are written anew.
const LEFT_OUT: &[&str] = &["quantize_config.json", "quant_config.json", "hf_quant_config.json", "recipe.yaml"];

/// Keys of config.json that say how the weights were quantized.
const SETTINGS: &[&str] = &["quantization_config", "quantization", "compression_config"];

/// How diffusers names the files with weights.
const DIFFUSERS_STEM: &str = "diffusion_pytorch_model";

/// The weights of `checkpoint` under their own names. Of what is no language model (`own_names`) config.json keeps all it
/// says but for quantization, and from beside a lone file nothing is taken.
///
/// # Errors
/// If a file beside the weights cannot be read.
pub fn of_checkpoint(
    checkpoint: &Checkpoint,
    weights: &Weights,
    own_names: bool,
) -> Result<Published, CheckpointError> {
    let tensors = weights.list().iter().enumerate().map(|(index, weight)| {
        let (shape, data) = parameter(weights, index, weight);
        ModelTensor { name: weight.name.clone(), shape, dtype: weight.dtype, data }
    });
    let config: Option<Map<String, Json>> = checkpoint.json(SideFile::Config)?;
    let mut notes = Vec::new();
    let config = config.map(|mut config| {
        let text = config.get_mut("text_config").and_then(Json::as_object_mut);
        let mut removed: Vec<&str> = text.into_iter().flat_map(remove_settings).collect();
        removed.extend(remove_settings(&mut config));
        notes.extend(removed.iter().map(|key| format!("{key} is left out of config.json: the weights are decoded")));
        config
    });
    let is_carried = |name: &str| {
        let index = name.ends_with(".index.json");
        let known = CARRIED_ENDINGS.iter().any(|ending| name.ends_with(ending))
            || CARRIED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning));
        known && !index && name != SideFile::Config.name() && !LEFT_OUT.contains(&name)
    };
    let mut files = match checkpoint.is_lone_file() {
        true => Vec::new(),
        false => checkpoint.others(is_carried)?,
    };
    let is_diffusers = config.as_ref().is_some_and(|config| config.contains_key("_class_name"));
    let stem = is_diffusers.then_some(DIFFUSERS_STEM);
    let states_type =
        |config: &Map<String, Json>| ["architectures", "model_type"].iter().any(|key| config.contains_key(*key));
    let config = match config {
        // nothing reads the type of the weights there
        Some(config) if own_names && !states_type(&config) => {
            files.push((SideFile::Config.name().to_owned(), pretty(&Json::Object(config))));
            None
        }
        config => config,
    };
    Ok(Published { tensors: tensors.collect(), stem, config, files, notes, ..Published::default() })
}

/// Shape and elements of the parameter that a weight is for transformers: of gpt-oss's MXFP4 experts, which are stored row by
/// row, the columns.
fn parameter(weights: &Weights, index: usize, weight: &Weight) -> (Vec<u64>, TensorData) {
    match weight.shape[..] {
        [matrices, rows, columns] if weights.main_tensor(weight).name.ends_with("_blocks") => {
            let view = View::transposed_columns(matrices, rows, columns, 0, columns);
            let piece = Piece { weight: index, view, map: model::Map::Same };
            (vec![matrices, columns, rows], TensorData::Pieces(vec![piece]))
        }
        _ => (weight.shape.clone(), TensorData::stored(index, &weight.shape)),
    }
}

/// Removes what a config says of quantization; returns the keys.
fn remove_settings(config: &mut Map<String, Json>) -> Vec<&'static str> {
    SETTINGS.iter().copied().filter(|key| config.shift_remove(*key).is_some()).collect()
}
