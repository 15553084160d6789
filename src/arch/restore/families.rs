//! The families whose checkpoints can be restored, one row each.

use serde_json::{Value as Json, json};
use weightmill_formats::{Array, Value};

use super::gguf::Gguf;
use super::{RestoreError, Settings};

/// How the config.json of one family is restored.
pub(super) struct Family {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Which files of that architecture belong to the family.
    pub when: fn(&Gguf<'_>) -> bool,
    /// Its name in `architectures` of config.json.
    pub config_name: &'static str,
    /// `model_type` of config.json.
    pub model_type: &'static str,
    /// Setting and name of the activation.
    pub activation: (&'static str, &'static str),
    /// GGUF keys, less the prefix, and the settings that they come from, where that is not the usual.
    pub keys: &'static [(&'static str, &'static str)],
    /// GGUF keys, less the prefix, whose value is not that of the usual setting.
    pub without: &'static [&'static str],
    /// Settings that are true if there is a tensor of that name, else false.
    pub flags: &'static [(&'static str, &'static str)],
    /// The tensors have the other names that the architecture knows, not those of its rules.
    pub renames: bool,
    /// Sets what follows from several keys, or from none.
    pub own: fn(&Gguf<'_>, &mut Settings) -> Result<(), RestoreError>,
    /// Settings of which the file says nothing: named in a note.
    pub assumed: &'static [&'static str],
}

/// What a row does not say.
const USUAL: Family = Family {
    architecture: "",
    when: |_| true,
    config_name: "",
    model_type: "",
    activation: ("hidden_act", "silu"),
    keys: &[],
    without: &[],
    flags: &[],
    renames: false,
    own: |_, _| Ok(()),
    assumed: &[],
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

/// By this number of experts llama.cpp knows Llama 4 Maverick, whose queries and keys are not normed.
const MAVERICK_EXPERTS: u64 = 128;

/// Number of the gating function "sigmoid" in llama.cpp.
const SIGMOID: u64 = 2;

/// By these llama.cpp knows the models whose queries are scaled by another size than that of a head.
const GEMMA_2_27B_LAYERS: u64 = 46;
const GEMMA_3_27B_LAYERS: u64 = 62;

/// Base of the frequencies of layers with a sliding window where a config in the older style says nothing of it.
const OLMO_3_SLIDING_THETA: f32 = 500_000.0;

fn set(settings: &mut Settings, key: &str, value: Json) {
    settings.insert(key.to_owned(), value);
}

/// Qwen: windows are there to be switched on, which llama.cpp does not do.
fn without_windows(settings: &mut Settings) {
    set(settings, "use_sliding_window", json!(false));
}

/// Takes the rotary settings out, as transformers 5 has them together.
fn rope_parameters(settings: &mut Settings) -> Settings {
    let mut rope = match settings.remove("rope_scaling") {
        Some(Json::Object(scaling)) => scaling,
        _ => Settings::from_iter([("rope_type".to_owned(), json!("default"))]),
    };
    rope.extend(settings.remove("rope_theta").map(|theta| ("rope_theta".to_owned(), theta)));
    rope
}

/// Layers without those that predict further tokens, and of what kind each is; the heads of values.
fn hybrid(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    const RECURRENT: &str = "attention.recurrent_layers";
    const HEADS: &str = "ssm.time_step_rank";
    let predicting = gguf.whole("nextn_predict_layers")?.unwrap_or(0);
    let layers = gguf.layers()?.checked_sub(predicting).ok_or_else(|| gguf.wrong("nextn_predict_layers"))?;
    set(settings, "num_hidden_layers", json!(layers));
    let Some(Value::Array(Array::Bool(recurrent))) = gguf.get(RECURRENT) else { return Err(gguf.wrong(RECURRENT)) };
    let kinds = recurrent.iter().take(layers as usize);
    let kinds = kinds.map(|recurrent| if *recurrent { "linear_attention" } else { "full_attention" });
    set(settings, "layer_types", kinds.collect());
    let size = gguf.required("ssm.inner_size")?.checked_div(gguf.required(HEADS)?);
    set(settings, "linear_value_head_dim", json!(size.ok_or_else(|| gguf.wrong(HEADS))?));
    let full = recurrent.iter().position(|recurrent| !recurrent).unwrap_or(0);
    set(settings, "attention_bias", json!(gguf.has(&format!("blk.{full}.attn_q.bias"))));
    without_windows(settings);
    Ok(())
}

/// Share of `columns` that is rotated.
fn rotated(gguf: &Gguf<'_>, columns: u64) -> Result<f64, RestoreError> {
    const KEY: &str = "rope.dimension_count";
    gguf.share(gguf.required(KEY)?, columns, KEY)
}

/// Llama 4: what llama.cpp tells by the number of experts, or has for all models.
fn llama4(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    let experts = gguf.required("expert_count")?;
    set(settings, "use_qk_norm", json!(experts != MAVERICK_EXPERTS));
    set(settings, "attention_chunk_size", json!(8192));
    set(settings, "attn_temperature_tuning", json!(true));
    if gguf.whole("attention.sliding_window")? == Some(0) {
        let kinds: Vec<&str> = (0..gguf.layers()?).map(|_| "full_attention").collect();
        set(settings, "layer_types", json!(kinds));
    }
    Ok(())
}

/// gpt-oss: every other layer has a window; the experts' activation is cut off.
fn gpt_oss(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    let kind = |layer: u64| if layer.is_multiple_of(2) { "sliding_attention" } else { "full_attention" };
    set(settings, "layer_types", (0..gguf.layers()?).map(kind).collect());
    set(settings, "swiglu_limit", json!(7.0));
    if let Some(Json::Object(scaling)) = settings.get_mut("rope_scaling") {
        scaling.insert("truncate".to_owned(), json!(false));
    }
    if let Some(context) = gguf.whole("rope.scaling.original_context_length")? {
        set(settings, "initial_context_length", json!(context));
    }
    Ok(())
}

/// Latent attention, and what scales it.
fn deepseek(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    const KEY: &str = "attention.key_length_mla";
    let plain = gguf.required(KEY)?.checked_sub(gguf.required("rope.dimension_count")?);
    set(settings, "qk_nope_head_dim", json!(plain.ok_or_else(|| gguf.wrong(KEY))?));
    set(settings, "num_key_value_heads", json!(gguf.required("attention.head_count")?));
    set(settings, "q_lora_rank", gguf.json("attention.q_lora_rank")?.unwrap_or(Json::Null));
    set(settings, "norm_topk_prob", gguf.json("expert_weights_norm")?.unwrap_or(json!(false)));
    set(settings, "moe_layer_freq", json!(1));
    set(settings, "attention_bias", json!(false));
    const MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";
    if let (Some(Json::Object(scaling)), Some(multiplier)) = (settings.get_mut("rope_scaling"), gguf.get(MULTIPLIER)) {
        let Value::F32(tenth) = multiplier else { return Err(gguf.wrong(MULTIPLIER)) };
        let scale = json!(of_tenth(*tenth).ok_or_else(|| gguf.wrong(MULTIPLIER))?);
        scaling.insert("mscale_all_dim".to_owned(), scale.clone());
        scaling.insert("mscale".to_owned(), scale);
    }
    Ok(())
}

/// The number with the fewest digits whose tenth rounds to this f32.
fn of_tenth(tenth: f32) -> Option<f64> {
    let all = f64::from(tenth) * 10.0;
    let rounded = |digits: usize| format!("{all:.digits$e}").parse::<f64>().ok();
    (0..17).filter_map(rounded).find(|number| (0.1 * number) as f32 == tenth)
}

/// By the square root of what Gemma 2 and 3 divide queries: the size of a head, or for one model that which heads would
/// have if they shared the embedding.
fn query_scale(gguf: &Gguf<'_>, layers: u64) -> Result<Json, RestoreError> {
    const HEADS: &str = "attention.head_count";
    if gguf.layers()? != layers {
        return Ok(json!(gguf.required("attention.key_length")?));
    }
    let size = gguf.required("embedding_length")?.checked_div(gguf.required(HEADS)?);
    Ok(json!(size.ok_or_else(|| gguf.wrong(HEADS))?))
}

/// Phi-3: which part of a head is rotated, and the divisors for short and long contexts.
fn phi3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    let rotated = gguf.required("rope.dimension_count")?.saturating_mul(gguf.required("attention.head_count")?);
    let share = gguf.share(rotated, gguf.required("embedding_length")?, "embedding_length")?;
    set(settings, "partial_rotary_factor", json!(share));
    // zero stands for none
    let window = gguf.whole("attention.sliding_window")?.filter(|window| *window > 0);
    set(settings, "sliding_window", json!(window));
    let (long, short) = (gguf.divisors("rope_factors_long.weight")?, gguf.divisors("rope_factors_short.weight")?);
    if let (Some(long), Some(short)) = (long, short) {
        // transformers 4 wants it under this name and no other
        let scaling = json!({"type": "longrope", "long_factor": long, "short_factor": short});
        set(settings, "rope_scaling", scaling);
    }
    Ok(())
}

/// OLMo 3: which layers have a sliding window, whose frequencies are never scaled.
fn olmo3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    let Some(Value::Array(Array::Bool(sliding))) = gguf.get(PATTERN) else { return Err(gguf.wrong(PATTERN)) };
    let kinds = sliding.iter().map(|sliding| if *sliding { "sliding_attention" } else { "full_attention" });
    set(settings, "layer_types", kinds.collect());
    let Some(theta) = gguf.json("rope.freq_base_swa")? else { return Ok(()) };
    if theta == json!(OLMO_3_SLIDING_THETA) {
        return Ok(());
    }
    let full = rope_parameters(settings);
    let sliding = json!({"rope_type": "default", "rope_theta": theta});
    set(settings, "rope_parameters", json!({"full_attention": full, "sliding_attention": sliding}));
    Ok(())
}

/// GLM-4: which part of a head is rotated. The token that begins a text goes without saying.
fn glm(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    set(settings, "partial_rotary_factor", json!(rotated(gguf, gguf.required("attention.key_length")?)?));
    settings.remove("bos_token_id");
    Ok(())
}

/// Ministral 3: all of its rotary settings in one place.
fn ministral3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    let mut rope = rope_parameters(settings);
    for (key, setting) in [
        ("rope.scaling.yarn_log_multiplier", "mscale_all_dim"),
        ("rope.scaling.yarn_log_multiplier", "mscale"),
        ("attention.temperature_scale", "llama_4_scaling_beta"),
    ] {
        rope.extend(gguf.json(key)?.map(|value| (setting.to_owned(), value)));
    }
    set(settings, "rope_parameters", rope.into());
    Ok(())
}
