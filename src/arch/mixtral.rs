//! Mixtral, which llama.cpp runs as Llama: every layer has experts, each in tensors of its own.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
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
    let Decoder { hidden, feed_forward, .. } = decoder;
    let experts = config.required_count("num_local_experts")?;
    let mixture = [
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
    ];
    llama::describe_with(config, &decoder, mixture)
}
