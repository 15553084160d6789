//! How an embedding model sums up a text in one vector: from the files that sentence-transformers puts beside it.

use serde_json::Value as Json;

use super::config::ConfigError;
use super::error::IdentifyError;
use crate::checkpoint::{Checkpoint, SideFile};

const MEAN: u32 = 1;
const CLS: u32 = 2;
const LAST: u32 = 3;

/// Ways of pooling: the flag that older files have for each, its name in newer ones, and `llama_pooling_type` of llama.h.
const WAYS: &[(&str, &str, u32)] = &[
    ("pooling_mode_mean_tokens", "mean", MEAN),
    ("pooling_mode_cls_token", "cls", CLS),
    ("pooling_mode_lasttoken", "lasttoken", LAST),
];

/// What to say of a checkpoint of Qwen3-Reranker, of which the reference makes a classifier; it knows it by its name.
pub fn note_on_rerankers(checkpoint: &Checkpoint) -> Option<String> {
    checkpoint.name().to_lowercase().contains("qwen3-reranker").then(|| {
        "by its name a reranker, of which llama.cpp's converter makes a classifier; converted as the language model that it \
         is made from"
            .to_owned()
    })
}

/// `pooling_type` of a checkpoint, if it is an embedding model.
///
/// # Errors
/// When the files that say so are missing, malformed or name another way.
pub fn pooling_type(checkpoint: &Checkpoint) -> Result<Option<u32>, IdentifyError> {
    let Some(modules) = checkpoint.json::<Vec<Json>>(SideFile::Modules)? else { return Ok(None) };
    let is_pooling = |module: &&Json| module["type"].as_str().is_some_and(|kind| kind.ends_with("Pooling"));
    let Some(module) = modules.iter().find(is_pooling) else { return Ok(None) };
    let error = |problem: String| ConfigError {
        path: checkpoint.path(SideFile::Modules),
        key: module["path"].to_string(),
        problem,
    };
    let folder = module["path"].as_str().unwrap_or_default();
    let settings: Option<Json> = checkpoint.json_below(folder, SideFile::Config)?;
    let settings = settings.ok_or_else(|| error("no folder with a config.json that says how to pool".to_owned()))?;
    let flagged = WAYS.iter().find(|(flag, _, _)| settings[*flag] == true);
    let way = flagged.or_else(|| WAYS.iter().find(|(_, name, _)| settings["pooling_mode"] == *name));
    match way {
        Some((_, _, number)) => Ok(Some(*number)),
        None => {
            Err(error("its config.json names no way of pooling that llama.cpp knows: mean, cls, lasttoken".to_owned())
                .into())
        }
    }
}
