//! Cohere's Command R, R+ and R7B, Aya: one norm before both halves of a block, whose results are added.

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rule::Rule;
use super::{Architecture, Description};
use crate::tokenizer::Vocabulary;

/// `CohereForCausalLM`.
pub const COHERE: Architecture = Architecture {
    config_names: &["CohereForCausalLM"],
    name: "command-r",
    vocabulary: Vocabulary::ByteLevel,
    complete: |config| {
        config.set_default("rope_theta", 500_000);
        complete(config)?;
        // what they were trained for; the other setting is what they were served with
        config.alias("model_max_length", "max_position_embeddings");
        Ok(())
    },
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let mut description = describe(config, &decoder)?;
        if config.flag("use_qk_norm")? {
            let norm = |from, to, heads| Rule::new(from, to, [heads, decoder.head_dim]);
            description.rules.extend([
                norm("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", decoder.heads),
                norm("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", decoder.key_value_heads),
            ]);
        }
        description.hyper_parameters.push(("rope.scaling.type", "none".into()));
        Ok(description)
    },
};

/// `Cohere2ForCausalLM`.
pub const COHERE_2: Architecture = Architecture {
    config_names: &["Cohere2ForCausalLM"],
    name: "cohere2",
    complete: |config| {
        config.set_default("sliding_window", 4096);
        complete(config)?;
        config.take("head_dim");
        config.set("head_dim", Decoder::read(config)?.head_dim);
        Ok(())
    },
    describe: |config| {
        let decoder = Decoder::read(config)?;
        let mut description = describe(config, &decoder)?;
        description.hyper_parameters.extend([
            ("attention.sliding_window", config.required_count("sliding_window")?.into()),
            ("vocab_size", decoder.vocabulary.into()),
            ("rope.dimension_count", rotated(config, decoder.head_dim)?.into()),
            ("rope.scaling.type", "none".into()),
        ]);
        Ok(description)
    },
    ..COHERE
};

/// What transformers takes for granted (`CohereConfig`, `Cohere2Config`).
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.set_default("num_key_value_heads", config.required_count("num_attention_heads")?);
    config.set_default("max_position_embeddings", 8192);
    config.set_default("layer_norm_eps", 1e-5);
    config.set_default("logit_scale", 0.0625);
    config.set_default("tie_word_embeddings", true);
    Ok(())
}

fn describe(config: &Config, decoder: &Decoder) -> Result<Description, ConfigError> {
    let mut rules = decoder.ends(config.flag("tie_word_embeddings")?);
    rules.push(decoder.norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"));
    rules.extend(decoder.attention());
    rules.extend(decoder.feed_forward());
    Ok(Description {
        layers: decoder.layers,
        vocabulary_rows: decoder.vocabulary,
        rules,
        hyper_parameters: vec![("logit_scale", (config.required_number("logit_scale")? as f32).into())],
        ..Description::default()
    })
}

/// Columns of a head that are rotated.
fn rotated(config: &Config, head_dim: u32) -> Result<u32, ConfigError> {
    const KEY: &str = "rotary_pct";
    match config.number(KEY)?.unwrap_or(1.0) {
        share if (0.0..=1.0).contains(&share) => Ok((share * f64::from(head_dim)) as u32),
        share => Err(config.error(KEY, format!("{share}, where a number from 0 to 1 is expected"))),
    }
}
