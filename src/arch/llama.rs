//! Llama and what is built like it: Llama 2, 3, 3.1, 3.2, Code Llama, Mistral, SmolLM2.

use super::config::{Config, ConfigError};
use super::rope::Rope;
use super::rule::Rule;
use super::{Architecture, Description, hyper};
use crate::tokenizer::Vocabulary;

/// `LlamaForCausalLM`.
pub const LLAMA: Architecture = Architecture {
    config_names: &["LlamaForCausalLM", "LLaMAForCausalLM"],
    name: "llama",
    vocabulary: Vocabulary::Llama,
    complete: |config| complete(config, None, 2048),
    describe,
};

/// `MistralForCausalLM`, which llama.cpp runs as Llama.
pub const MISTRAL: Architecture = Architecture {
    config_names: &["MistralForCausalLM"],
    complete: |config| complete(config, Some(8), 131_072),
    ..LLAMA
};

/// What transformers takes for granted (`LlamaConfig`, `MistralConfig`).
fn complete(config: &mut Config, key_value_heads: Option<u32>, context: u32) -> Result<(), ConfigError> {
    config.set_default("max_position_embeddings", context);
    config.set_default("rms_norm_eps", 1e-6);
    let heads = config.required_count("num_attention_heads")?;
    // a null that is written out means one per query head for both
    let key_value_heads = key_value_heads.filter(|_| !config.mentions("num_key_value_heads")).unwrap_or(heads);
    config.set_default("num_key_value_heads", key_value_heads);
    if config.get("head_dim").is_none() {
        let hidden = config.required_count("hidden_size")?;
        if !hidden.is_multiple_of(heads) {
            let problem = format!("{hidden} is no multiple of num_attention_heads ({heads}), and head_dim is missing");
            return Err(config.error("hidden_size", problem));
        }
        config.set_default("head_dim", hidden / heads);
    }
    Ok(())
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let layers = hyper::layers(config)?;
    let hidden = config.required_count("hidden_size")?;
    let feed_forward = config.required_count("intermediate_size")?;
    let vocabulary = config.required_count("vocab_size")?;
    let heads = config.required_count("num_attention_heads")?;
    let key_value_heads = config.required_count("num_key_value_heads")?;
    let head_dim = config.required_count("head_dim")?;
    if !heads.is_multiple_of(key_value_heads) {
        let problem = format!("{key_value_heads} does not divide num_attention_heads ({heads})");
        return Err(config.error("num_key_value_heads", problem));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(config.error("head_dim", format!("{head_dim} is odd: rotary embeddings need pairs")));
    }
    let Some(queries) = heads.checked_mul(head_dim) else {
        return Err(config.error("head_dim", format!("{heads} heads of {head_dim} columns are too many")));
    };
    let keys = key_value_heads * head_dim;
    let attention_bias = config.flag("attention_bias")?;
    let mlp_bias = config.flag("mlp_bias")?;
    let tied = config.flag("tie_word_embeddings")?;

    let norm = |from, to| Rule::new(from, to, [hidden]);
    let bias = |from, to, rows, required| Rule::new(from, to, [rows]).optional_unless(required);
    let rules = vec![
        Rule::new("model.embed_tokens.weight", "token_embd.weight", [vocabulary, hidden]),
        Rule::new("lm_head.weight", "output.weight", [vocabulary, hidden]).optional_unless(!tied),
        norm("model.norm.weight", "output_norm.weight"),
        norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
        Rule::new("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", [queries, hidden])
            .interleave_halves(heads),
        Rule::new("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", [keys, hidden])
            .interleave_halves(key_value_heads),
        Rule::new("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", [keys, hidden]),
        Rule::new("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", [hidden, queries]),
        Rule::new("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", [feed_forward, hidden]),
        Rule::new("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", [feed_forward, hidden]),
        Rule::new("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, feed_forward]),
        bias("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", queries, attention_bias)
            .interleave_halves(heads),
        bias("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", keys, attention_bias)
            .interleave_halves(key_value_heads),
        bias("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", keys, attention_bias),
        bias("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", hidden, attention_bias),
        bias("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", feed_forward, mlp_bias),
        bias("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", feed_forward, mlp_bias),
        bias("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", hidden, mlp_bias),
    ];
    let frequency_factors = Rope::read(config)?.frequency_factors(head_dim)?;
    Ok(Description {
        layers,
        vocabulary_rows: vocabulary,
        renames: Vec::new(),
        rules,
        computed: frequency_factors.map(|factors| ("rope_freqs.weight", factors)).into_iter().collect(),
        hyper_parameters: vec![("vocab_size", vocabulary.into()), ("rope.dimension_count", head_dim.into())],
    })
}
