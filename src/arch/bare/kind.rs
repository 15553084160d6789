//! Whether a checkpoint is a language model: what its config.json says and, where that is silent, what its tensors
//! are called.

use weightmill_formats::TensorInfo;

use super::super::config::Config;
use super::super::{Choices, IdentifyError, is_supported, missing};
use crate::checkpoint::{Checkpoint, SideFile};

/// How names of tensors begin that language models have; `{}` stands for the number of a layer.
const LANGUAGE_MODELS: &[&str] = &[
    "backbone.layers.{}.",
    "gpt_neox.layers.{}.",
    "h.{}.attn.",
    "language_model.model.layers.{}.",
    "lm_head.",
    "model.decoder.layers.{}.",
    "model.embed_tokens.",
    "model.language_model.layers.{}.",
    "model.layers.{}.",
    "rwkv.blocks.{}.",
    "tok_embeddings.",
    "transformer.blocks.{}.",
    "transformer.encoder.layers.{}.",
    "transformer.h.{}.",
];

/// Why the tensors of a checkpoint are taken as they are, under their own names; `None` for a language model of an
/// architecture that is supported or that should have been.
///
/// # Errors
/// When they look like those of a language model whose config.json is missing.
pub(in crate::arch) fn reason(
    checkpoint: &Checkpoint,
    config: Option<&Config>,
    tensors: &[TensorInfo],
    choices: &Choices,
) -> Result<Option<String>, IdentifyError> {
    if choices.tensors_only {
        return Ok(Some("--tensors-only".to_owned()));
    }
    if choices.arch_map.is_some() {
        return Ok(None);
    }
    if let Some(config) = config.filter(|config| config.architecture().is_some() || config.get("model_type").is_some())
    {
        let name = config.architecture().unwrap_or("none");
        return Ok(match () {
            () if is_supported(name) => None,
            () if is_table(tensors) => Some("there is but one matrix".to_owned()),
            () if choices.folders_only => Some(format!("architecture {name:?} of config.json is not supported")),
            () => None,
        });
    }
    if let Some(class) = config.and_then(|config| config.get("_class_name")?.as_str()) {
        return Ok(Some(format!("config.json is that of {class:?} of diffusers")));
    }
    let looks_like_one = tensors.iter().any(|tensor| LANGUAGE_MODELS.iter().any(|mark| begins(&tensor.name, mark)));
    let found = match config {
        Some(_) => "config.json names no architecture",
        None if checkpoint.has(SideFile::ModelIndex) => "model_index.json is that of a pipeline of diffusers",
        None => "there is no config.json",
    };
    match looks_like_one && !choices.folders_only {
        false => Ok(Some(found.to_owned())),
        true if config.is_some() => Ok(None),
        true => Err(missing(checkpoint)),
    }
}

/// True for one matrix and at most vectors beside it: no language model is that small.
fn is_table(tensors: &[TensorInfo]) -> bool {
    tensors.iter().filter(|tensor| tensor.shape.len() > 1).count() == 1
}

fn begins(name: &str, mark: &str) -> bool {
    let Some((before, after)) = mark.split_once("{}") else { return name.starts_with(mark) };
    let Some(rest) = name.strip_prefix(before) else { return false };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    digits > 0 && rest[digits..].starts_with(after)
}
