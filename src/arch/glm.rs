//! GLM-4 of 2024 and GLM-4-0414: half of every head is rotated, gate and up are one matrix.

use serde_json::json;
use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// Share of a head that is rotated, where the config has none.
const ROTATED: f64 = 0.5;

/// `GlmForCausalLM`, which llama.cpp runs as ChatGLM.
pub const GLM: Architecture = Architecture {
    config_names: &["GlmForCausalLM"],
    name: "chatglm",
    vocabulary: Vocabulary::Glm,
    complete,
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let norms = [
            decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
            decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        ];
        Ok(Description {
            own: Some(chatglm(&decoder)),
            hyper_parameters: after_chatglm(config, &decoder)?,
            ..described(config, &decoder, norms)?
        })
    },
};

/// `Glm4ForCausalLM`.
pub const GLM_4: Architecture = Architecture {
    config_names: &["Glm4ForCausalLM"],
    name: "glm4",
    vocabulary: Vocabulary::Glm4,
    complete,
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let norms = [
            decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
            decoder.norm("model.layers.{}.post_self_attn_layernorm.weight", "blk.{}.post_attention_norm.weight"),
            decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
            decoder.norm("model.layers.{}.post_mlp_layernorm.weight", "blk.{}.post_ffw_norm.weight"),
        ];
        let rotated = Rope::read(config)?.rotated(decoder.head_dim, ROTATED)?;
        Ok(Description {
            hyper_parameters: vec![("rope.dimension_count", rotated.into())],
            ..described(config, &decoder, norms)?
        })
    },
};

fn complete(config: &mut Config) -> Result<(), ConfigError> {
    let defaults = [
        ("num_key_value_heads", json!(2)),
        ("head_dim", json!(128)),
        ("max_position_embeddings", json!(131_072)),
        ("rms_norm_eps", json!(1.5625e-7)),
        ("attention_bias", json!(true)),
    ];
    for (key, value) in defaults {
        config.set_default(key, value);
    }
    Ok(())
}

fn described<const N: usize>(config: &Config, decoder: &Decoder, norms: [Rule; N]) -> Result<Description, ConfigError> {
    let &Decoder { layers, vocabulary, hidden, feed_forward, .. } = decoder;
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.extend(norms);
    rules.extend(decoder.attention());
    // the output projection never has one
    let [q_bias, k_bias, v_bias, _] = decoder.attention_biases(config.flag("attention_bias")?);
    let fused = feed_forward.saturating_mul(2);
    rules.extend([
        q_bias,
        k_bias,
        v_bias,
        Rule::new("model.layers.{}.mlp.gate_up_proj.weight", "blk.{}.ffn_up.weight", [fused, hidden]),
        Rule::new("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, feed_forward]),
    ]);
    Ok(Description { layers, vocabulary_rows: vocabulary, rules, ..Description::default() })
}

/// Hyper-parameters as the reference reads them for the first ChatGLM: of the settings that transformers renamed since,
/// it does not see the context length (and takes the width), the epsilon of the norms or the base of the frequencies.
fn chatglm(decoder: &Decoder) -> Vec<(&'static str, Value)> {
    vec![
        ("context_length", decoder.hidden.into()),
        ("embedding_length", decoder.hidden.into()),
        ("feed_forward_length", decoder.feed_forward.into()),
        ("block_count", decoder.layers.into()),
        ("attention.head_count", decoder.heads.into()),
        ("attention.head_count_kv", decoder.key_value_heads.into()),
        ("attention.layer_norm_rms_epsilon", 1e-5f32.into()),
    ]
}

fn after_chatglm(config: &Config, decoder: &Decoder) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let rotated = Rope::read(config)?.rotated(decoder.hidden / decoder.heads, ROTATED)?;
    Ok(vec![
        ("rope.dimension_count", rotated.into()),
        ("tokenizer.ggml.add_bos_token", false.into()),
        ("rope.freq_base", 10_000f32.into()),
    ])
}
