//! The families whose checkpoints can be restored, one row each.

use serde_json::json;
use weightmill_formats::{Array, Value};

use super::family::{Family, USUAL};
use super::settings::{
    GEMMA_2_27B_LAYERS, GEMMA_3_27B_LAYERS, SIGMOID, deepseek, glm, gpt_oss, hybrid, llama4, ministral3, olmo3, phi3,
    query_scale, rope_parameters, rotated, set, without_windows,
};

const QUERY_BIAS: &str = "blk.0.attn_q.bias";
const OUTPUT_BIAS: &str = "blk.0.attn_output.bias";
const UP_BIAS: &str = "blk.0.ffn_up.bias";
const QUERY_NORM: &str = "blk.0.attn_q_norm.weight";

/// All of them, those of one architecture next to each other. The first row that fits decides.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        architecture: "llama",
        when: |gguf| gguf.has("blk.0.ffn_gate_exps.weight"),
        config_name: "MixtralForCausalLM",
        model_type: "mixtral",
        ..USUAL
    },
    LLAMA,
    Family {
        architecture: "qwen2",
        config_name: "Qwen2ForCausalLM",
        model_type: "qwen2",
        own: |_, settings| {
            without_windows(settings);
            Ok(())
        },
        assumed: &["use_sliding_window", "sliding_window", "max_window_layers"],
        ..USUAL
    },
    Family {
        architecture: "qwen2moe",
        config_name: "Qwen2MoeForCausalLM",
        model_type: "qwen2_moe",
        keys: &[
            ("expert_count", "num_experts"),
            ("expert_feed_forward_length", "moe_intermediate_size"),
            ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
        ],
        own: |_, settings| {
            without_windows(settings);
            set(settings, "norm_topk_prob", json!(false));
            Ok(())
        },
        assumed: &["use_sliding_window", "sliding_window", "max_window_layers", "norm_topk_prob"],
        ..USUAL
    },
    Family {
        architecture: "qwen3",
        config_name: "Qwen3ForCausalLM",
        model_type: "qwen3",
        flags: &[("attention_bias", OUTPUT_BIAS)],
        own: |_, settings| {
            without_windows(settings);
            Ok(())
        },
        assumed: &["use_sliding_window", "sliding_window", "max_window_layers"],
        ..USUAL
    },
    Family {
        architecture: "qwen3moe",
        config_name: "Qwen3MoeForCausalLM",
        model_type: "qwen3_moe",
        keys: &[("expert_count", "num_experts"), ("expert_feed_forward_length", "moe_intermediate_size")],
        flags: &[("attention_bias", OUTPUT_BIAS)],
        own: |_, settings| {
            without_windows(settings);
            set(settings, "norm_topk_prob", json!(true));
            Ok(())
        },
        assumed: &["use_sliding_window", "sliding_window", "max_window_layers", "norm_topk_prob"],
        ..USUAL
    },
    Family {
        architecture: "qwen3next",
        config_name: "Qwen3NextForCausalLM",
        model_type: "qwen3_next",
        own: |gguf, settings| {
            hybrid(gguf, settings)?;
            set(settings, "norm_topk_prob", json!(true));
            set(settings, "partial_rotary_factor", json!(rotated(gguf, gguf.required("attention.key_length")?)?));
            Ok(())
        },
        assumed: &["use_sliding_window", "norm_topk_prob"],
        ..HYBRID
    },
    Family { architecture: "qwen35", config_name: "Qwen3_5ForCausalLM", model_type: "qwen3_5_text", ..QWEN_3_5 },
    Family {
        architecture: "qwen35moe",
        config_name: "Qwen3_5MoeForCausalLM",
        model_type: "qwen3_5_moe_text",
        ..QWEN_3_5
    },
    Family {
        architecture: "starcoder",
        config_name: "GPTBigCodeForCausalLM",
        model_type: "gpt_bigcode",
        activation: ("activation_function", "gelu_pytorch_tanh"),
        keys: &[
            ("context_length", "n_positions"),
            ("embedding_length", "n_embd"),
            ("feed_forward_length", "n_inner"),
            ("block_count", "n_layer"),
            ("attention.head_count", "n_head"),
            ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ],
        without: &["attention.head_count_kv"],
        own: |_, settings| {
            set(settings, "multi_query", json!(true));
            Ok(())
        },
        ..USUAL
    },
    Family {
        architecture: "starcoder2",
        config_name: "Starcoder2ForCausalLM",
        model_type: "starcoder2",
        activation: ("hidden_act", "gelu_pytorch_tanh"),
        keys: &[("attention.layer_norm_epsilon", "norm_epsilon")],
        flags: &[("use_bias", OUTPUT_BIAS)],
        assumed: &["sliding_window"],
        ..USUAL
    },
    Family {
        architecture: "llama4",
        config_name: "Llama4ForCausalLM",
        model_type: "llama4_text",
        keys: &[
            ("feed_forward_length", "intermediate_size_mlp"),
            ("expert_feed_forward_length", "intermediate_size"),
            ("interleave_moe_layer_step", "interleave_moe_layer_step"),
        ],
        flags: &[("attention_bias", OUTPUT_BIAS)],
        own: llama4,
        assumed: &["use_qk_norm", "attention_chunk_size", "attn_temperature_tuning", "no_rope_layers"],
        ..USUAL
    },
    Family {
        architecture: "gpt-oss",
        config_name: "GptOssForCausalLM",
        model_type: "gpt_oss",
        keys: &[("attention.sliding_window", "sliding_window")],
        flags: &[("attention_bias", OUTPUT_BIAS)],
        own: gpt_oss,
        assumed: &["swiglu_limit", "layer_types", "rope_scaling.truncate"],
        ..USUAL
    },
    Family {
        architecture: "deepseek2",
        when: |gguf| gguf.whole("expert_gating_func").is_ok_and(|function| function == Some(SIGMOID)),
        config_name: "DeepseekV3ForCausalLM",
        model_type: "deepseek_v3",
        own: |gguf, settings| {
            deepseek(gguf, settings)?;
            set(settings, "topk_method", json!("noaux_tc"));
            // llama.cpp has no use for those layers, so they are not in the file
            set(settings, "num_nextn_predict_layers", json!(0));
            Ok(())
        },
        assumed: &["num_nextn_predict_layers", "rope_scaling.mscale"],
        ..DEEPSEEK_2
    },
    DEEPSEEK_2,
    Family {
        architecture: "gemma",
        config_name: "GemmaForCausalLM",
        model_type: "gemma",
        own: |_, settings| {
            set(settings, "rope_theta", json!(10_000.0));
            Ok(())
        },
        ..GEMMA
    },
    Family {
        architecture: "gemma2",
        config_name: "Gemma2ForCausalLM",
        model_type: "gemma2",
        keys: &[
            ("attention.sliding_window", "sliding_window"),
            ("attn_logit_softcapping", "attn_logit_softcapping"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ],
        own: |gguf, settings| {
            set(settings, "rope_theta", json!(10_000.0));
            set(settings, "query_pre_attn_scalar", query_scale(gguf, GEMMA_2_27B_LAYERS)?);
            Ok(())
        },
        assumed: &["query_pre_attn_scalar", "rope_theta"],
        ..GEMMA
    },
    Family {
        architecture: "gemma3",
        config_name: "Gemma3ForCausalLM",
        model_type: "gemma3_text",
        keys: &[
            ("attention.sliding_window", "sliding_window"),
            ("rope.freq_base_swa", "rope_local_base_freq"),
            ("final_logit_softcapping", "final_logit_softcapping"),
        ],
        own: |gguf, settings| {
            let windows = gguf.get("attention.sliding_window").is_some();
            set(settings, "sliding_window_pattern", json!(if windows { 6 } else { 1 }));
            set(settings, "query_pre_attn_scalar", query_scale(gguf, GEMMA_3_27B_LAYERS)?);
            Ok(())
        },
        assumed: &["query_pre_attn_scalar", "sliding_window_pattern", "layer_types"],
        ..GEMMA
    },
    Family {
        architecture: "phi3",
        config_name: "Phi3ForCausalLM",
        model_type: "phi3",
        keys: &[("rope.scaling.original_context_length", "original_max_position_embeddings")],
        own: phi3,
        ..USUAL
    },
    Family {
        architecture: "olmo2",
        when: |gguf| gguf.get("attention.sliding_window").is_some(),
        config_name: "Olmo3ForCausalLM",
        model_type: "olmo3",
        keys: &[("attention.sliding_window", "sliding_window")],
        flags: &[("attention_bias", OUTPUT_BIAS)],
        own: olmo3,
        ..USUAL
    },
    Family {
        architecture: "olmo2",
        config_name: "Olmo2ForCausalLM",
        model_type: "olmo2",
        flags: &[("attention_bias", OUTPUT_BIAS)],
        ..USUAL
    },
    Family {
        architecture: "glm4",
        config_name: "Glm4ForCausalLM",
        model_type: "glm4",
        flags: &[("attention_bias", QUERY_BIAS)],
        own: glm,
        ..USUAL
    },
    Family {
        architecture: "glm4moe",
        config_name: "Glm4MoeForCausalLM",
        model_type: "glm4_moe",
        keys: &[
            ("expert_count", "n_routed_experts"),
            ("expert_feed_forward_length", "moe_intermediate_size"),
            ("expert_shared_count", "n_shared_experts"),
            ("leading_dense_block_count", "first_k_dense_replace"),
            ("expert_weights_scale", "routed_scaling_factor"),
            ("expert_weights_norm", "norm_topk_prob"),
            ("nextn_predict_layers", "num_nextn_predict_layers"),
        ],
        without: &["block_count", "expert_gating_func"],
        flags: &[("attention_bias", QUERY_BIAS), ("use_qk_norm", QUERY_NORM)],
        own: |gguf, settings| {
            let (layers, predicting) = (gguf.layers()?, gguf.whole("nextn_predict_layers")?.unwrap_or(0));
            let layers = layers.checked_sub(predicting).ok_or_else(|| gguf.wrong("nextn_predict_layers"))?;
            set(settings, "num_hidden_layers", json!(layers));
            glm(gguf, settings)
        },
        ..USUAL
    },
    Family { architecture: "granite", config_name: "GraniteForCausalLM", model_type: "granite", ..GRANITE },
    Family {
        architecture: "granitemoe",
        when: |gguf| gguf.get("expert_shared_feed_forward_length").is_some(),
        config_name: "GraniteMoeSharedForCausalLM",
        model_type: "granitemoeshared",
        keys: &[
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
            ("expert_shared_feed_forward_length", "shared_intermediate_size"),
        ],
        ..GRANITE
    },
    Family { architecture: "granitemoe", config_name: "GraniteMoeForCausalLM", model_type: "granitemoe", ..GRANITE },
    Family {
        architecture: "command-r",
        config_name: "CohereForCausalLM",
        model_type: "cohere",
        keys: &[("logit_scale", "logit_scale")],
        flags: &[("use_qk_norm", QUERY_NORM), ("attention_bias", QUERY_BIAS)],
        own: |gguf, settings| {
            // of both settings that one becomes the context length
            set(settings, "model_max_length", json!(gguf.required("context_length")?));
            Ok(())
        },
        assumed: &["max_position_embeddings"],
        ..USUAL
    },
    Family {
        architecture: "cohere2",
        config_name: "Cohere2ForCausalLM",
        model_type: "cohere2",
        keys: &[("logit_scale", "logit_scale"), ("attention.sliding_window", "sliding_window")],
        flags: &[("attention_bias", QUERY_BIAS)],
        own: |gguf, settings| {
            set(settings, "rotary_pct", json!(rotated(gguf, gguf.required("attention.key_length")?)?));
            set(settings, "sliding_window_pattern", json!(4));
            Ok(())
        },
        assumed: &["sliding_window_pattern", "layer_types"],
        ..USUAL
    },
    Family {
        architecture: "smollm3",
        config_name: "SmolLM3ForCausalLM",
        model_type: "smollm3",
        own: |_, settings| {
            set(settings, "no_rope_layer_interval", json!(4));
            set(settings, "use_sliding_window", json!(false));
            Ok(())
        },
        assumed: &["no_rope_layer_interval", "no_rope_layers", "use_sliding_window"],
        ..LLAMA
    },
    Family {
        architecture: "mistral3",
        when: |gguf| gguf.get("attention.temperature_scale").is_some(),
        config_name: "Ministral3ForCausalLM",
        model_type: "ministral3",
        own: ministral3,
        assumed: &["rope_parameters.mscale"],
        ..USUAL
    },
    Family { architecture: "mistral3", config_name: "MistralForCausalLM", model_type: "mistral", ..USUAL },
];

const LLAMA: Family = Family {
    architecture: "llama",
    config_name: "LlamaForCausalLM",
    model_type: "llama",
    flags: &[("attention_bias", OUTPUT_BIAS), ("mlp_bias", UP_BIAS)],
    ..USUAL
};

/// Linear attention in most layers; a layer that predicts further tokens has names of its own.
const HYBRID: Family = Family {
    keys: &[
        ("expert_count", "num_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
        ("nextn_predict_layers", "mtp_num_hidden_layers"),
        ("ssm.conv_kernel", "linear_conv_kernel_dim"),
        ("ssm.state_size", "linear_key_head_dim"),
        ("ssm.group_count", "linear_num_key_heads"),
        ("ssm.time_step_rank", "linear_num_value_heads"),
        ("full_attention_interval", "full_attention_interval"),
    ],
    without: &["block_count"],
    renames: true,
    ..USUAL
};

const QWEN_3_5: Family = Family {
    own: |gguf, settings| {
        hybrid(gguf, settings)?;
        set(settings, "attn_output_gate", json!(true));
        let mut rope = rope_parameters(settings);
        let share = rotated(gguf, gguf.required("attention.key_length")?)?;
        rope.insert("partial_rotary_factor".to_owned(), json!(share));
        const SECTIONS: &str = "rope.dimension_sections";
        // those that go without saying stand behind all others
        if gguf.place(SECTIONS) < gguf.place("rope.freq_base") {
            let Some(Value::Array(Array::I32(sections))) = gguf.get(SECTIONS) else {
                return Err(gguf.wrong(SECTIONS));
            };
            rope.insert("mrope_section".to_owned(), json!(sections.iter().take(3).collect::<Vec<_>>()));
            rope.insert("mrope_interleaved".to_owned(), json!(true));
        }
        set(settings, "rope_parameters", rope.into());
        Ok(())
    },
    assumed: &["attn_output_gate", "full_attention_interval", "use_sliding_window"],
    ..HYBRID
};

/// DeepSeek V2 and V2-Lite.
const DEEPSEEK_2: Family = Family {
    architecture: "deepseek2",
    config_name: "DeepseekV2ForCausalLM",
    model_type: "deepseek_v2",
    keys: &[
        ("leading_dense_block_count", "first_k_dense_replace"),
        ("attention.kv_lora_rank", "kv_lora_rank"),
        ("attention.value_length_mla", "v_head_dim"),
        ("rope.dimension_count", "qk_rope_head_dim"),
        ("expert_count", "n_routed_experts"),
        ("expert_shared_count", "n_shared_experts"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
        ("expert_weights_scale", "routed_scaling_factor"),
    ],
    without: &["attention.head_count_kv", "attention.key_length", "attention.value_length"],
    own: |gguf, settings| {
        deepseek(gguf, settings)?;
        let grouped = gguf.whole("expert_group_count")?.is_some_and(|groups| groups > 1);
        set(settings, "topk_method", json!(if grouped { "group_limited_greedy" } else { "greedy" }));
        Ok(())
    },
    assumed: &["rope_scaling.mscale"],
    ..USUAL
};

const GEMMA: Family =
    Family { activation: ("hidden_activation", "gelu_pytorch_tanh"), assumed: &["rope_theta"], ..USUAL };

const GRANITE: Family = Family {
    keys: &[
        ("attention.scale", "attention_multiplier"),
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
    ],
    own: |_, settings| {
        // a scale of 0 is not written
        for scale in ["attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"] {
            settings.entry(scale).or_insert_with(|| json!(0.0));
        }
        Ok(())
    },
    ..LLAMA
};
