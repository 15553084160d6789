//! Qwen3-Next: linear attention in most layers, gated attention in the others, experts in all; behind them a layer that
//! predicts further tokens.

use super::config::{Config, ConfigError};
use super::decoder::complete_key_value_heads;
use super::hybrid::{self, Linear};
use super::qwen::experts_and_shared_one;
use super::rule::{Part, Rule};
use super::{Architecture, Description};
use crate::model::Map;
use crate::tokenizer::Vocabulary;
use crate::view::{Axis, View};

/// `Qwen3NextForCausalLM`.
pub const QWEN3_NEXT: Architecture = Architecture {
    config_names: &["Qwen3NextForCausalLM"],
    name: "qwen3next",
    vocabulary: Vocabulary::ByteLevel,
    complete,
    describe,
};

/// What transformers takes for granted (`Qwen3NextConfig`).
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("num_experts", 512);
    config.set_default("num_experts_per_tok", 10);
    config.set_default("intermediate_size", 5632);
    config.set_default("moe_intermediate_size", 512);
    config.set_default("shared_expert_intermediate_size", 512);
    hybrid::complete(config);
    complete_key_value_heads(config, 2)
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let linear = Linear::read(config)?;
    hybrid::describe(config, linear_attention(&linear), experts_and_shared_one(config)?)
}

/// Linear attention. Queries, keys, values and gates are stored head by head; GGUF has the gates apart, and the others
/// kind by kind.
fn linear_attention(linear: &Linear) -> Vec<Rule> {
    let &Linear { hidden, groups, members, key, value, kernel } = linear;
    let values = members * value;
    let group = 2 * key + 2 * values;
    let of_groups = |first: u64, rows: u64| View {
        base: first * hidden,
        rows: vec![Axis::new(groups, group * hidden), Axis::new(rows, hidden)],
        columns: Axis::new(hidden, 1),
    };
    let (heads, channels) = (linear.heads(), linear.channels());
    vec![
        Rule::split(
            "model.layers.{}.linear_attn.in_proj_qkvz.weight",
            &[groups * group, hidden],
            vec![
                Part::of_views(
                    "blk.{}.attn_qkv.weight",
                    &[channels, hidden],
                    vec![of_groups(0, key), of_groups(key, key), of_groups(2 * key, values)],
                ),
                Part::new("blk.{}.attn_gate.weight", &[groups * values, hidden], of_groups(2 * key + values, values)),
            ],
        ),
        Rule::new("model.layers.{}.linear_attn.in_proj_ba.weight", "blk.{}.ssm_ba.weight", [2 * heads, hidden]),
        Rule::split(
            "model.layers.{}.linear_attn.conv1d.weight",
            &[channels, 1, kernel],
            vec![Part::new("blk.{}.ssm_conv1d.weight", &[channels, kernel], View::whole(&[channels, kernel]))],
        ),
        Rule::new("model.layers.{}.linear_attn.dt_bias", "blk.{}.ssm_dt.bias", [heads]),
        Rule::new("model.layers.{}.linear_attn.A_log", "blk.{}.ssm_a", [heads]).map(Map::MinusExp),
        Rule::new("model.layers.{}.linear_attn.norm.weight", "blk.{}.ssm_norm.weight", [value]),
        Rule::new("model.layers.{}.linear_attn.out_proj.weight", "blk.{}.ssm_out.weight", [hidden, heads * value]),
    ]
}
