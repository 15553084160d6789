//! gpt-oss: stacks of experts, published in MXFP4; rows of gate and up alternate.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::rule::{Part, Rule};
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;
use crate::view::{Axis, View};

/// `GptOssForCausalLM`.
pub const GPT_OSS: Architecture = Architecture {
    config_names: &["GptOssForCausalLM"],
    name: "gpt-oss",
    vocabulary: Vocabulary::ByteLevel,
    complete,
    describe,
};

/// What transformers takes for granted (`GptOssConfig`).
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", 131_072);
    config.set_default("rms_norm_eps", 1e-5);
    config.set_default("rope_theta", 150_000);
    if config.get("rope_scaling").is_none() && config.get("rope_parameters").is_none() {
        config.set_default(
            "rope_parameters",
            serde_json::json!({
                "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                "original_max_position_embeddings": 4096,
            }),
        );
    }
    config.set_default("num_local_experts", 128);
    config.set_default("num_experts_per_tok", 4);
    config.set_default("sliding_window", 128);
    config.set_default("attention_bias", true);
    // a null that is written out means that the heads share the embedding
    config.set_absent("head_dim", 64);
    complete_key_value_heads(config, 8)?;
    config.set_default("head_dim", Decoder::read(config)?.head_dim);
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let biases = config.flag("attention_bias")?;
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.push(decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"));
    rules.push(decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"));
    rules.extend(decoder.attention());
    rules.extend(decoder.attention_biases(biases));
    rules.push(Rule::new("model.layers.{}.self_attn.sinks", "blk.{}.attn_sinks.weight", [decoder.heads]));
    rules.extend(mixture(config)?);
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        hyper_parameters: vec![
            ("attention.sliding_window", config.required_count("sliding_window")?.into()),
            ("expert_feed_forward_length", config.required_count("intermediate_size")?.into()),
        ],
        ..Description::default()
    })
}

/// The experts. Plain ones are stored as `[experts, columns, rows]`, those in MXFP4 as `[experts, rows, columns]`.
fn mixture(config: &Config) -> Result<[Rule; 6], ConfigError> {
    let count = config.dimension("num_local_experts")?;
    let (hidden, inner) = (config.dimension("hidden_size")?, config.dimension("intermediate_size")?);
    let quantized = config.get("quantization_config").is_some_and(|settings| settings["quant_method"] == "mxfp4");
    // row `2 r + first` of each expert
    let every_other = |first: u64| match quantized {
        true => View {
            base: first * hidden,
            rows: vec![Axis::new(count, 2 * inner * hidden), Axis::new(inner, 2 * hidden)],
            columns: Axis::new(hidden, 1),
        },
        false => View {
            base: first,
            rows: vec![Axis::new(count, hidden * 2 * inner), Axis::new(inner, 2)],
            columns: Axis::new(hidden, 2 * inner),
        },
    };
    let biases = |first| View { base: first, rows: vec![Axis::new(count, 2 * inner)], columns: Axis::new(inner, 2) };
    let (down, stored_down, stored_up) = match quantized {
        true => (View::whole(&[count, hidden, inner]), [count, hidden, inner], [count, 2 * inner, hidden]),
        false => (
            View::transposed_columns(count, inner, hidden, 0, hidden),
            [count, inner, hidden],
            [count, hidden, 2 * inner],
        ),
    };
    Ok([
        Rule::new("model.layers.{}.mlp.router.weight", "blk.{}.ffn_gate_inp.weight", [count, hidden]),
        Rule::new("model.layers.{}.mlp.router.bias", "blk.{}.ffn_gate_inp.bias", [count]),
        Rule::split(
            "model.layers.{}.mlp.experts.down_proj",
            &stored_down,
            vec![Part::new("blk.{}.ffn_down_exps.weight", &[count, hidden, inner], down)],
        )
        .keep_codes(),
        Rule::new("model.layers.{}.mlp.experts.down_proj_bias", "blk.{}.ffn_down_exps.bias", [count, hidden]),
        Rule::split(
            "model.layers.{}.mlp.experts.gate_up_proj",
            &stored_up,
            vec![
                Part::new("blk.{}.ffn_gate_exps.weight", &[count, inner, hidden], every_other(0)),
                Part::new("blk.{}.ffn_up_exps.weight", &[count, inner, hidden], every_other(1)),
            ],
        )
        .keep_codes(),
        Rule::split(
            "model.layers.{}.mlp.experts.gate_up_proj_bias",
            &[count, 2 * inner],
            vec![
                Part::new("blk.{}.ffn_gate_exps.bias", &[count, inner], biases(0)),
                Part::new("blk.{}.ffn_up_exps.bias", &[count, inner], biases(1)),
            ],
        ),
    ])
}
