//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: projections of attention in one matrix, gate and up in another.

use serde_json::json;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// `Phi3ForCausalLM`.
pub const PHI_3: Architecture =
    Architecture { config_names: &["Phi3ForCausalLM"], name: "phi3", vocabulary: Vocabulary::Phi3, complete, describe };

fn complete(config: &mut Config) -> Result<(), ConfigError> {
    let defaults = [
        ("num_key_value_heads", json!(config.required_count("num_attention_heads")?)),
        ("max_position_embeddings", json!(4096)),
        ("original_max_position_embeddings", json!(4096)),
        ("rms_norm_eps", json!(1e-5)),
    ];
    for (key, value) in defaults {
        config.set_default(key, value);
    }
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let Decoder { layers, vocabulary, hidden, feed_forward, queries, keys, .. } = decoder;
    let context = config.required_count("max_position_embeddings")?;
    let original_context = config.required_count("original_max_position_embeddings")?;
    let rope = Rope::read(config)?;
    let rotated = rope.rotated(hidden, 1.0)? / decoder.heads;
    let mut computed = Vec::new();
    let mut leading = Vec::new();
    if let Some([long, short]) = rope.long_and_short_factors(rotated)? {
        computed = vec![("rope_factors_long.weight", long), ("rope_factors_short.weight", short)];
        leading.push(("rope.scaling.attn_factor", attention_factor(context, original_context).into()));
    }

    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    let fused_attention = queries.saturating_add(keys.saturating_mul(2));
    let fused_up = feed_forward.saturating_mul(2);
    rules.extend([
        decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        Rule::new("model.layers.{}.self_attn.qkv_proj.weight", "blk.{}.attn_qkv.weight", [fused_attention, hidden]),
        Rule::new("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", [hidden, queries]),
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        Rule::new("model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight", [fused_up, hidden]),
        Rule::new("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, feed_forward]),
    ]);
    Ok(Description {
        layers,
        vocabulary_rows: vocabulary,
        rules,
        computed,
        leading,
        own: Some(vec![
            ("context_length", context.into()),
            ("rope.scaling.original_context_length", original_context.into()),
            ("embedding_length", hidden.into()),
            ("feed_forward_length", feed_forward.into()),
            ("block_count", layers.into()),
            ("attention.head_count", decoder.heads.into()),
            ("attention.head_count_kv", decoder.key_value_heads.into()),
            ("attention.layer_norm_rms_epsilon", (config.required_number("rms_norm_eps")? as f32).into()),
            ("rope.dimension_count", rotated.into()),
            ("rope.freq_base", (rope.theta() as f32).into()),
        ]),
        // zero tells Phi-4 from the others
        hyper_parameters: vec![("attention.sliding_window", config.count("sliding_window")?.unwrap_or(0).into())],
        ..Description::default()
    })
}

/// By how much attention is sharpened because the context grew.
fn attention_factor(context: u32, original_context: u32) -> f32 {
    let scale = f64::from(context) / f64::from(original_context);
    let factor = if scale > 1.0 { (1.0 + scale.ln() / f64::from(original_context).ln()).sqrt() } else { 1.0 };
    factor as f32
}
