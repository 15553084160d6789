//! Mixtral, which llama.cpp runs as Llama: every layer has experts, each in tensors of its own.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description, llama};

/// `MixtralForCausalLM`.
pub const MIXTRAL: Architecture =
    Architecture { config_names: &["MixtralForCausalLM"], complete, describe, ..llama::LLAMA };

/// What transformers takes for granted (`MixtralConfig`).
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", 131_072);
    config.set_default("rms_norm_eps", 1e-5);
    config.set_default("rope_theta", 1e6);
    config.set_default("num_local_experts", 8);
    config.set_default("num_experts_per_tok", 2);
    complete_key_value_heads(config, 8)
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let Decoder { hidden, feed_forward, head_dim, .. } = decoder;
    let experts = config.required_count("num_local_experts")?;
    let [q, k, v, o] = decoder.attention();
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.extend([
        decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        q.interleave_halves(decoder.heads),
        k.interleave_halves(decoder.key_value_heads),
        v,
        o,
        Rule::new("model.layers.{}.block_sparse_moe.gate.weight", "blk.{}.ffn_gate_inp.weight", [experts, hidden]),
        Rule::experts(
            experts,
            &[
                (
                    "model.layers.{}.block_sparse_moe.experts.{e}.w1.weight",
                    "blk.{}.ffn_gate_exps.weight",
                    [feed_forward, hidden],
                ),
                (
                    "model.layers.{}.block_sparse_moe.experts.{e}.w2.weight",
                    "blk.{}.ffn_down_exps.weight",
                    [hidden, feed_forward],
                ),
                (
                    "model.layers.{}.block_sparse_moe.experts.{e}.w3.weight",
                    "blk.{}.ffn_up_exps.weight",
                    [feed_forward, hidden],
                ),
            ],
        ),
    ]);
    let frequency_factors = Rope::read(config)?.frequency_factors(head_dim)?;
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        computed: frequency_factors.map(|factors| ("rope_freqs.weight", factors)).into_iter().collect(),
        hyper_parameters: vec![("vocab_size", decoder.vocabulary.into()), ("rope.dimension_count", head_dim.into())],
        ..Description::default()
    })
}
