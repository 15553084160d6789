//! Gemma, Gemma 2 and the text part of Gemma 3. They store the scales of their norms less one, and use the embeddings
//! as output.

use serde_json::{Value as Json, json};
use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rule::Rule;
use super::{Architecture, Description, rope};
use crate::model::Map;
use crate::tokenizer::Vocabulary;

/// `GemmaForCausalLM`.
pub const GEMMA: Architecture = Architecture {
    config_names: &["GemmaForCausalLM"],
    name: "gemma",
    vocabulary: Vocabulary::Gemma,
    complete: |config| {
        complete(config, &[("num_key_value_heads", json!(16)), ("max_position_embeddings", json!(8192))])
    },
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let norms = [
            decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
            decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        ];
        Ok(Description {
            rules: rules(&decoder, norms, Rule::ignore("lm_head.weight", COPIED_OUTPUT)),
            own: Some(own(config, &decoder)?),
            ..described(&decoder)
        })
    },
};

/// `Gemma2ForCausalLM`.
pub const GEMMA_2: Architecture = Architecture {
    config_names: &["Gemma2ForCausalLM"],
    name: "gemma2",
    vocabulary: Vocabulary::Gemma2,
    complete: |config| {
        let defaults = [
            ("num_key_value_heads", json!(4)),
            ("max_position_embeddings", json!(8192)),
            ("attn_logit_softcapping", json!(50.0)),
            ("final_logit_softcapping", json!(30.0)),
            ("sliding_window", json!(4096)),
        ];
        complete(config, &defaults)
    },
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let cap = |key| Ok(Value::from(config.required_number(key)? as f32));
        Ok(Description {
            rules: rules(&decoder, norms(&decoder), Rule::ignore("lm_head.weight", COPIED_OUTPUT)),
            own: Some(own(config, &decoder)?),
            hyper_parameters: vec![
                ("attn_logit_softcapping", cap("attn_logit_softcapping")?),
                ("final_logit_softcapping", cap("final_logit_softcapping")?),
                ("attention.sliding_window", config.required_count("sliding_window")?.into()),
            ],
            ..described(&decoder)
        })
    },
};

/// `Gemma3ForCausalLM`, and the text part of `Gemma3ForConditionalGeneration`.
pub const GEMMA_3: Architecture = Architecture {
    config_names: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
    name: "gemma3",
    vocabulary: Vocabulary::Gemma3,
    complete: |config| {
        let sliding_theta = config.get("rope_local_base_freq").cloned().unwrap_or(json!(10_000.0));
        rope::nest(config, 1_000_000.0, sliding_theta);
        let defaults = [
            ("vocab_size", json!(262_208)),
            ("num_attention_heads", json!(8)),
            ("num_key_value_heads", json!(4)),
            ("max_position_embeddings", json!(131_072)),
            ("sliding_window", json!(4096)),
        ];
        complete(config, &defaults)
    },
    describe: describe_3,
};

const COPIED_OUTPUT: &str = "the output matrix, for which llama.cpp takes the embeddings";

fn complete(config: &mut Config, defaults: &[(&str, Json)]) -> Result<(), ConfigError> {
    for (key, value) in defaults {
        config.set_default(key, value.clone());
    }
    config.set_default("head_dim", 256);
    config.set_default("rms_norm_eps", 1e-6);
    Ok(())
}

fn describe_3(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    if config.get("attn_logit_softcapping").is_some() {
        return Err(config.error("attn_logit_softcapping", "Gemma 3 has none, and llama.cpp would leave it out"));
    }
    let mut rules = rules(
        &decoder,
        norms(&decoder),
        Rule::new("lm_head.weight", "output.weight", [decoder.vocabulary, decoder.hidden]).optional_unless(false),
    );
    rules.extend(
        [
            Rule::new("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", [decoder.head_dim]),
            Rule::new("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", [decoder.head_dim]),
        ]
        .map(|rule| rule.map(Map::PlusOne)),
    );
    let mut hyper_parameters = Vec::new();
    if let Some(cap) = config.number("final_logit_softcapping")?.filter(|cap| *cap != 0.0) {
        hyper_parameters.push(("final_logit_softcapping", Value::from(cap as f32)));
    }
    if config.get("sliding_window_pattern").is_none_or(|pattern| pattern != 1) {
        hyper_parameters.push(("attention.sliding_window", config.required_count("sliding_window")?.into()));
    }
    Ok(Description { rules, hyper_parameters, ..described(&decoder) })
}

fn described(decoder: &Decoder) -> Description {
    Description { layers: decoder.layers, vocabulary_rows: decoder.vocabulary, ..Description::default() }
}

/// Norms of Gemma 2 and 3: before and after both halves of a block.
fn norms(decoder: &Decoder) -> [Rule; 4] {
    [
        decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
        decoder.norm("model.layers.{}.pre_feedforward_layernorm.weight", "blk.{}.ffn_norm.weight"),
        decoder.norm("model.layers.{}.post_feedforward_layernorm.weight", "blk.{}.post_ffw_norm.weight"),
    ]
}

fn rules(decoder: &Decoder, norms: impl IntoIterator<Item = Rule>, output: Rule) -> Vec<Rule> {
    let last = decoder.norm("model.norm.weight", "output_norm.weight");
    let mut rules =
        vec![Rule::new("model.embed_tokens.weight", "token_embd.weight", [decoder.vocabulary, decoder.hidden]), output];
    rules.extend(norms.into_iter().chain([last]).map(|norm| norm.map(Map::PlusOne)));
    rules.extend(decoder.attention());
    rules.extend(decoder.feed_forward());
    rules
}

/// Hyper-parameters of Gemma and Gemma 2, in their own order.
fn own(config: &Config, decoder: &Decoder) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    Ok(vec![
        ("context_length", config.required_count("max_position_embeddings")?.into()),
        ("embedding_length", decoder.hidden.into()),
        ("block_count", decoder.layers.into()),
        ("feed_forward_length", decoder.feed_forward.into()),
        ("attention.head_count", decoder.heads.into()),
        ("attention.head_count_kv", decoder.key_value_heads.into()),
        ("attention.layer_norm_rms_epsilon", (config.required_number("rms_norm_eps")? as f32).into()),
        ("attention.key_length", decoder.head_dim.into()),
        ("attention.value_length", decoder.head_dim.into()),
    ])
}
