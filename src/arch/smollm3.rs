//! SmolLM3: Llama without rotary embeddings in every fourth layer, which llama.cpp knows by itself.

use super::{Architecture, llama};

/// `SmolLM3ForCausalLM`.
pub const SMOLLM_3: Architecture = Architecture {
    config_names: &["SmolLM3ForCausalLM"],
    name: "smollm3",
    complete: |config| {
        config.set_default("rope_theta", 2_000_000);
        config.set_default("tie_word_embeddings", true);
        let head_dim = config.take("head_dim");
        llama::complete(config, Some(4), 32_768)?;
        // a default is not written
        config.set("head_dim", head_dim);
        Ok(())
    },
    ..llama::LLAMA
};
