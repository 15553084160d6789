//! Qwen3-Next: linear attention in most layers, gated attention in the others, experts in all; behind them a layer that
//! predicts further tokens.

use std::rc::Rc;

use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::experts::gated_shared_expert;
use super::qwen::{experts, sizes_of_experts};
use super::rope::Rope;
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
    config.set_default("max_position_embeddings", 32_768);
    config.set_default("rms_norm_eps", 1e-6);
    config.set_default("head_dim", 256);
    config.set_default("num_experts", 512);
    config.set_default("num_experts_per_tok", 10);
    config.set_default("intermediate_size", 5632);
    config.set_default("moe_intermediate_size", 512);
    config.set_default("shared_expert_intermediate_size", 512);
    config.set_default("linear_conv_kernel_dim", 4);
    config.set_default("linear_key_head_dim", 128);
    config.set_default("linear_value_head_dim", 128);
    config.set_default("linear_num_key_heads", 16);
    config.set_default("linear_num_value_heads", 32);
    config.set_default("full_attention_interval", 4);
    config.set_default("partial_rotary_factor", 0.25);
    complete_key_value_heads(config, 2)
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let predicting = config.whole("mtp_num_hidden_layers")?.unwrap_or(0);
    let Some(layers) = decoder.layers.checked_add(predicting) else {
        return Err(config.error("mtp_num_hidden_layers", format!("{predicting}, too many layers")));
    };
    let linear: Rc<[bool]> = linear_layers(config)?.into();
    let is_linear = {
        let linear = Rc::clone(&linear);
        move |layer: u32| linear.get(layer as usize).copied().unwrap_or(false)
    };
    let first_predicting = decoder.layers;

    let hidden = config.dimension("hidden_size")?;
    let rows = u64::from(decoder.vocabulary);
    let norm = |from, to| decoder.norm(from, to).map(Map::PlusOne);
    let mut rules = vec![
        Rule::new("model.embed_tokens.weight", "token_embd.weight", [rows, hidden]),
        Rule::new("lm_head.weight", "output.weight", [rows, hidden])
            .optional_unless(!config.flag("tie_word_embeddings")?),
        norm("model.norm.weight", "output_norm.weight"),
        norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
    ];
    rules.extend(linear_attention(config, hidden)?.map(|rule| rule.on(is_linear.clone())));
    let is_linear = &is_linear;
    rules.extend(gated_attention(config, &decoder)?.into_iter().map(|rule| {
        let is_linear = is_linear.clone();
        rule.on(move |layer| !is_linear(layer))
    }));
    rules.extend(experts(config, "num_experts")?.rules());
    rules.extend(gated_shared_expert(hidden, config.dimension("shared_expert_intermediate_size")?));
    let prediction = [
        Rule::new("model.layers.{}.eh_proj.weight", "blk.{}.nextn.eh_proj.weight", [hidden, 2 * hidden]),
        norm("model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight"),
        norm("model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight"),
        norm("model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight"),
    ];
    rules.extend(prediction.map(|rule| rule.on(move |layer| layer == first_predicting)));
    Ok(Description {
        layers,
        vocabulary_rows: decoder.vocabulary,
        renames: renames(decoder.layers, predicting),
        rules,
        hyper_parameters: hyper_parameters(config, &decoder, predicting, &linear)?,
        ..Description::default()
    })
}

/// For every layer whether its attention is linear.
fn linear_layers(config: &Config) -> Result<Vec<bool>, ConfigError> {
    let layers = config.dimension("num_hidden_layers")?;
    let Some(types) = config.list("layer_types")? else {
        let interval = u64::from(config.required_count("full_attention_interval")?);
        return Ok((1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect());
    };
    if types.len() as u64 != layers {
        let problem = format!("{} entries, but num_hidden_layers is {layers}", types.len());
        return Err(config.error("layer_types", problem));
    }
    Ok(types.iter().map(|kind| kind == "linear_attention").collect())
}

/// Linear attention. Queries, keys, values and gates are stored head by head; GGUF has the gates apart, and the others
/// kind by kind.
fn linear_attention(config: &Config, hidden: u64) -> Result<[Rule; 7], ConfigError> {
    let (groups, heads) = (config.dimension("linear_num_key_heads")?, config.dimension("linear_num_value_heads")?);
    if !heads.is_multiple_of(groups) {
        let problem = format!("{heads} is no multiple of linear_num_key_heads ({groups})");
        return Err(config.error("linear_num_value_heads", problem));
    }
    let (key, value) = (config.dimension("linear_key_head_dim")?, config.dimension("linear_value_head_dim")?);
    let kernel = config.dimension("linear_conv_kernel_dim")?;
    let values = heads / groups * value;
    let group = 2 * key + 2 * values;
    let of_groups = |first: u64, rows: u64| View {
        base: first * hidden,
        rows: vec![Axis::new(groups, group * hidden), Axis::new(rows, hidden)],
        columns: Axis::new(hidden, 1),
    };
    let channels = groups * (2 * key + values);
    Ok([
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
    ])
}

/// Attention over all tokens, a gate beside every query.
fn gated_attention(config: &Config, decoder: &Decoder) -> Result<Vec<Rule>, ConfigError> {
    let [_, k, v, o] = decoder.attention();
    let gated = 2 * u64::from(decoder.queries);
    let mut rules = vec![
        Rule::new("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", [gated, decoder.hidden.into()]),
        k,
        v,
        o,
    ];
    rules.extend(decoder.head_norms().map(|rule| rule.map(Map::PlusOne)));
    if config.flag("attention_bias")? {
        let [_, k, v, o] = decoder.attention_biases(true);
        let q = Rule::new("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", [gated]);
        rules.extend([q, k, v, o]);
    }
    Ok(rules)
}

/// The predicting layers are stored apart; in GGUF they follow the others, and what they have in common belongs to the
/// first of them.
fn renames(layers: u32, predicting: u32) -> Vec<(String, String)> {
    let common = [
        ("fc.", "eh_proj."),
        ("pre_fc_norm_embedding.", "enorm."),
        ("pre_fc_norm_hidden.", "hnorm."),
        ("norm.", "shared_head.norm."),
    ];
    let common = common.map(|(from, to)| (format!("mtp.{from}"), format!("model.layers.{layers}.{to}")));
    let numbers = (0..predicting.min(MAX_PREDICTING)).map(|number| {
        (format!("mtp.layers.{number}."), format!("model.layers.{}.", u64::from(layers) + u64::from(number)))
    });
    common.into_iter().chain(numbers).collect()
}

/// Most layers that predict further tokens; published models have one.
const MAX_PREDICTING: u32 = 64;

fn hyper_parameters(
    config: &Config,
    decoder: &Decoder,
    predicting: u32,
    linear: &[bool],
) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let count = |key| config.required_count(key);
    let heads = count("linear_num_value_heads")?;
    let Some(inner) = count("linear_value_head_dim")?.checked_mul(heads) else {
        return Err(config.error("linear_value_head_dim", format!("too large for {heads} heads")));
    };
    let mut entries = sizes_of_experts(config)?;
    if predicting > 0 {
        entries.push(("block_count", (decoder.layers + predicting).into()));
        entries.push(("nextn_predict_layers", predicting.into()));
    }
    let mut recurrent = linear.to_vec();
    recurrent.extend((0..predicting.min(MAX_PREDICTING)).map(|_| false));
    let rotary = Rope::read(config)?.partial_factor()?.unwrap_or(1.0);
    entries.extend([
        ("ssm.conv_kernel", count("linear_conv_kernel_dim")?.into()),
        ("ssm.state_size", count("linear_key_head_dim")?.into()),
        ("ssm.group_count", count("linear_num_key_heads")?.into()),
        ("ssm.time_step_rank", heads.into()),
        ("ssm.inner_size", inner.into()),
        ("attention.recurrent_layers", recurrent.into()),
        ("full_attention_interval", count("full_attention_interval")?.into()),
        ("rope.dimension_count", ((f64::from(decoder.head_dim) * rotary) as u32).into()),
    ]);
    Ok(entries)
}
