//! config.json and the tensors of a checkpoint, restored from a GGUF file of a known architecture.
//!
//! The settings come from the metadata; what the family takes for granted is completed as for any checkpoint, and its
//! rules are read backwards. Whether the restored config says the same as the metadata is checked by going forward
//! again.

use serde_json::{Map, Value as Json, json};
use weightmill_formats::{Metadata, Value};
use weightmill_kernels::{Dtype, Level};

use super::config::{Config, ConfigError};
use super::invert::{InvertError, invert};
use super::rope::Rope;
use super::{ARCHITECTURES, Description, append, hyper};
use crate::model::{Model, ModelTensor};
use crate::weights::Weights;

/// A family whose checkpoints can be restored.
struct Family {
    /// `general.architecture`.
    architecture: &'static str,
    /// Which files of that architecture belong to the family.
    when: fn(&Gguf<'_>) -> bool,
    /// Its name in `architectures` of config.json.
    config_name: &'static str,
    /// `model_type` of config.json.
    model_type: &'static str,
    /// GGUF keys, less the prefix, whose settings have a name of their own, or one that is not the usual.
    keys: &'static [(&'static str, &'static str)],
    /// Sets what no key says.
    own: fn(&Gguf<'_>, &mut Map<String, Json>),
}

/// What a row does not say.
const USUAL: Family = Family {
    architecture: "",
    when: |_| true,
    config_name: "",
    model_type: "",
    keys: &[],
    own: |_, settings| set(settings, "hidden_act", json!("silu")),
};

/// All of them. The first row that fits decides.
const FAMILIES: &[Family] = &[
    Family {
        architecture: "llama",
        when: |gguf| gguf.has("blk.0.ffn_gate_exps.weight"),
        config_name: "MixtralForCausalLM",
        model_type: "mixtral",
        ..USUAL
    },
    Family {
        architecture: "llama",
        config_name: "LlamaForCausalLM",
        model_type: "llama",
        own: |gguf, settings| {
            set(settings, "hidden_act", json!("silu"));
            set(settings, "attention_bias", json!(gguf.has("blk.0.attn_output.bias")));
            set(settings, "mlp_bias", json!(gguf.has("blk.0.ffn_up.bias")));
        },
        ..USUAL
    },
    Family { architecture: "qwen2", config_name: "Qwen2ForCausalLM", model_type: "qwen2", ..USUAL },
    Family {
        architecture: "qwen2moe",
        config_name: "Qwen2MoeForCausalLM",
        model_type: "qwen2_moe",
        keys: &[
            ("expert_count", "num_experts"),
            ("expert_feed_forward_length", "moe_intermediate_size"),
            ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
        ],
        ..USUAL
    },
    Family { architecture: "qwen3", config_name: "Qwen3ForCausalLM", model_type: "qwen3", own: qwen3, ..USUAL },
    Family {
        architecture: "qwen3moe",
        config_name: "Qwen3MoeForCausalLM",
        model_type: "qwen3_moe",
        keys: &[("expert_count", "num_experts"), ("expert_feed_forward_length", "moe_intermediate_size")],
        own: qwen3,
        ..USUAL
    },
    Family {
        architecture: "starcoder2",
        config_name: "Starcoder2ForCausalLM",
        model_type: "starcoder2",
        keys: &[("attention.layer_norm_epsilon", "norm_epsilon")],
        own: |gguf, settings| {
            set(settings, "hidden_act", json!("gelu_pytorch_tanh"));
            set(settings, "use_bias", json!(gguf.has("blk.0.attn_output.bias")));
        },
        ..USUAL
    },
];

fn qwen3(gguf: &Gguf<'_>, settings: &mut Map<String, Json>) {
    set(settings, "hidden_act", json!("silu"));
    set(settings, "attention_bias", json!(gguf.has("blk.0.attn_output.bias")));
}

fn set(settings: &mut Map<String, Json>, key: &str, value: Json) {
    settings.insert(key.to_owned(), value);
}

/// Why a checkpoint cannot be restored.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RestoreError {
    #[error(
        "GGUF files of the architecture {architecture:?} cannot be written as a checkpoint folder; those of {} can",
        supported.join(", ")
    )]
    Architecture { architecture: String, supported: Vec<&'static str> },
    #[error("the key {key} is missing in the metadata, or of another type than expected")]
    Key { key: String },
    #[error("the divisors in rope_freqs.weight are none that a config.json of this family can express")]
    RopeFactors,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tensors(#[from] InvertError),
}

/// A checkpoint's own view of a model.
#[derive(Debug)]
pub struct Restored {
    /// config.json, without the type of the weights.
    pub config: Map<String, Json>,
    /// Tensors by their Hugging Face names.
    pub tensors: Vec<ModelTensor>,
    /// What config.json cannot say.
    pub notes: Vec<String>,
}

/// What is looked at in a GGUF file.
struct Gguf<'a> {
    prefix: &'a str,
    metadata: &'a Metadata,
    weights: &'a Weights,
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
    let mut settings = gguf.settings(family)?;
    (family.own)(&gguf, &mut settings);
    if let Some(scaling) = gguf.llama3_scaling(&settings)? {
        settings.insert("rope_scaling".to_owned(), scaling);
    }
    let path = weights.source().files().first().map(|path| path.to_path_buf()).unwrap_or_default();
    let mut config = Config::of(path, settings.clone());
    (row.complete)(&mut config)?;
    let description = (row.describe)(&config)?;
    let computed: Vec<&str> = description.computed.iter().map(|(name, _)| *name).collect();
    let tensors = invert(weights, &description.rules, description.layers, &computed)?;
    let notes = gguf.unexpressed(&config, description)?;
    Ok(Restored { config: settings, tensors, notes })
}

impl Gguf<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.prefix))
    }

    fn has(&self, tensor: &str) -> bool {
        self.weights.list().iter().any(|weight| weight.name == tensor)
    }

    /// Settings that most families have.
    fn settings(&self, family: &Family) -> Result<Map<String, Json>, RestoreError> {
        let mut settings = Map::new();
        let mut set = |key: &str, value: Json| drop(settings.insert(key.to_owned(), value));
        set("architectures", json!([family.config_name]));
        set("model_type", json!(family.model_type));
        let special = |name: &str| family.keys.iter().any(|(own, _)| *own == name);
        let usual = hyper::restored_keys().filter(|(name, _)| !special(name));
        for (name, key) in family.keys.iter().copied().chain(usual) {
            if let Some(value) = self.get(name) {
                let wrong = || RestoreError::Key { key: format!("{}.{name}", self.prefix) };
                set(key, to_json(value).ok_or_else(wrong)?);
            }
        }
        let tokens = match self.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(weightmill_formats::Array::String(tokens))) => Some(tokens.len() as u64),
            _ => None,
        };
        let key = format!("{}.vocab_size", self.prefix);
        let rows = self.metadata.unsigned(&key).or(tokens).ok_or(RestoreError::Key { key })?;
        set("vocab_size", json!(rows));
        for role in ["bos", "eos"] {
            if let Some(id) = self.metadata.unsigned(&format!("tokenizer.ggml.{role}_token_id")) {
                set(&format!("{role}_token_id"), json!(id));
            }
        }
        set("tie_word_embeddings", json!(!self.has("output.weight")));
        if let Some(theta) = self.get("rope.freq_base").and_then(to_json) {
            set("rope_theta", theta);
        }
        if let Some(scaling) = self.scaling() {
            set("rope_scaling", scaling);
        }
        Ok(settings)
    }

    /// Rotary scaling that stands in the metadata.
    fn scaling(&self) -> Option<Json> {
        let kind = self.metadata.string(&format!("{}.rope.scaling.type", self.prefix))?;
        let mut scaling = Map::new();
        scaling.insert("rope_type".to_owned(), json!(kind));
        for (name, setting) in [
            ("factor", "factor"),
            ("original_context_length", "original_max_position_embeddings"),
            ("yarn_ext_factor", "extrapolation_factor"),
            ("yarn_attn_factor", "attention_factor"),
            ("yarn_beta_fast", "beta_fast"),
            ("yarn_beta_slow", "beta_slow"),
        ] {
            if let Some(value) = self.get(&format!("rope.scaling.{name}")).and_then(to_json) {
                scaling.insert(setting.to_owned(), value);
            }
        }
        Some(Json::Object(scaling))
    }

    /// Llama 3's rotary scaling, which GGUF has as a tensor of divisors: the settings that yield exactly these.
    fn llama3_scaling(&self, settings: &Map<String, Json>) -> Result<Option<Json>, RestoreError> {
        let Some(weight) = self.weights.list().iter().find(|weight| weight.name == "rope_freqs.weight") else {
            return Ok(None);
        };
        if weight.dtype != Dtype::F32 || weight.shape.len() != 1 || weight.shape[0] > 1 << 16 {
            return Err(RestoreError::RopeFactors);
        }
        let mut stored = vec![0.0f32; weight.shape[0] as usize];
        self.weights.decode(weight, Level::detect(), 0..1, 0..stored.len(), &mut stored);
        let greatest = stored.iter().copied().fold(1.0, f32::max);
        for context in (8..=20).map(|power| 1u64 << power) {
            // Published models differ in factor and context only.
            let scaling = json!({
                "rope_type": "llama3",
                "factor": to_json(&Value::F32(greatest)),
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": context,
            });
            let mut settings = settings.clone();
            settings.insert("rope_scaling".to_owned(), scaling.clone());
            let config = Config::of(Default::default(), settings);
            let factors = Rope::read(&config)?.frequency_factors(2 * stored.len() as u32)?;
            if factors.as_deref() == Some(&stored) {
                return Ok(Some(scaling));
            }
        }
        Err(RestoreError::RopeFactors)
    }

    /// Hyper-parameters that the restored config would not become again.
    fn unexpressed(&self, config: &Config, description: Description) -> Result<Vec<String>, ConfigError> {
        let mut again = Metadata::new();
        append(&mut again, self.prefix, description.leading);
        match description.own {
            Some(own) => append(&mut again, self.prefix, own),
            None => hyper::write(config, self.prefix, &mut again, &mut Vec::new())?,
        }
        append(&mut again, self.prefix, description.hyper_parameters);
        let of_model = format!("{}.", self.prefix);
        let differing = self.metadata.iter().filter(|(key, value)| {
            key.starts_with(&of_model)
                && again.get(key) != Some(value)
                // The same count in another integer type is the same.
                && (value.to_unsigned().is_none() || again.unsigned(key) != value.to_unsigned())
        });
        let keys: Vec<&str> = differing.map(|(key, _)| key).collect();
        Ok(match keys.as_slice() {
            [] => Vec::new(),
            keys => vec![format!("config.json does not say what these keys of the GGUF file say: {}", keys.join(", "))],
        })
    }
}

/// A number or text as JSON; of an f32 the shortest decimals that mean it.
pub fn to_json(value: &Value) -> Option<Json> {
    match value {
        Value::F32(number) => {
            number.to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::from)
        }
        Value::F64(number) => serde_json::Number::from_f64(*number).map(Json::from),
        Value::String(text) => Some(Json::from(text.as_str())),
        Value::Bool(flag) => Some(Json::from(*flag)),
        other => other.to_unsigned().map(Json::from),
    }
}
