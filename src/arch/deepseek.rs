//! DeepSeek V2, V2-Lite, V3 and R1: latent attention, leading layers without experts, experts that all tokens share.

use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::complete_key_value_heads;
use super::experts::{Experts, shared_experts};
use super::rope::Rope;
use super::rule::{Part, Rule};
use super::{Architecture, Description, hyper};
use crate::tokenizer::Vocabulary;
use crate::view::{Axis, View};

/// `DeepseekV2ForCausalLM`.
pub const DEEPSEEK_V2: Architecture = Architecture {
    config_names: &["DeepseekV2ForCausalLM"],
    name: "deepseek2",
    vocabulary: Vocabulary::DeepSeek,
    complete: |config| {
        config.set_default("max_position_embeddings", 2048);
        config.set_default("n_routed_experts", 64);
        config.set_default("n_shared_experts", 2);
        config.set_default("moe_intermediate_size", 1407);
        config.set_absent("first_k_dense_replace", 0);
        config.set_default("routed_scaling_factor", 1.0);
        complete(config, 32)
    },
    describe,
};

/// `DeepseekV3ForCausalLM`.
pub const DEEPSEEK_V3: Architecture = Architecture {
    config_names: &["DeepseekV3ForCausalLM"],
    complete: |config| {
        config.set_default("max_position_embeddings", 4096);
        config.set_default("n_routed_experts", 256);
        config.set_default("n_shared_experts", 1);
        config.set_absent("num_experts_per_tok", 8);
        config.set_absent("n_group", 8);
        config.set_absent("topk_group", 4);
        config.set_absent("norm_topk_prob", true);
        config.set_default("moe_intermediate_size", 2048);
        config.set_absent("first_k_dense_replace", 3);
        config.set_default("routed_scaling_factor", 2.5);
        config.set_default("num_nextn_predict_layers", 1);
        complete(config, 128)
    },
    ..DEEPSEEK_V2
};

/// What transformers takes for granted (`DeepseekV2Config`, `DeepseekV3Config`).
fn complete(config: &mut Config, key_value_heads: u32) -> Result<(), ConfigError> {
    config.set_default("rms_norm_eps", 1e-6);
    config.set_default("kv_lora_rank", 512);
    // a null that is written out means that queries are projected directly
    config.set_absent("q_lora_rank", 1536);
    config.set_default("qk_nope_head_dim", 128);
    config.set_default("qk_rope_head_dim", 64);
    config.set_default("v_head_dim", 128);
    config.set("head_dim", config.required_count("qk_rope_head_dim")?);
    complete_key_value_heads(config, key_value_heads)
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let layers = hyper::layers(config)?;
    let vocabulary = config.required_count("vocab_size")?;
    let hidden = config.dimension("hidden_size")?;
    let tied = config.flag("tie_word_embeddings")?;

    let norm = |from, to| Rule::new(from, to, [hidden]);
    let mut rules = vec![
        Rule::new("model.embed_tokens.weight", "token_embd.weight", [vocabulary.into(), hidden]),
        match tied {
            true => Rule::ignore("lm_head.", "the output, which is the embedding table"),
            false => Rule::new("lm_head.weight", "output.weight", [vocabulary.into(), hidden]),
        },
        norm("model.norm.weight", "output_norm.weight"),
        norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.ffn_norm.weight"),
    ];
    rules.extend(attention(config, hidden)?);
    let dense_layers = config.whole("first_k_dense_replace")?.unwrap_or(0);
    let dense = dense(hidden, config.dimension("intermediate_size")?);
    rules.extend(dense.map(|rule| rule.on(move |layer| layer < dense_layers)));
    rules.extend(mixture(config, hidden)?.into_iter().map(|rule| rule.on(move |layer| layer >= dense_layers)));
    let predicting = config.whole("num_nextn_predict_layers")?.unwrap_or(0);
    rules.extend((0..predicting.min(MAX_PREDICTING)).map(|layer| {
        Rule::ignore(
            format!("model.layers.{}.", u64::from(layers) + u64::from(layer)),
            "layers that predict further tokens, which llama.cpp does not run for this architecture",
        )
    }));
    Ok(Description {
        layers,
        vocabulary_rows: vocabulary,
        rules,
        hyper_parameters: hyper_parameters(config, vocabulary, dense_layers)?,
        ..Description::default()
    })
}

/// Most layers that predict further tokens; published models have one.
const MAX_PREDICTING: u32 = 64;

/// Keys and values are expanded from a common latent vector. llama.cpp attends in the latent space: it needs the
/// expansion of keys apart from that of values, and transposed.
fn attention(config: &Config, hidden: u64) -> Result<Vec<Rule>, ConfigError> {
    let heads = config.dimension("num_attention_heads")?;
    let expanded_heads = config.dimension("num_key_value_heads")?;
    let rank = config.dimension("kv_lora_rank")?;
    let plain = config.dimension("qk_nope_head_dim")?;
    let rotary = config.dimension("qk_rope_head_dim")?;
    let value = config.dimension("v_head_dim")?;
    let head = Axis::new(expanded_heads, (plain + value) * rank);
    let keys = View { base: 0, rows: vec![head, Axis::new(rank, 1)], columns: Axis::new(plain, rank) };
    let values = View { base: plain * rank, rows: vec![head, Axis::new(value, rank)], columns: Axis::new(rank, 1) };
    let queries = heads * (plain + rotary);
    let mut rules = vec![
        Rule::new(
            "model.layers.{}.self_attn.kv_a_proj_with_mqa.weight",
            "blk.{}.attn_kv_a_mqa.weight",
            [rank + rotary, hidden],
        ),
        Rule::new("model.layers.{}.self_attn.kv_a_layernorm.weight", "blk.{}.attn_kv_a_norm.weight", [rank]),
        Rule::split(
            "model.layers.{}.self_attn.kv_b_proj.weight",
            &[expanded_heads * (plain + value), rank],
            vec![
                Part::new("blk.{}.attn_k_b.weight", &[expanded_heads, rank, plain], keys),
                Part::new("blk.{}.attn_v_b.weight", &[expanded_heads, value, rank], values),
            ],
        ),
        Rule::new("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", [hidden, heads * value]),
    ];
    if config.get("q_lora_rank").is_none() {
        rules.push(Rule::new("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", [queries, hidden]));
        return Ok(rules);
    }
    let rank = config.dimension("q_lora_rank")?;
    rules.extend([
        Rule::new("model.layers.{}.self_attn.q_a_proj.weight", "blk.{}.attn_q_a.weight", [rank, hidden]),
        Rule::new("model.layers.{}.self_attn.q_a_layernorm.weight", "blk.{}.attn_q_a_norm.weight", [rank]),
        Rule::new("model.layers.{}.self_attn.q_b_proj.weight", "blk.{}.attn_q_b.weight", [queries, rank]),
    ]);
    Ok(rules)
}

/// The feed-forward network of a layer without experts.
fn dense(hidden: u64, inner: u64) -> [Rule; 3] {
    [
        Rule::new("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", [inner, hidden]),
        Rule::new("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", [inner, hidden]),
        Rule::new("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, inner]),
    ]
}

/// That of a layer with experts.
fn mixture(config: &Config, hidden: u64) -> Result<Vec<Rule>, ConfigError> {
    let inner = config.dimension("moe_intermediate_size")?;
    let count = config.required_count("n_routed_experts")?;
    // the experts that all tokens share are stored as one
    let shared = u64::from(config.whole("n_shared_experts")?.unwrap_or(0)) * inner;
    let mut rules = Experts { count, hidden, inner }.rules().to_vec();
    if shared > 0 {
        rules.extend(shared_experts(hidden, shared));
    }
    let corrected = config.get("topk_method").is_some_and(|method| method == "noaux_tc");
    rules.push(
        Rule::new("model.layers.{}.mlp.gate.e_score_correction_bias", "blk.{}.exp_probs_b.bias", [count])
            .optional_unless(corrected),
    );
    Ok(rules)
}

/// Attention counts as if all query heads shared one key head, which is the latent vector.
fn hyper_parameters(
    config: &Config,
    vocabulary: u32,
    dense_layers: u32,
) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let count = |key| config.required_count(key);
    let (rank, plain, rotary) = (count("kv_lora_rank")?, count("qk_nope_head_dim")?, count("qk_rope_head_dim")?);
    let mut entries: Vec<(&'static str, Value)> = vec![
        ("attention.head_count_kv", 1_u32.into()),
        ("leading_dense_block_count", dense_layers.into()),
        ("vocab_size", vocabulary.into()),
    ];
    if let Some(rank) = config.count("q_lora_rank")? {
        entries.push(("attention.q_lora_rank", rank.into()));
    }
    entries.extend([
        ("attention.kv_lora_rank", rank.into()),
        ("attention.key_length", (rank + rotary).into()),
        ("attention.value_length", rank.into()),
        ("attention.key_length_mla", (plain + rotary).into()),
        ("attention.value_length_mla", count("v_head_dim")?.into()),
        ("expert_feed_forward_length", count("moe_intermediate_size")?.into()),
        ("expert_count", count("n_routed_experts")?.into()),
        ("expert_shared_count", config.whole("n_shared_experts")?.unwrap_or(0).into()),
    ]);
    if let Some(factor) = config.number("routed_scaling_factor")? {
        entries.push(("expert_weights_scale", (factor as f32).into()));
    }
    if config.flag("norm_topk_prob")? {
        entries.push(("expert_weights_norm", true.into()));
    }
    entries.push(("rope.dimension_count", rotary.into()));
    if let Some(scale) = Rope::read(config)?.number("mscale_all_dim")? {
        entries.push(("rope.scaling.yarn_log_multiplier", ((0.1 * scale) as f32).into()));
    }
    Ok(entries)
}
