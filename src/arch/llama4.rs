//! Llama 4: stacks of transposed experts in every or every second layer. Of the multimodal model the text part.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::rope::Rope;
use super::rule::{Part, Rule};
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;
use crate::view::View;

/// `Llama4ForConditionalGeneration` and its text part alone.
pub const LLAMA4: Architecture = Architecture {
    config_names: &["Llama4ForConditionalGeneration", "Llama4ForCausalLM"],
    name: "llama4",
    vocabulary: Vocabulary::ByteLevel,
    complete,
    describe,
};

/// What transformers takes for granted (`Llama4TextConfig`). What GGUF calls the feed-forward length is the size of the
/// layers without experts, `intermediate_size_mlp`.
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", 131_072);
    config.set_default("rms_norm_eps", 1e-5);
    config.set_default("rope_theta", 500_000);
    config.set_default("num_local_experts", 16);
    config.set_default("num_experts_per_tok", 1);
    config.set_default("interleave_moe_layer_step", 1);
    config.set_default("intermediate_size", 8192);
    config.set_default("intermediate_size_mlp", 16_384);
    // a null that is written out means that the heads share the embedding
    config.set_absent("head_dim", 128);
    complete_key_value_heads(config, 8)?;
    config.set_default("head_dim", Decoder::read(config)?.head_dim);
    config.set("moe_intermediate_size", config.required_count("intermediate_size")?);
    config.set("intermediate_size", config.required_count("intermediate_size_mlp")?);
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let step = config.whole("interleave_moe_layer_step")?.unwrap_or(0);
    let experts = config.whole("num_local_experts")?.unwrap_or(0);
    let with_experts = move |layer: u32| experts > 0 && step > 0 && (layer + 1).is_multiple_of(step);

    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.push(decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"));
    rules.push(decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"));
    rules.extend(decoder.attention());
    rules.extend(decoder.attention_biases(config.flag("attention_bias")?));
    let hidden = config.dimension("hidden_size")?;
    rules.extend(
        dense(hidden, config.dimension("intermediate_size")?).map(|rule| rule.on(move |layer| !with_experts(layer))),
    );
    rules
        .extend(mixture(experts, hidden, config.dimension("moe_intermediate_size")?).map(|rule| rule.on(with_experts)));

    let head_dim = decoder.head_dim;
    let frequency_factors = Rope::read(config)?.frequency_factors(head_dim)?;
    let mut hyper_parameters = vec![
        ("vocab_size", decoder.vocabulary.into()),
        ("rope.dimension_count", head_dim.into()),
        ("interleave_moe_layer_step", step.into()),
        ("expert_feed_forward_length", config.required_count("moe_intermediate_size")?.into()),
    ];
    if has_full_attention_only(config, decoder.layers)? {
        hyper_parameters.push(("attention.sliding_window", 0_u32.into()));
    }
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        computed: frequency_factors.map(|factors| ("rope_freqs.weight", factors)).into_iter().collect(),
        hyper_parameters,
        ..Description::default()
    })
}

/// The feed-forward network of a layer without experts.
fn dense(hidden: u64, inner: u64) -> [Rule; 3] {
    [
        Rule::new("model.layers.{}.feed_forward.gate_proj.weight", "blk.{}.ffn_gate.weight", [inner, hidden]),
        Rule::new("model.layers.{}.feed_forward.up_proj.weight", "blk.{}.ffn_up.weight", [inner, hidden]),
        Rule::new("model.layers.{}.feed_forward.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, inner]),
    ]
}

/// That of a layer with experts: they are stored as `[experts, columns, rows]`, gate and up side by side.
fn mixture(experts: u32, hidden: u64, inner: u64) -> [Rule; 6] {
    let count = u64::from(experts);
    let up = |first| View::transposed_columns(count, hidden, 2 * inner, first, inner);
    let down = View::transposed_columns(count, inner, hidden, 0, hidden);
    [
        Rule::split(
            "model.layers.{}.feed_forward.experts.down_proj",
            &[count, inner, hidden],
            vec![Part::new("blk.{}.ffn_down_exps.weight", &[count, hidden, inner], down)],
        ),
        Rule::split(
            "model.layers.{}.feed_forward.experts.gate_up_proj",
            &[count, hidden, 2 * inner],
            vec![
                Part::new("blk.{}.ffn_gate_exps.weight", &[count, inner, hidden], up(0)),
                Part::new("blk.{}.ffn_up_exps.weight", &[count, inner, hidden], up(inner)),
            ],
        ),
        Rule::new("model.layers.{}.feed_forward.router.weight", "blk.{}.ffn_gate_inp.weight", [count, hidden]),
        Rule::new(
            "model.layers.{}.feed_forward.shared_expert.gate_proj.weight",
            "blk.{}.ffn_gate_shexp.weight",
            [inner, hidden],
        ),
        Rule::new(
            "model.layers.{}.feed_forward.shared_expert.up_proj.weight",
            "blk.{}.ffn_up_shexp.weight",
            [inner, hidden],
        ),
        Rule::new(
            "model.layers.{}.feed_forward.shared_expert.down_proj.weight",
            "blk.{}.ffn_down_shexp.weight",
            [hidden, inner],
        ),
    ]
}

/// Whether no layer attends within chunks only. Those without rotary embeddings do not, by default every fourth.
fn has_full_attention_only(config: &Config, layers: u32) -> Result<bool, ConfigError> {
    if let Some(types) = config.list("layer_types")? {
        return Ok(types.iter().all(|kind| kind == "full_attention"));
    }
    let rotary = config.list("no_rope_layers")?.filter(|layers| !layers.is_empty());
    match rotary {
        Some(rotary) => Ok(rotary.iter().all(|rotary| rotary == 0)),
        None => {
            let interval = config.count("no_rope_layer_interval")?.unwrap_or(4);
            Ok((1..=layers).all(|layer| layer.is_multiple_of(interval)))
        }
    }
}
