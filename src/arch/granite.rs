//! IBM's Granite: Llama whose embeddings, residuals, attention and logits are scaled; with experts two matrices in one.

use weightmill_formats::Value;

use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::rule::{Part, Rule};
use super::{Architecture, Description, llama};
use crate::view::View;

/// `GraniteForCausalLM`.
pub const GRANITE: Architecture = Architecture {
    config_names: &["GraniteForCausalLM"],
    name: "granite",
    complete,
    describe: |config| {
        let mut description = llama::describe(config)?;
        description.hyper_parameters.extend(scales(config)?);
        Ok(description)
    },
    ..llama::LLAMA
};

/// `GraniteMoeForCausalLM`, also with an expert that all tokens go through.
pub const GRANITE_MOE: Architecture = Architecture {
    config_names: &["GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"],
    name: "granitemoe",
    complete: |config| {
        config.set_default("num_local_experts", 8);
        config.set_default("num_experts_per_tok", 2);
        complete(config)
    },
    describe: describe_moe,
    ..llama::LLAMA
};

/// What transformers takes for granted (`GraniteConfig`). Heads share the embedding, whatever `head_dim` says.
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    config.take("head_dim");
    llama::complete(config, None, 2048)?;
    config.take("head_dim");
    Ok(())
}

fn describe_moe(config: &Config) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let (hidden, inner) = (config.dimension("hidden_size")?, config.dimension("intermediate_size")?);
    let experts = u64::from(config.required_count("num_local_experts")?);
    let half = |first| View::slices(experts, 2 * inner, hidden, first, inner);
    let mut mixture = vec![
        Rule::split(
            "model.layers.{}.block_sparse_moe.input_linear.weight",
            &[experts, 2 * inner, hidden],
            vec![
                Part::new("blk.{}.ffn_gate_exps.weight", &[experts, inner, hidden], half(0)),
                Part::new("blk.{}.ffn_up_exps.weight", &[experts, inner, hidden], half(inner)),
            ],
        ),
        Rule::new(
            "model.layers.{}.block_sparse_moe.output_linear.weight",
            "blk.{}.ffn_down_exps.weight",
            [experts, hidden, inner],
        ),
        Rule::new(
            "model.layers.{}.block_sparse_moe.router.layer.weight",
            "blk.{}.ffn_gate_inp.weight",
            [experts, hidden],
        ),
    ];
    let shared = config.whole("shared_intermediate_size")?.unwrap_or(0);
    if shared > 0 {
        let inner = u64::from(shared);
        mixture.extend([
            Rule::split(
                "model.layers.{}.shared_mlp.input_linear.weight",
                &[2 * inner, hidden],
                vec![
                    Part::new("blk.{}.ffn_gate_shexp.weight", &[inner, hidden], View::slice(0, inner, hidden)),
                    Part::new("blk.{}.ffn_up_shexp.weight", &[inner, hidden], View::slice(inner, inner, hidden)),
                ],
            ),
            Rule::new(
                "model.layers.{}.shared_mlp.output_linear.weight",
                "blk.{}.ffn_down_shexp.weight",
                [hidden, inner],
            ),
        ]);
    }
    let mut description = llama::describe_with(config, &decoder, mixture)?;
    description.hyper_parameters.extend(scales(config)?);
    if shared > 0 {
        description.hyper_parameters.push(("expert_shared_feed_forward_length", shared.into()));
    }
    Ok(description)
}

/// The scales; 1 where the config has none, and none where it has 0.
fn scales(config: &Config) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    const SCALES: [(&str, &str); 4] = [
        ("attention_multiplier", "attention.scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ];
    let mut scales = Vec::new();
    for (setting, name) in SCALES {
        let scale = config.number(setting)?.unwrap_or(1.0);
        if scale != 0.0 {
            scales.push((name, Value::from(scale as f32)));
        }
    }
    Ok(scales)
}
