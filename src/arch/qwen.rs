//! Qwen 2 and 2.5, Qwen 3, and both with experts.

use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::experts::{Experts, gated_shared_expert};
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// `Qwen2ForCausalLM`, and embedding models made from it.
pub const QWEN2: Architecture = Architecture {
    config_names: &["Qwen2ForCausalLM", "Qwen2Model"],
    name: "qwen2",
    vocabulary: Vocabulary::Qwen2,
    complete: |config| complete(config, 32),
    describe: describe_2,
};

/// `Qwen2MoeForCausalLM`.
pub const QWEN2_MOE: Architecture = Architecture {
    config_names: &["Qwen2MoeForCausalLM"],
    name: "qwen2moe",
    vocabulary: Vocabulary::ByteLevel,
    complete: |config| {
        config.set_default("num_experts", 60);
        config.set_default("num_experts_per_tok", 4);
        config.set_default("intermediate_size", 5632);
        config.set_default("moe_intermediate_size", 1408);
        config.set_default("shared_expert_intermediate_size", 5632);
        config.set_default("qkv_bias", true);
        complete(config, 16)
    },
    describe: describe_2_moe,
};

/// `Qwen3ForCausalLM`, and embedding models made from it.
pub const QWEN3: Architecture = Architecture {
    config_names: &["Qwen3ForCausalLM", "Qwen3Model"],
    name: "qwen3",
    complete: |config| {
        config.set_default("head_dim", 128);
        complete(config, 32)
    },
    describe: describe_3,
    ..QWEN2
};

/// `Qwen3MoeForCausalLM`.
pub const QWEN3_MOE: Architecture = Architecture {
    config_names: &["Qwen3MoeForCausalLM"],
    name: "qwen3moe",
    complete: |config| {
        config.alias("num_experts", "num_local_experts");
        config.set_default("num_local_experts", 128);
        config.set_default("num_experts_per_tok", 8);
        config.set_default("intermediate_size", 6144);
        config.set_default("moe_intermediate_size", 768);
        complete(config, 4)
    },
    describe: describe_3_moe,
    ..QWEN2_MOE
};

/// What transformers takes for granted (`Qwen2Config` and its relatives).
fn complete(config: &mut Config, key_value_heads: u32) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", 32_768);
    config.set_default("rms_norm_eps", 1e-6);
    complete_key_value_heads(config, key_value_heads)
}

fn describe_2(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let mut rules = common(config, &decoder)?;
    rules.extend(decoder.qkv_biases(true));
    rules.extend(decoder.feed_forward());
    Ok(dense_description(&decoder, rules))
}

fn describe_2_moe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let feed_forward = experts_and_shared_one(config)?;
    let mut rules = common(config, &decoder)?;
    rules.extend(decoder.qkv_biases(config.flag("qkv_bias")?));
    rules.extend(feed_forward);
    Ok(Description { hyper_parameters: sizes_of_experts(config)?, ..description(&decoder, rules) })
}

fn describe_3(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let mut rules = common(config, &decoder)?;
    rules.extend(decoder.head_norms());
    rules.extend(decoder.attention_biases(config.flag("attention_bias")?));
    rules.extend(decoder.feed_forward());
    Ok(dense_description(&decoder, rules))
}

fn describe_3_moe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let experts = experts(config, "num_local_experts")?;
    let mut rules = common(config, &decoder)?;
    rules.extend(decoder.head_norms());
    rules.extend(decoder.attention_biases(config.flag("attention_bias")?));
    rules.extend(experts.rules_or_stacks());
    Ok(Description { hyper_parameters: sizes_of_experts(config)?, ..description(&decoder, rules) })
}

/// The experts, and the one that every token goes through.
pub(super) fn experts_and_shared_one(config: &Config) -> Result<Vec<Rule>, ConfigError> {
    let experts = experts(config, "num_experts")?;
    let shared = config.dimension("shared_expert_intermediate_size")?;
    Ok(experts.rules_or_stacks().into_iter().chain(gated_shared_expert(experts.hidden, shared)).collect())
}

/// Rows inside the experts, if there are any; some configs say that there are none in a shared one.
pub(super) fn sizes_of_experts(config: &Config) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let own = config.count("moe_intermediate_size")?.map(|rows| ("expert_feed_forward_length", rows.into()));
    let shared = config.whole("shared_expert_intermediate_size")?;
    let shared = shared.map(|rows| ("expert_shared_feed_forward_length", rows.into()));
    Ok(own.into_iter().chain(shared).collect())
}

/// What all of them have.
fn common(config: &Config, decoder: &Decoder) -> Result<Vec<Rule>, ConfigError> {
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.push(decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"));
    rules.push(decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"));
    rules.extend(decoder.attention());
    Ok(rules)
}

/// A model without experts. Embedding models are published without the beginning of names that all others have.
fn dense_description(decoder: &Decoder, rules: Vec<Rule>) -> Description {
    let renames = ["embed_tokens.", "layers.", "norm."].map(|name| (name.to_owned(), format!("model.{name}")));
    Description { renames: renames.to_vec(), embeds: true, ..description(decoder, rules) }
}

fn description(decoder: &Decoder, rules: Vec<Rule>) -> Description {
    Description { layers: decoder.layers, vocabulary_rows: decoder.vocabulary, rules, ..Description::default() }
}

/// The experts, which every layer must have: GGUF has no names for those of some layers only.
fn experts(config: &Config, count: &str) -> Result<Experts, ConfigError> {
    if config.get("mlp_only_layers").is_some_and(|layers| layers.as_array().is_none_or(|layers| !layers.is_empty())) {
        return Err(config.error("mlp_only_layers", "layers without experts have no counterpart in llama.cpp"));
    }
    if config.whole("decoder_sparse_step")?.is_some_and(|step| step != 1) {
        return Err(config.error("decoder_sparse_step", "layers without experts have no counterpart in llama.cpp"));
    }
    Ok(Experts {
        count: config.required_count(count)?,
        hidden: config.dimension("hidden_size")?,
        inner: config.dimension("moe_intermediate_size")?,
    })
}
