//! Llama and what is built like it: Llama 2, 3, 3.1, 3.2, Code Llama, Mistral, SmolLM2.

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// `LlamaForCausalLM`.
pub const LLAMA: Architecture = Architecture {
    config_names: &["LlamaForCausalLM", "LLaMAForCausalLM"],
    name: "llama",
    vocabulary: Vocabulary::Llama,
    complete: |config| complete(config, None, 2048),
    describe,
};

/// `MistralForCausalLM`, which llama.cpp runs as Llama.
pub const MISTRAL: Architecture = Architecture {
    config_names: &["MistralForCausalLM"],
    complete: |config| complete(config, Some(8), 131_072),
    ..LLAMA
};

/// What transformers takes for granted (`LlamaConfig`, `MistralConfig`).
pub(super) fn complete(config: &mut Config, key_value_heads: Option<u32>, context: u32) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", context);
    config.set_default("rms_norm_eps", 1e-6);
    let heads = config.required_count("num_attention_heads")?;
    // a null that is written out means one per query head for both
    let key_value_heads = key_value_heads.filter(|_| !config.mentions("num_key_value_heads")).unwrap_or(heads);
    config.set_default("num_key_value_heads", key_value_heads);
    config.set_default("head_dim", Decoder::read(config)?.head_dim);
    Ok(())
}

pub(super) fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let mut feed_forward = decoder.feed_forward().to_vec();
    feed_forward.extend(decoder.feed_forward_biases(config.flag("mlp_bias")?));
    describe_with(config, &decoder, feed_forward)
}

/// Describes a model that has Llama's attention, and any feed-forward network.
pub(super) fn describe_with(
    config: &Config,
    decoder: &Decoder,
    feed_forward: impl IntoIterator<Item = Rule>,
) -> Result<Description, ConfigError> {
    let interleaved = |[q, k, v, o]: [Rule; 4]| {
        [q.interleave_halves(decoder.heads), k.interleave_halves(decoder.key_value_heads), v, o]
    };
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.extend([
        decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    ]);
    rules.extend(interleaved(decoder.attention()));
    rules.extend(interleaved(decoder.attention_biases(config.flag("attention_bias")?)));
    rules.extend(feed_forward);
    let frequency_factors = Rope::read(config)?.frequency_factors(decoder.head_dim)?;
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        computed: frequency_factors.map(|factors| ("rope_freqs.weight", factors)).into_iter().collect(),
        hyper_parameters: vec![
            ("vocab_size", decoder.vocabulary.into()),
            ("rope.dimension_count", decoder.head_dim.into()),
        ],
        ..Description::default()
    })
}
