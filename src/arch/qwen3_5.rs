//! Qwen 3.5 with and without experts, the text part: as Qwen3-Next, with the projections of linear attention apart.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::hybrid::{self, Linear};
use super::qwen::experts_and_shared_one;
use super::rope::Rope;
use super::rule::{Part, Rule};
use super::{Architecture, Description};
use crate::model::Map;
use crate::tokenizer::Vocabulary;
use crate::view::{Axis, View};

/// `Qwen3_5ForConditionalGeneration` and its text part alone.
pub const QWEN3_5: Architecture = Architecture {
    config_names: &["Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"],
    name: "qwen35",
    vocabulary: Vocabulary::ByteLevel,
    complete: |config| {
        config.set_default("intermediate_size", 12_288);
        hybrid::complete(config);
        complete_key_value_heads(config, 4)
    },
    describe: |config| {
        let feed_forward = Decoder::read(config)?.feed_forward().to_vec();
        describe(config, feed_forward)
    },
};

/// `Qwen3_5MoeForConditionalGeneration` and its text part alone.
pub const QWEN3_5_MOE: Architecture = Architecture {
    config_names: &["Qwen3_5MoeForConditionalGeneration", "Qwen3_5MoeForCausalLM"],
    name: "qwen35moe",
    complete: |config| {
        config.set_default("num_experts", 256);
        config.set_default("num_experts_per_tok", 8);
        config.set_default("moe_intermediate_size", 512);
        config.set_default("shared_expert_intermediate_size", 512);
        hybrid::complete(config);
        complete_key_value_heads(config, 2)
    },
    describe: |config| describe(config, experts_and_shared_one(config)?),
    ..QWEN3_5
};

/// Sections of rotated pairs where the config has none.
const SECTIONS: [i32; 4] = [11, 11, 10, 0];

fn describe(config: &Config, feed_forward: Vec<Rule>) -> Result<Description, ConfigError> {
    let mut description = hybrid::describe(config, linear_attention(&Linear::read(config)?), feed_forward)?;
    if Rope::read(config)?.sections()?.is_none() {
        description.hyper_parameters.push(("rope.dimension_sections", SECTIONS.to_vec().into()));
    }
    Ok(description)
}

/// Linear attention. The heads of values lie group by group, as the key heads that they go with; llama.cpp wants the first
/// of every group first.
fn linear_attention(linear: &Linear) -> Vec<Rule> {
    let &Linear { hidden, groups, members, value, kernel, .. } = linear;
    let (heads, values, channels) = (linear.heads(), linear.values(), linear.channels());
    let others = channels - values;
    // heads of `rows` rows with `columns` columns
    let regrouped = |first: u64, rows: u64, columns: u64| View {
        base: first * columns,
        rows: vec![
            Axis::new(members, rows * columns),
            Axis::new(groups, members * rows * columns),
            Axis::new(rows, columns),
        ],
        columns: Axis::new(columns, 1),
    };
    let mixed = |columns: u64| vec![View::slice(0, others, columns), regrouped(others, value, columns)];
    let of_heads =
        |from, to, map| Rule::split(from, &[heads], vec![Part::new(to, &[heads], regrouped(0, 1, 1))]).map(map);
    let by_head =
        |from, to| Rule::split(from, &[heads, hidden], vec![Part::new(to, &[heads, hidden], regrouped(0, 1, hidden))]);
    vec![
        Rule::split(
            "model.layers.{}.linear_attn.in_proj_qkv.weight",
            &[channels, hidden],
            vec![Part::of_views("blk.{}.attn_qkv.weight", &[channels, hidden], mixed(hidden))],
        ),
        Rule::split(
            "model.layers.{}.linear_attn.in_proj_z.weight",
            &[values, hidden],
            vec![Part::new("blk.{}.attn_gate.weight", &[values, hidden], regrouped(0, value, hidden))],
        ),
        by_head("model.layers.{}.linear_attn.in_proj_b.weight", "blk.{}.ssm_beta.weight"),
        by_head("model.layers.{}.linear_attn.in_proj_a.weight", "blk.{}.ssm_alpha.weight"),
        Rule::split(
            "model.layers.{}.linear_attn.conv1d.weight",
            &[channels, 1, kernel],
            vec![Part::of_views("blk.{}.ssm_conv1d.weight", &[channels, kernel], mixed(kernel))],
        ),
        of_heads("model.layers.{}.linear_attn.dt_bias", "blk.{}.ssm_dt.bias", Map::Same),
        of_heads("model.layers.{}.linear_attn.A_log", "blk.{}.ssm_a", Map::MinusExp),
        Rule::new("model.layers.{}.linear_attn.norm.weight", "blk.{}.ssm_norm.weight", [value]),
        Rule::split(
            "model.layers.{}.linear_attn.out_proj.weight",
            &[hidden, values],
            vec![Part::new(
                "blk.{}.ssm_out.weight",
                &[hidden, values],
                View::regrouped_columns(hidden, groups, members, value),
            )],
        ),
    ]
}
