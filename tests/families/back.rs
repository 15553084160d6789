//! From a checkpoint to GGUF, back to a checkpoint, and to GGUF again: for every golden file of a family that can be
//! restored, nothing may differ but what is listed here, and that is named by the program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value as Json, json};

use crate::checkpoint::Checkpoint;
use crate::described::{digest, entry};
use crate::{assert_no_case, convert};

/// Architectures that are refused.
const REFUSED: &[&str] = &["chatglm"];

/// Cases and the settings that come back with another value, or not at all, because GGUF has no key for them.
const LOST: &[(&str, &[&str])] = &[
    ("command_r", &["max_position_embeddings"]),
    ("command_r7b_new", &["layer_types"]),
    ("deepseek_v3", &["num_nextn_predict_layers"]),
    ("deepseek_v3_fp8", &["num_nextn_predict_layers"]),
    ("gemma2", &["query_pre_attn_scalar"]),
    ("gemma3_new", &["layer_types"]),
    ("smollm3", &["no_rope_layers"]),
    ("qwen2", &["sliding_window", "max_window_layers"]),
    ("qwen2_moe", &["sliding_window", "max_window_layers"]),
    ("qwen2_tied", &["sliding_window", "max_window_layers"]),
    ("qwen3", &["max_window_layers"]),
    ("qwen3_embedding", &["max_window_layers"]),
    ("qwen3_moe", &["max_window_layers"]),
    ("qwen3_moe_new", &["max_window_layers"]),
    // the reference writes another number than the config has
    ("qwen3_5_moe_text", &["full_attention_interval"]),
    ("qwen3_moe_stacked", &["max_window_layers"]),
    ("starcoder2", &["sliding_window"]),
];

/// Settings that training alone looks at, that say what the rest says or the weights do, or belong to what is left out.
const IDLE: &[&str] = &[
    "attention_dropout",
    "router_aux_loss_coef",
    "mlp_only_layers",
    "decoder_sparse_step",
    "norm_type",
    "mlp_type",
    "quantization_config",
    "torch_dtype",
    "image_token_index",
    "boi_token_index",
    "eoi_token_index",
    "mm_tokens_per_image",
];

/// Settings that the family has no use for.
const UNUSED: (&str, &str) = ("granite_new", "head_dim");

/// Cases that come back as models of another name: text parts of models with other parts, and what GGUF has no name for.
const OTHER_NAMES: &[(&str, &str, &str)] = &[
    ("llama", "LlamaForCausalLM", "llama"),
    ("mistral", "LlamaForCausalLM", "llama"),
    ("llama4", "Llama4ForCausalLM", "llama4_text"),
    ("qwen3_5", "Qwen3_5ForCausalLM", "qwen3_5_text"),
    ("qwen3_5_moe", "Qwen3_5MoeForCausalLM", "qwen3_5_moe_text"),
    ("gemma3_vision", "Gemma3ForCausalLM", "gemma3_text"),
    ("gemma3_vision_new", "Gemma3ForCausalLM", "gemma3_text"),
    ("ministral3", "Ministral3ForCausalLM", "ministral3"),
    (EMBEDDING, "Qwen3ForCausalLM", "qwen3"),
    ("mistral3", "MistralForCausalLM", "mistral"),
    ("mistral3_new", "MistralForCausalLM", "mistral"),
];

/// Architectures of GGUF whose checkpoints become another one, which llama.cpp runs alike.
const RENAMED: &[(&str, &str, &str)] = &[("mistral3", "mistral3", "llama"), ("mistral3_new", "mistral3", "llama")];

/// Cases with weights that GGUF does not hold exactly, and a part of their names: to scales of norms 1 is added in f16,
/// and of F32 numbers the exponential is taken.
const ROUNDED: &[(&str, &str)] = &[
    ("gemma2_f16", "norm"),
    ("qwen3_5", "A_log"),
    ("qwen3_5_moe", "A_log"),
    ("qwen3_5_moe_text", "A_log"),
    ("qwen3_5_text", "A_log"),
];

/// Embedding models come back as models that write text.
const EMBEDDING: &str = "qwen3_embedding";

/// Experts in stacks come back one by one.
const STACKED: &[&str] = &["qwen3_moe_stacked", "qwen3_5_moe", "qwen3_5_moe_text"];

/// The experts of this one are stored, and stay, in codes; they come back as what these mean.
const CODED: &str = "gpt_oss";

/// Its layers that predict further tokens have the less usual names: the order of tensors is another.
const OTHERWISE_NAMED: &str = "qwen3_5_moe_text";

fn run(input: &Path, kind: &str, output: &Path) -> Output {
    let arguments = [input.as_os_str(), "-t".as_ref(), kind.as_ref(), "-o".as_ref(), output.as_os_str()];
    Command::new(env!("CARGO_BIN_EXE_quantize")).args(arguments).output().unwrap()
}

#[test]
fn checkpoints_come_back() {
    assert_no_case(differences);
}

fn differences(name: &str, golden: &Json) -> Vec<String> {
    let checkpoint = Checkpoint::make(name, golden);
    let (done, there) = convert(&checkpoint, golden);
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    let kind = format!("safetensors-{}", golden["outtype"].as_str().unwrap());
    let back = checkpoint.path.parent().unwrap().join("back").join(name);
    let done = run(&there, &kind, &back);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let architecture = &golden["metadata"][0][2];
    if REFUSED.iter().any(|refused| architecture == refused) {
        assert!(!done.status.success() && !back.exists(), "{name}: came back");
        assert!(said.contains("those of llama, qwen2") && said.contains("original checkpoint"), "{said}");
        return Vec::new();
    }
    if !done.status.success() {
        return vec![said];
    }
    let mut differences = Vec::new();
    compare_configs(name, golden, &back, &said, &mut differences);
    compare_weights(name, golden, &checkpoint, &back, &mut differences);
    let again = checkpoint.path.join("again.gguf");
    let done = run(&back, golden["outtype"].as_str().unwrap(), &again);
    if !done.status.success() {
        differences.push(String::from_utf8_lossy(&done.stderr).into_owned());
        return differences;
    }
    compare_files(name, golden, &there, &again, &mut differences);
    differences
}

/// The settings of a text model as transformers before 5 write them: one level, rotary ones by their older names.
fn flat(config: &Json) -> Map<String, Json> {
    let mut settings = config.as_object().unwrap().clone();
    if let Some(Json::Object(text)) = settings.remove("text_config") {
        settings.extend(text);
    }
    settings.remove("vision_config");
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(Json::Object(rope)) = settings.remove(key) else { continue };
        for (name, value) in rope {
            let name = if name == "type" { "rope_type".to_owned() } else { name };
            match (name.as_str(), value) {
                ("rope_type", Json::String(kind)) if kind == "default" => {}
                ("rope_type", Json::String(kind)) if kind == "su" => drop(settings.insert(name, json!("longrope"))),
                (kind @ ("full_attention" | "sliding_attention"), Json::Object(nested)) => {
                    for (name, value) in nested {
                        let name = match (kind, name.as_str()) {
                            ("sliding_attention", "rope_theta") => "rope_local_base_freq".to_owned(),
                            _ => name,
                        };
                        if value != "default" {
                            settings.insert(name, value);
                        }
                    }
                }
                (_, value) => drop(settings.insert(name, value)),
            }
        }
    }
    for (newer, older) in [("dtype", "torch_dtype"), ("num_local_experts", "num_experts")] {
        if let Some(value) = settings.remove(newer) {
            settings.insert(older.to_owned(), value);
        }
    }
    settings.retain(|_, value| !value.is_null());
    settings
}

fn compare_configs(name: &str, golden: &Json, back: &Path, said: &str, differences: &mut Vec<String>) {
    let (original, outtype) = (&golden["config"], golden["outtype"].as_str().unwrap());
    let restored: Json = serde_json::from_slice(&std::fs::read(back.join("config.json")).unwrap()).unwrap();
    let (mut original, restored) = (flat(original), flat(&restored));
    if let Some((_, architecture, kind)) = OTHER_NAMES.iter().find(|(case, ..)| *case == name) {
        original.insert("architectures".to_owned(), json!([architecture]));
        original.insert("model_type".to_owned(), json!(kind));
    }
    let types = [("bf16", "bfloat16"), ("f16", "float16")];
    if !types.contains(&(outtype, restored["torch_dtype"].as_str().unwrap())) {
        differences.push(format!("config.json: torch_dtype is {}", restored["torch_dtype"]));
    }
    let lost = LOST.iter().find(|(case, _)| *case == name).map_or(&[][..], |(_, lost)| lost);
    for (key, value) in &original {
        let found = restored.get(key);
        let same = match (key.as_str(), value) {
            // of several only one is in the file
            ("eos_token_id", Json::Array(ids)) => found.is_none_or(|id| ids.contains(id)),
            // the tokenizer says another
            ("eos_token_id", _) => found.is_some(),
            _ => found.is_some_and(|found| alike(found, value)),
        };
        if lost.contains(&key.as_str()) {
            if same {
                differences.push(format!("{key} comes back, but is listed as lost"));
            } else if !said.contains(key.as_str()) {
                differences.push(format!("{key} does not come back, and that is not said: {said}"));
            }
        } else if !same && !IDLE.contains(&key.as_str()) && (name, key.as_str()) != UNUSED {
            differences.push(format!("config.json: {key} was {value}, is {found:?}"));
        }
    }
}

/// Equal, numbers as f32.
fn alike(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        _ => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a as f32 == b as f32,
            _ => a == b,
        },
    }
}

/// Tensors by name: shape, type and digest.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<u64>, String, String)> {
    let source = weightmill_formats::open(path).unwrap();
    let tensors = source.tensors().iter();
    tensors
        .map(|info| (info.name.clone(), (info.shape.clone(), info.dtype.name().to_owned(), digest(source.view(info)))))
        .collect()
}

fn weights_of(folder: &Path) -> PathBuf {
    let index = folder.join("model.safetensors.index.json");
    if index.exists() { index } else { folder.join("model.safetensors") }
}

fn compare_weights(name: &str, golden: &Json, checkpoint: &Checkpoint, back: &Path, differences: &mut Vec<String>) {
    let mut restored = tensors(&weights_of(back));
    let layers = golden["config"]["num_hidden_layers"].as_u64();
    // layers that predict further tokens, which llama.cpp has no use for
    let beyond = name.starts_with("deepseek").then(|| format!("model.layers.{}.", layers.unwrap()));
    for (stored, original) in tensors(&weights_of(&checkpoint.path)) {
        let text = stored.strip_prefix("language_model.").unwrap_or(&stored);
        // of two ways to name layers that predict further tokens the usual one comes back
        let text = text.replace("model.language_model.", "model.").replace("model.mtp.", "mtp.");
        let embedding = if name == EMBEDDING { format!("model.{text}") } else { text };
        let left_out = [
            "model.visual.",
            "vision_model.",
            "vision_tower.",
            "multi_modal_projector.",
            "model.vision_tower.",
            "model.multi_modal_projector.",
        ];
        let beyond = beyond.as_ref().is_some_and(|beyond| embedding.starts_with(beyond));
        let of_scheme = embedding.ends_with("weight_scale_inv");
        let is_copy = name.starts_with("gemma") && embedding == "lm_head.weight";
        if left_out.iter().any(|prefix| embedding.starts_with(prefix)) || beyond || of_scheme || is_copy {
            continue;
        }
        if let Some(of) = embedding.strip_suffix("_blocks").or(embedding.strip_suffix("_scales")) {
            restored.remove(of);
            continue;
        }
        if STACKED.contains(&name) && embedding.contains(".experts.") {
            restored.retain(|restored, _| !restored.contains(".experts."));
            continue;
        }
        let Some(found) = restored.remove(&embedding) else {
            differences.push(format!("{embedding} does not come back"));
            continue;
        };
        let rounded = ROUNDED.iter().any(|(case, part)| *case == name && embedding.contains(part));
        if found != original && !rounded && !original.1.starts_with("F8") {
            differences.push(format!("{embedding}: was {original:?}, is {found:?}"));
        }
    }
    differences.extend(restored.into_keys().map(|name| format!("{name} is new")));
}

fn compare_files(name: &str, golden: &Json, first: &Path, second: &Path, differences: &mut Vec<String>) {
    let renamed = RENAMED.iter().find(|(case, ..)| *case == name);
    let metadata = |path: &Path| {
        let file = weightmill_formats::open(path).unwrap();
        let rename = |key: &str| match renamed {
            Some((_, from, to)) => key.replace(from, to),
            None => key.to_owned(),
        };
        let entries = file.metadata().iter().map(|(key, value)| {
            let mut entry = entry(&rename(key), value);
            if key == "general.architecture" {
                entry[2] = json!(rename(entry[2].as_str().unwrap()));
            }
            entry.to_string()
        });
        let lost = [(EMBEDDING, "pooling_type"), (CODED, "general.file_type")];
        let is_lost = |entry: &String| lost.iter().any(|(case, key)| name == *case && entry.contains(key));
        entries.filter(|entry| !is_lost(entry)).collect::<Vec<String>>()
    };
    let (there, again) = (metadata(first), metadata(second));
    if there != again {
        let sets: [BTreeSet<&String>; 2] = [there.iter().collect(), again.iter().collect()];
        let lost: Vec<_> = sets[0].difference(&sets[1]).collect();
        let new: Vec<_> = sets[1].difference(&sets[0]).collect();
        differences.push(format!("metadata: lost {lost:?}, new {new:?}; or in another order"));
    }
    let (there, again) = (tensors(first), tensors(second));
    for (tensor, first) in &there {
        if again.get(tensor) != Some(first) && first.1 != "MXFP4" {
            differences.push(format!("{tensor}: was {first:?}, is {:?}", again.get(tensor)));
        }
    }
    differences
        .extend(again.keys().filter(|tensor| !there.contains_key(*tensor)).map(|tensor| format!("{tensor}: new")));
    let exact = renamed.is_none()
        && ![EMBEDDING, CODED, OTHERWISE_NAMED].contains(&name)
        && golden["shards"].as_array().unwrap().len() == 1;
    if differences.is_empty() && exact && std::fs::read(first).unwrap() != std::fs::read(second).unwrap() {
        differences.push("the files differ, by the order of tensors".to_owned());
    }
}
