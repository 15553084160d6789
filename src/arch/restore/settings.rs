//! Settings that follow from several keys of GGUF, or from none: what single families have of their own.

use serde_json::{Value as Json, json};
use weightmill_formats::{Array, Value};

use super::gguf::Gguf;
use super::{RestoreError, Settings};

/// By this number of experts llama.cpp knows Llama 4 Maverick, whose queries and keys are not normed.
const MAVERICK_EXPERTS: u64 = 128;

/// Number of the gating function "sigmoid" in llama.cpp.
pub(super) const SIGMOID: u64 = 2;

/// By these llama.cpp knows the models whose queries are scaled by another size than that of a head.
pub(super) const GEMMA_2_27B_LAYERS: u64 = 46;
pub(super) const GEMMA_3_27B_LAYERS: u64 = 62;

/// Base of the frequencies of layers with a sliding window where a config in the older style says nothing of it.
const OLMO_3_SLIDING_THETA: f32 = 500_000.0;

pub(super) fn set(settings: &mut Settings, key: &str, value: Json) {
    settings.insert(key.to_owned(), value);
}

/// Qwen: windows are there to be switched on, which llama.cpp does not do.
pub(super) fn without_windows(settings: &mut Settings) {
    set(settings, "use_sliding_window", json!(false));
}

/// Takes the rotary settings out, as transformers 5 has them together.
pub(super) fn rope_parameters(settings: &mut Settings) -> Settings {
    let mut rope = match settings.remove("rope_scaling") {
        Some(Json::Object(scaling)) => scaling,
        _ => Settings::from_iter([("rope_type".to_owned(), json!("default"))]),
    };
    rope.extend(settings.remove("rope_theta").map(|theta| ("rope_theta".to_owned(), theta)));
    rope
}

/// Layers without those that predict further tokens, and of what kind each is; the heads of values.
pub(super) fn hybrid(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn rotated(gguf: &Gguf<'_>, columns: u64) -> Result<f64, RestoreError> {
    const KEY: &str = "rope.dimension_count";
    gguf.share(gguf.required(KEY)?, columns, KEY)
}

/// Llama 4: what llama.cpp tells by the number of experts, or has for all models.
pub(super) fn llama4(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn gpt_oss(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn deepseek(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn query_scale(gguf: &Gguf<'_>, layers: u64) -> Result<Json, RestoreError> {
    const HEADS: &str = "attention.head_count";
    if gguf.layers()? != layers {
        return Ok(json!(gguf.required("attention.key_length")?));
    }
    let size = gguf.required("embedding_length")?.checked_div(gguf.required(HEADS)?);
    Ok(json!(size.ok_or_else(|| gguf.wrong(HEADS))?))
}

/// Phi-3: which part of a head is rotated, and the divisors for short and long contexts.
pub(super) fn phi3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn olmo3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
pub(super) fn glm(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
    set(settings, "partial_rotary_factor", json!(rotated(gguf, gguf.required("attention.key_length")?)?));
    settings.remove("bos_token_id");
    Ok(())
}

/// Ministral 3: all of its rotary settings in one place.
pub(super) fn ministral3(gguf: &Gguf<'_>, settings: &mut Settings) -> Result<(), RestoreError> {
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
