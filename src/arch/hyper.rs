//! Hyper-parameters that GGUF writes alike for all text models, in the order of `set_gguf_parameters` of
//! conversion/base.py in llama.cpp.

use serde_json::Value as Json;
use weightmill_formats::{Metadata, Value};

use super::config::{Config, ConfigError};
use super::restore::to_json;
use super::rope::Rope;

/// Kind of a value.
#[derive(Clone, Copy)]
enum Kind {
    Count,
    /// A count that may be zero.
    Whole,
    Number,
    /// One of these names, written as the number beside it.
    Name(&'static [(&'static str, u32)]),
}
use Kind::{Count, Name, Number, Whole};

/// GGUF key, less the architecture; the keys of config.json that may hold the value, by precedence; its kind.
type Row = (&'static str, &'static [&'static str], Kind);

const SHAPE: &[Row] = &[
    ("block_count", LAYERS, Count),
    (
        "context_length",
        &["max_position_embeddings", "n_ctx", "n_positions", "max_length", "max_sequence_length", "model_max_length"],
        Count,
    ),
    ("embedding_length", &["hidden_size", "n_embd", "dim"], Count),
    (
        "feed_forward_length",
        &["prefix_dense_intermediate_size", "dense_intermediate_size", "intermediate_size", "n_inner", "hidden_dim"],
        Count,
    ),
    ("attention.head_count", &["num_attention_heads", "n_head", "n_heads"], Count),
    ("attention.head_count_kv", &["num_key_value_heads", "n_kv_heads"], Count),
];

const AFTER_ROPE: &[Row] = &[
    ("attention.layer_norm_rms_epsilon", &["rms_norm_eps", "norm_eps"], Number),
    ("attention.layer_norm_epsilon", &["layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"], Number),
    ("expert_count", &["num_local_experts", "num_experts", "n_routed_experts"], Whole),
    ("expert_used_count", &["num_experts_per_tok", "num_experts_per_token", "top_k_experts"], Whole),
    ("expert_group_count", &["n_group"], Count),
    ("expert_group_used_count", &["topk_group"], Count),
    (
        "expert_gating_func",
        &[
            "score_function",
            "scoring_func",
            "score_func",
            "moe_router_activation",
            "moe_router_activation_func",
            "expert_selection_fn",
        ],
        Name(&[("softmax", 1), ("sigmoid", 2), ("sqrtsoftplus", 4)]),
    ),
];

const HEAD_DIM: &[Row] =
    &[("attention.key_length", &["head_dim"], Count), ("attention.value_length", &["head_dim"], Count)];

const LAYERS: &[&str] = &["n_layers", "num_hidden_layers", "n_layer", "num_layers"];

/// What transformers calls most of the settings above.
const USUAL: &[&str] = &[
    "num_hidden_layers",
    "max_position_embeddings",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "layer_norm_eps",
    "num_local_experts",
    "num_experts_per_tok",
    "n_group",
    "topk_group",
    "scoring_func",
];

/// A value of GGUF that comes from a setting with a usual name.
#[derive(Clone, Copy)]
pub struct Usual {
    /// GGUF key, less the prefix.
    pub name: &'static str,
    /// The setting.
    pub setting: &'static str,
    kind: Kind,
}

impl Usual {
    /// The setting that becomes `value`.
    pub fn restore(&self, value: &Value) -> Option<Json> {
        match self.kind {
            Name(names) => {
                let found = names.iter().find(|(_, number)| value.to_unsigned() == Some(u64::from(*number)));
                found.map(|(name, _)| Json::from(*name))
            }
            Count | Whole | Number => to_json(value),
        }
    }
}

/// All of them.
pub fn restored_keys() -> impl Iterator<Item = Usual> {
    let rows = SHAPE.iter().chain(AFTER_ROPE).chain(HEAD_DIM);
    rows.filter_map(|&(name, keys, kind)| {
        let setting = *keys.iter().find(|key| USUAL.contains(key))?;
        Some(Usual { name, setting, kind })
    })
}

/// Number of layers.
///
/// # Errors
/// When it is missing or no count.
pub fn layers(config: &Config) -> Result<u32, ConfigError> {
    config.required_count(config.first(LAYERS).unwrap_or("num_hidden_layers"))
}

/// Appends the hyper-parameters of `config` under `prefix`, from the number of layers up to `general.file_type`.
///
/// # Errors
/// When a setting is of the wrong kind.
pub fn write(
    config: &Config,
    prefix: &str,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), ConfigError> {
    write_rows(SHAPE, config, prefix, metadata)?;
    if config.get("is_causal").is_some_and(|causal| causal == false) {
        metadata.replace(format!("{prefix}.attention.causal"), false);
    }
    Rope::read(config)?.write(prefix, metadata, notes)?;
    write_rows(AFTER_ROPE, config, prefix, metadata)?;
    write_rows(HEAD_DIM, config, prefix, metadata)
}

fn write_rows(rows: &[Row], config: &Config, prefix: &str, metadata: &mut Metadata) -> Result<(), ConfigError> {
    for (name, keys, kind) in rows {
        let Some(key) = config.first(keys) else { continue };
        let value = match kind {
            Count => config.count(key)?.map(Value::from),
            Whole => config.whole(key)?.map(Value::from),
            Number => config.number(key)?.map(|number| Value::from(number as f32)),
            Name(names) => config.name(key, names)?.map(Value::from),
        };
        if let Some(value) = value {
            metadata.replace(format!("{prefix}.{name}"), value);
        }
    }
    Ok(())
}
