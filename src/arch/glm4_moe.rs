//! GLM-4.5 and its successors with experts; a layer after the last predicts further tokens.

use serde_json::json;
use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::experts::{Experts, shared_experts};
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description, hyper};
use crate::tokenizer::Vocabulary;

/// `Glm4MoeForCausalLM`.
pub const GLM_4_MOE: Architecture = Architecture {
    config_names: &["Glm4MoeForCausalLM"],
    name: "glm4moe",
    vocabulary: Vocabulary::Glm4Moe,
    complete,
    describe,
};

/// Number of the gating function "sigmoid" in llama.cpp.
const SIGMOID: u32 = 2;

/// What transformers takes for granted (`Glm4MoeConfig`). The layers that predict further tokens count as layers.
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    let defaults = [
        ("num_key_value_heads", json!(8)),
        ("max_position_embeddings", json!(131_072)),
        ("rms_norm_eps", json!(1e-5)),
        ("moe_intermediate_size", json!(1408)),
        ("num_experts_per_tok", json!(8)),
        ("n_shared_experts", json!(1)),
        ("n_routed_experts", json!(128)),
        ("routed_scaling_factor", json!(1.0)),
        ("n_group", json!(1)),
        ("topk_group", json!(1)),
        ("first_k_dense_replace", json!(1)),
        ("norm_topk_prob", json!(true)),
        ("num_nextn_predict_layers", json!(1)),
    ];
    for (key, value) in defaults {
        config.set_default(key, value);
    }
    let layers = hyper::layers(config)?;
    let predicting = config.whole("num_nextn_predict_layers")?.unwrap_or(0);
    config.set("num_hidden_layers", layers.saturating_add(predicting));
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let whole = |key| Ok(config.whole(key)?.unwrap_or(0));
    let (dense_layers, shared) = (whole("first_k_dense_replace")?, whole("n_shared_experts")?);
    let predicting = whole("num_nextn_predict_layers")?;
    let experts = Experts {
        count: config.required_count("n_routed_experts")?,
        hidden: config.dimension("hidden_size")?,
        inner: config.dimension("moe_intermediate_size")?,
    };

    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.push(decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"));
    rules.push(decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"));
    rules.extend(decoder.attention());
    rules.extend(decoder.qkv_biases(config.flag("attention_bias")?));
    if config.flag("use_qk_norm")? {
        rules.extend(decoder.head_norms());
    }
    rules.extend(decoder.feed_forward().map(|rule| rule.on(move |layer| layer < dense_layers)));
    let correction =
        Rule::new("model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias", [experts.count]);
    let mut mixture = vec![correction];
    mixture.extend(experts.rules());
    if shared > 0 {
        mixture.extend(shared_experts(experts.hidden, u64::from(shared) * experts.inner));
    }
    rules.extend(mixture.into_iter().map(|rule| rule.on(move |layer| layer >= dense_layers)));
    let first_predicting = decoder.layers - predicting;
    rules.extend(prediction(&decoder).map(|rule| rule.on(move |layer| layer >= first_predicting)));

    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        hyper_parameters: hyper_parameters(config, &decoder)?,
        ..Description::default()
    })
}

/// What a layer that predicts further tokens has beside a block. Its embeddings and output may be those of the model.
fn prediction(decoder: &Decoder) -> [Rule; 6] {
    let (vocabulary, hidden) = (u64::from(decoder.vocabulary), u64::from(decoder.hidden));
    [
        Rule::new("model.layers.{}.eh_proj.weight", "blk.{}.nextn.eh_proj.weight", [hidden, 2 * hidden]),
        Rule::new("model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight", [hidden]),
        Rule::new("model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight", [hidden]),
        Rule::new("model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight", [hidden])
            .optional_unless(false),
        Rule::new("model.layers.{}.embed_tokens.weight", "blk.{}.nextn.embed_tokens.weight", [vocabulary, hidden])
            .optional_unless(false),
        Rule::new(
            "model.layers.{}.shared_head.head.weight",
            "blk.{}.nextn.shared_head_head.weight",
            [vocabulary, hidden],
        )
        .optional_unless(false),
    ]
}

fn hyper_parameters(config: &Config, decoder: &Decoder) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let whole = |key| Ok::<Value, ConfigError>(config.whole(key)?.unwrap_or(0).into());
    Ok(vec![
        ("rope.dimension_count", Rope::read(config)?.rotated(decoder.head_dim, 0.5)?.into()),
        ("expert_feed_forward_length", whole("moe_intermediate_size")?),
        ("expert_shared_count", whole("n_shared_experts")?),
        ("leading_dense_block_count", whole("first_k_dense_replace")?),
        ("expert_gating_func", SIGMOID.into()),
        ("expert_weights_scale", (config.required_number("routed_scaling_factor")? as f32).into()),
        ("expert_weights_norm", config.flag("norm_topk_prob")?.into()),
        ("nextn_predict_layers", whole("num_nextn_predict_layers")?),
    ])
}
