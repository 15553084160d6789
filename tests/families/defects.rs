//! Checkpoints that contradict themselves: one clear error each, and no output.

use serde_json::{Value as Json, json};

use crate::checkpoint::Checkpoint;
use crate::{convert, golden};

/// What the program says about the checkpoint of a golden file after a change.
fn error(case: &str, change: impl FnOnce(&mut Json)) -> String {
    let mut golden = golden(case);
    change(&mut golden);
    let checkpoint = Checkpoint::make(case, &golden);
    let (done, out) = convert(&checkpoint, &golden);
    assert!(!done.status.success(), "{case}: accepted");
    assert_eq!(done.status.code(), Some(1));
    let text = String::from_utf8(done.stderr).unwrap();
    assert_eq!(text.matches("error").count(), 1, "{text}");
    let left: Vec<_> = out.parent().unwrap().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("gguf")), "{left:?}");
    text
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

/// The shard that has the tensor `name`, and its place there.
fn find(golden: &Json, name: &str) -> (usize, usize) {
    let shards = golden["shards"].as_array().unwrap();
    let place = |shard: &Json| shard.as_array().unwrap().iter().position(|tensor| tensor[0] == name);
    shards
        .iter()
        .enumerate()
        .find_map(|(number, shard)| Some((number, place(shard)?)))
        .unwrap_or_else(|| panic!("{name}"))
}

fn remove(name: &str) -> impl FnOnce(&mut Json) {
    move |golden| {
        let (shard, place) = find(golden, name);
        golden["shards"][shard].as_array_mut().unwrap().remove(place);
    }
}

fn add(name: &str, shape: Json) -> impl FnOnce(&mut Json) {
    move |golden| golden["shards"][0].as_array_mut().unwrap().push(json!([name, shape, "BF16"]))
}

fn reshape(name: &str, shape: Json) -> impl FnOnce(&mut Json) {
    move |golden| {
        let (shard, place) = find(golden, name);
        golden["shards"][shard][place][1] = shape;
    }
}

fn set(key: &str, value: Json) -> impl FnOnce(&mut Json) {
    move |golden| golden["config"][key] = value
}

#[test]
fn a_missing_expert() {
    for (case, name) in [
        ("mixtral", "model.layers.1.block_sparse_moe.experts.2.w2.weight"),
        ("qwen3_moe", "model.layers.0.mlp.experts.0.gate_proj.weight"),
        ("deepseek_v3", "model.layers.1.mlp.experts.3.up_proj.weight"),
        ("qwen3_next", "mtp.layers.0.mlp.experts.1.down_proj.weight"),
    ] {
        let numbered = name.replace("mtp.layers.0", "model.layers.4");
        assert_says(&error(case, remove(name)), &["missing 1 tensor:", &numbered]);
    }
}

#[test]
fn an_expert_too_many() {
    for (case, name, shape) in [
        ("mixtral", "model.layers.1.block_sparse_moe.experts.3.w2.weight", json!([32, 48])),
        ("qwen2_moe", "model.layers.0.mlp.experts.3.gate_proj.weight", json!([16, 32])),
        ("deepseek_v2", "model.layers.1.mlp.experts.4.up_proj.weight", json!([16, 32])),
    ] {
        let experts = if case == "deepseek_v2" { "4" } else { "3" };
        assert_says(&error(case, add(name, shape)), &[name, &format!("an expert beyond the {experts}")]);
    }
}

#[test]
fn a_missing_tensor() {
    for (case, name) in [
        ("llama4", "language_model.model.layers.1.feed_forward.experts.gate_up_proj"),
        ("qwen2", "model.layers.1.self_attn.v_proj.bias"),
        ("qwen2_moe", "model.layers.0.mlp.shared_expert_gate.weight"),
        ("qwen3", "model.layers.0.self_attn.k_norm.weight"),
        ("qwen3_next", "model.layers.2.linear_attn.A_log"),
        ("deepseek_v3", "model.layers.1.mlp.gate.e_score_correction_bias"),
        ("deepseek_v2_lite", "model.layers.1.self_attn.q_proj.weight"),
        ("starcoder2", "model.norm.bias"),
        ("gpt_bigcode", "transformer.wpe.weight"),
        ("gpt_oss_bf16", "model.layers.0.self_attn.sinks"),
        ("qwen3_5_text", "model.layers.2.linear_attn.in_proj_z.weight"),
        ("qwen3_moe_stacked", "model.layers.1.mlp.experts.down_proj"),
        ("qwen3_moe_stacked", "model.layers.0.mlp.experts.gate_up_proj"),
    ] {
        let named = name.strip_prefix("language_model.").unwrap_or(name);
        assert_says(&error(case, remove(name)), &["missing 1 tensor:", named]);
    }
}

#[test]
fn another_shape() {
    for (case, name, shape) in [
        ("qwen3", "model.layers.1.self_attn.o_proj.weight", json!([32, 32])),
        ("gemma2", "model.norm.weight", json!([31])),
        ("mixtral", "model.layers.0.block_sparse_moe.gate.weight", json!([4, 32])),
        ("mixtral", "model.layers.1.block_sparse_moe.experts.0.w1.weight", json!([32, 48])),
        ("llama4", "language_model.model.layers.1.feed_forward.experts.gate_up_proj", json!([3, 48, 32])),
        ("deepseek_v2", "model.layers.0.self_attn.kv_b_proj.weight", json!([16, 80])),
        ("deepseek_v3", "model.layers.1.mlp.shared_experts.up_proj.weight", json!([16, 32])),
        ("qwen3_next", "model.layers.0.linear_attn.in_proj_qkvz.weight", json!([95, 32])),
        ("qwen3_next", "model.layers.3.self_attn.q_proj.weight", json!([64, 32])),
        ("gpt_oss_bf16", "model.layers.0.mlp.experts.gate_up_proj", json!([3, 128, 32])),
        ("gpt_bigcode", "transformer.h.0.attn.c_attn.weight", json!([96, 32])),
    ] {
        assert_says(&error(case, reshape(name, shape)), &[name, "has the shape", "by config.json it is"]);
    }
}

#[test]
fn tensors_that_the_family_does_not_have() {
    for (case, name) in [
        ("qwen3_moe", "model.layers.0.mlp.up_proj.weight"),
        ("qwen3", "model.layers.0.mlp.experts.0.up_proj.weight"),
        ("gemma2", "model.layers.2.mlp.up_proj.weight"),
        ("qwen3_next", "model.layers.0.self_attn.q_proj.weight"),
        ("qwen3_next", "model.layers.0.eh_proj.weight"),
        ("deepseek_v2", "model.layers.0.mlp.experts.0.up_proj.weight"),
        ("deepseek_v3", "model.layers.3.input_layernorm.weight"),
        ("llama4", "language_model.model.layers.0.feed_forward.router.weight"),
    ] {
        assert_says(&error(case, add(name, json!([32]))), &["no rule for 1 tensor:", name]);
    }
}

#[test]
fn settings_that_cannot_be() {
    for (case, key, value, says) in [
        ("qwen3", "hidden_size", json!("32"), "\"32\", where a positive"),
        ("qwen3", "rope_scaling", json!("yarn"), "\"yarn\", where an object is expected"),
        ("gemma2", "rms_norm_eps", json!([1e-6]), "where a number is expected"),
        ("mixtral", "num_local_experts", json!("8"), "\"8\", where a positive"),
        ("mixtral", "num_local_experts", json!(4_000_000_000_u32), "4000000000 experts, but there are only"),
        ("qwen3_moe", "moe_intermediate_size", json!(-24), "-24, where a positive"),
        ("qwen3_moe", "moe_intermediate_size", json!(4_000_000_000_u32), "4000000000, more than the 1048576"),
        ("qwen3_moe", "mlp_only_layers", json!([0]), "no counterpart in llama.cpp"),
        ("qwen2_moe", "decoder_sparse_step", json!(2), "no counterpart in llama.cpp"),
        ("qwen2_moe", "shared_expert_intermediate_size", json!([40]), "[40], where a positive"),
        ("qwen3_next", "layer_types", json!(["full_attention"]), "1 entries, but num_hidden_layers is 4"),
        ("qwen3_next", "layer_types", json!("full_attention"), "where a list is expected"),
        ("qwen3_next", "linear_num_value_heads", json!(3), "3 is no multiple of linear_num_key_heads (2)"),
        ("qwen3_next", "partial_rotary_factor", json!(2.5), "2.5, where a number from 0 to 1 is expected"),
        ("qwen3_next", "mtp_num_hidden_layers", json!(4_294_967_295_u32), "too many layers"),
        ("deepseek_v3", "scoring_func", json!("softplus"), "one of softmax, sigmoid, sqrtsoftplus is expected"),
        ("deepseek_v3", "kv_lora_rank", json!(0), "0, where a positive"),
        ("deepseek_v3", "kv_lora_rank", json!(1.5), "1.5, where a positive"),
        ("deepseek_v3", "v_head_dim", json!(4_000_000_000_u32), "4000000000, more than the 1048576"),
        ("deepseek_v3", "first_k_dense_replace", json!(-1), "-1, where a 32-bit integer that is not negative"),
        ("deepseek_v3", "norm_topk_prob", json!("yes"), "\"yes\", where true or false is expected"),
        ("gpt_bigcode", "multi_query", json!(false), "whose query heads share one key head"),
        ("gpt_bigcode", "n_inner", json!(64), "not four times n_embd"),
        ("gpt_bigcode", "n_head", json!(5), "32 is no multiple of n_head (5)"),
        ("gpt_oss_bf16", "sliding_window", json!("128"), "\"128\", where a positive"),
    ] {
        let message = error(case, set(key, value));
        assert_says(&message, &["config", says]);
        assert!(message.contains(key) || says.contains("experts"), "{message:?} does not name {key}");
    }
}

#[test]
fn pooling_that_cannot_be() {
    let file = |name: &'static str, content: Json| {
        error("qwen3_embedding", move |golden| golden["files"][name] = json!(content.to_string()))
    };
    let pooling = |path: &str| json!([{"type": "sentence_transformers.models.Pooling", "path": path}]);
    for path in ["2_Pooling", "../qwen3_embedding/1_Pooling", "/etc", "1_Pooling/..", ""] {
        assert_says(&file("modules.json", pooling(path)), &["modules.json", path, "no folder with a config.json"]);
    }
    assert_says(&file("modules.json", json!({"type": 3})), &["modules.json", "not as expected"]);
    let weighted = json!({"pooling_mode_weightedmean_tokens": true});
    assert_says(&file("1_Pooling/config.json", weighted), &["1_Pooling", "names no way of pooling"]);
}

#[test]
fn a_missing_shard() {
    for case in ["mixtral", "qwen3", "gemma2"] {
        let mut golden = golden(case);
        if let [shard] = golden["shards"].as_array_mut().unwrap().as_mut_slice() {
            let rest = shard.as_array_mut().unwrap().split_off(5);
            golden["shards"].as_array_mut().unwrap().push(json!(rest));
        }
        let checkpoint = Checkpoint::make(case, &golden);
        let gone = "model-00002-of-00002.safetensors";
        std::fs::remove_file(checkpoint.path.join(gone)).unwrap();
        let (done, out) = convert(&checkpoint, &golden);
        assert_eq!(done.status.code(), Some(1));
        assert_says(&String::from_utf8_lossy(&done.stderr), &[gone]);
        assert!(!out.exists());
    }
}
