//! OLMo 2 and OLMo 3: norms after both halves of a block, and over all heads of queries and of keys.

use serde_json::{Value as Json, json};
use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rule::Rule;
use super::{Architecture, Description, rope};
use crate::tokenizer::Vocabulary;

/// `Olmo2ForCausalLM`.
pub const OLMO_2: Architecture = Architecture {
    config_names: &["Olmo2ForCausalLM"],
    name: "olmo2",
    vocabulary: Vocabulary::ByteLevel,
    complete,
    describe,
};

/// `Olmo3ForCausalLM`, which llama.cpp runs as OLMo 2: most layers have a sliding window.
pub const OLMO_3: Architecture = Architecture {
    config_names: &["Olmo3ForCausalLM"],
    complete: |config| {
        rope::nest(config, 500_000.0, json!(500_000.0));
        if !config.mentions("sliding_window") {
            config.set("sliding_window", 4096);
        }
        complete(config)
    },
    ..OLMO_2
};

fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("num_key_value_heads", config.required_count("num_attention_heads")?);
    config.set_default("max_position_embeddings", 2048);
    config.set_default("rms_norm_eps", 1e-5);
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.extend([
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
        decoder.norm("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"),
        Rule::new("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", [decoder.queries]),
        Rule::new("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", [decoder.keys]),
    ]);
    rules.extend(decoder.attention());
    rules.extend(decoder.feed_forward());
    let mut hyper_parameters = Vec::new();
    if let Some(window) = config.count("sliding_window")? {
        hyper_parameters.push(("attention.sliding_window", window.into()));
        hyper_parameters.push(("attention.sliding_window_pattern", sliding_layers(config, decoder.layers)?));
    }
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        hyper_parameters,
        ..Description::default()
    })
}

/// For every layer whether it has a sliding window; all but each fourth where the config is silent.
fn sliding_layers(config: &Config, layers: u32) -> Result<Value, ConfigError> {
    let pattern: Vec<bool> = match config.get("layer_types") {
        None => (1..=layers).map(|layer| !layer.is_multiple_of(4)).collect(),
        Some(Json::Array(kinds)) => kinds.iter().map(|kind| kind == "sliding_attention").collect(),
        Some(other) => return Err(config.error("layer_types", format!("{other}, where a list is expected"))),
    };
    Ok(pattern.into())
}
