//! Mistral Small 3.1 and 3.2, Devstral and Ministral 3: Mistral, mostly as the text part of a model that sees images.

use super::config::{Config, ConfigError};
use super::rope::Rope;
use super::{Architecture, Description, llama};

/// `Mistral3ForConditionalGeneration`, and `Ministral3ForCausalLM` without the part for images.
pub const MISTRAL_3: Architecture = Architecture {
    config_names: &["Mistral3ForConditionalGeneration", "Ministral3ForCausalLM"],
    name: "mistral3",
    complete,
    describe,
    ..llama::LLAMA
};

/// What transformers takes for granted (`MistralConfig`, `Ministral3Config`).
fn complete(config: &mut Config) -> Result<(), ConfigError> {
    if config.get("model_type").is_some_and(|kind| kind == "mistral4") {
        return Err(config.error("model_type", "\"mistral4\", whose attention is another, is not supported yet"));
    }
    if !is_ministral(config) {
        return llama::complete(config, Some(8), 131_072);
    }
    config.set_default("rms_norm_eps", 1e-5);
    config.set_default("head_dim", 128);
    llama::complete(config, Some(8), 262_144)
}

fn describe(config: &Config) -> Result<Description, ConfigError> {
    let mut description = llama::describe(config)?;
    if is_ministral(config) {
        let rope = Rope::read(config)?;
        description.hyper_parameters.extend([
            ("rope.scaling.yarn_log_multiplier", (rope.required_number("mscale_all_dim")? as f32).into()),
            ("attention.temperature_scale", (rope.required_number("llama_4_scaling_beta")? as f32).into()),
        ]);
    }
    Ok(description)
}

/// Ministral 3 scales its context and the temperature of its attention.
fn is_ministral(config: &Config) -> bool {
    config.get("model_type").is_some_and(|kind| kind == "ministral3")
}
