//! StarCoder (GPTBigCode) and StarCoder 2.

use super::config::{Config, ConfigError};
use super::decoder::{Decoder, complete_key_value_heads};
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// `GPTBigCodeForCausalLM`.
pub const STARCODER: Architecture = Architecture {
    config_names: &["GPTBigCodeForCausalLM"],
    name: "starcoder",
    vocabulary: Vocabulary::ByteLevel,
    complete: |config| {
        config.set_default("n_positions", 1024);
        config.set_default("layer_norm_epsilon", 1e-5);
        config.set_default("multi_query", true);
        config.set_default("tie_word_embeddings", true);
        Ok(())
    },
    describe,
};

/// `Starcoder2ForCausalLM`.
pub const STARCODER2: Architecture = Architecture {
    config_names: &["Starcoder2ForCausalLM"],
    name: "starcoder2",
    vocabulary: Vocabulary::ByteLevel,
    complete: |config| {
        config.set_default("max_position_embeddings", 4096);
        config.set_default("norm_epsilon", 1e-5);
        config.set_default("use_bias", true);
        config.set_default("tie_word_embeddings", true);
        complete_key_value_heads(config, 2)
    },
    describe: describe_2,
};

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let layers = config.required_count("n_layer")?;
    let vocabulary = config.required_count("vocab_size")?;
    let hidden = config.dimension("n_embd")?;
    let positions = config.dimension("n_positions")?;
    let heads = config.required_count("n_head")?;
    if !config.flag("multi_query")? {
        return Err(
            config.error("multi_query", "false: llama.cpp runs only models whose query heads share one key head")
        );
    }
    if !hidden.is_multiple_of(heads.into()) {
        return Err(config.error("n_embd", format!("{hidden} is no multiple of n_head ({heads})")));
    }
    // llama.cpp's converter takes that for granted
    let inner = 4 * hidden;
    if config.count("n_inner")?.is_some_and(|size| u64::from(size) != inner) {
        return Err(config.error("n_inner", format!("not four times n_embd ({hidden}), as llama.cpp expects")));
    }
    let fused = hidden + 2 * (hidden / u64::from(heads));

    let tied = config.flag("tie_word_embeddings")?;
    let rows = u64::from(vocabulary);
    let rules = vec![
        Rule::new("transformer.wte.weight", "token_embd.weight", [rows, hidden]),
        Rule::new("transformer.wpe.weight", "position_embd.weight", [positions, hidden]),
        Rule::new("lm_head.weight", "output.weight", [rows, hidden]).optional_unless(!tied),
        Rule::new("transformer.ln_f.weight", "output_norm.weight", [hidden]),
        Rule::new("transformer.ln_f.bias", "output_norm.bias", [hidden]),
        Rule::new("transformer.h.{}.ln_1.weight", "blk.{}.attn_norm.weight", [hidden]),
        Rule::new("transformer.h.{}.ln_1.bias", "blk.{}.attn_norm.bias", [hidden]),
        Rule::new("transformer.h.{}.attn.c_attn.weight", "blk.{}.attn_qkv.weight", [fused, hidden]),
        Rule::new("transformer.h.{}.attn.c_attn.bias", "blk.{}.attn_qkv.bias", [fused]),
        Rule::new("transformer.h.{}.attn.c_proj.weight", "blk.{}.attn_output.weight", [hidden, hidden]),
        Rule::new("transformer.h.{}.attn.c_proj.bias", "blk.{}.attn_output.bias", [hidden]),
        Rule::new("transformer.h.{}.ln_2.weight", "blk.{}.ffn_norm.weight", [hidden]),
        Rule::new("transformer.h.{}.ln_2.bias", "blk.{}.ffn_norm.bias", [hidden]),
        Rule::new("transformer.h.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", [inner, hidden]),
        Rule::new("transformer.h.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias", [inner]),
        Rule::new("transformer.h.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", [hidden, inner]),
        Rule::new("transformer.h.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias", [hidden]),
    ];
    let epsilon = config.required_number("layer_norm_epsilon")? as f32;
    Ok(Description {
        layers,
        vocabulary_rows: vocabulary,
        rules,
        own: Some(vec![
            ("context_length", config.required_count("n_positions")?.into()),
            ("embedding_length", config.required_count("n_embd")?.into()),
            ("feed_forward_length", (4 * config.required_count("n_embd")?).into()),
            ("block_count", layers.into()),
            ("attention.head_count", heads.into()),
            ("attention.head_count_kv", 1_u32.into()),
            ("attention.layer_norm_epsilon", epsilon.into()),
        ]),
        ..Description::default()
    })
}

fn describe_2(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let Decoder { hidden, feed_forward, .. } = decoder;
    let biases = config.flag("use_bias")?;
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.extend([
        decoder.norm("model.norm.bias", "output_norm.bias"),
        decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        decoder.norm("model.layers.{}.input_layernorm.bias", "blk.{}.attn_norm.bias"),
        decoder.norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        decoder.norm("model.layers.{}.post_attention_layernorm.bias", "blk.{}.ffn_norm.bias"),
        Rule::new("model.layers.{}.mlp.c_fc.weight", "blk.{}.ffn_up.weight", [feed_forward, hidden]),
        Rule::new("model.layers.{}.mlp.c_fc.bias", "blk.{}.ffn_up.bias", [feed_forward]).optional_unless(biases),
        Rule::new("model.layers.{}.mlp.c_proj.weight", "blk.{}.ffn_down.weight", [hidden, feed_forward]),
        Rule::new("model.layers.{}.mlp.c_proj.bias", "blk.{}.ffn_down.bias", [hidden]).optional_unless(biases),
    ]);
    rules.extend(decoder.attention());
    rules.extend(decoder.attention_biases(biases));
    Ok(Description { layers: decoder.layers, vocabulary_rows: decoder.vocabulary, rules, ..Description::default() })
}
