//! Tiny checkpoints of every family become what llama.cpp's converter makes of them.
//!
//! `golden/families/NAME.json` holds a checkpoint's config, the names of its tensors and what the converter wrote;
//! `golden/families.py` made them. The weights are computed on both sides.

mod arch_map;
mod back;
mod back_defects;
mod checkpoint;
mod defects;
#[path = "../support/described.rs"]
mod described;
mod experts;
mod folding;
mod forward;
mod rounding;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use checkpoint::Checkpoint;
use described::{compare, digest, entry};
use serde_json::{Value as Json, json};
use weightmill::arch::ARCHITECTURES;

/// Letters of a text from which on their number and digest stand for it.
const LONG_TEXT: usize = 201;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/families");

/// Name and golden file of every case.
fn cases() -> Vec<(String, Json)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(GOLDEN).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), golden(&name(path)))).collect()
}

/// A golden file, with what it has in common with the one that it names as `like`.
fn golden(name: &str) -> Json {
    let text = fs::read(Path::new(GOLDEN).join(name).with_extension("json")).unwrap();
    let mut golden: Json = serde_json::from_slice(&text).unwrap();
    if let Some(Json::String(like)) = golden.as_object_mut().unwrap().remove("like") {
        let Json::Object(common) = self::golden(&like) else { panic!("{like} is no object") };
        for (part, value) in common {
            golden.as_object_mut().unwrap().entry(part).or_insert(value);
        }
    }
    golden
}

/// Runs the program on the checkpoint of a golden file; what it said, and where the output is if there is one.
fn convert(checkpoint: &Checkpoint, golden: &Json) -> (Output, PathBuf) {
    convert_with(checkpoint, golden, &[])
}

/// The same with further arguments.
fn convert_with(checkpoint: &Checkpoint, golden: &Json, arguments: &[&str]) -> (Output, PathBuf) {
    let out = checkpoint.path.join("out.gguf");
    let outtype = golden["outtype"].as_str().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_quantize"))
        .args([checkpoint.path.as_os_str(), "-t".as_ref(), outtype.as_ref(), "-o".as_ref(), out.as_os_str()])
        .args(arguments)
        .output();
    (done.unwrap(), out)
}

#[test]
fn every_architecture_has_a_golden_file_and_is_in_the_readme() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, table) = readme.split_once("### Verified families").unwrap();
    let (table, _) = table.split_once("\n- F: ").unwrap();
    let golden: Vec<Json> =
        cases().into_iter().map(|(_, golden)| golden["config"]["architectures"][0].clone()).collect();
    for architecture in ARCHITECTURES {
        let names = architecture.config_names;
        assert!(names.iter().any(|name| golden.contains(&json!(name))), "{names:?}: no golden file");
        let missing = names.iter().find(|name| !table.contains(&format!("`{name}`")));
        assert_eq!(missing, None, "not in the README's table of families");
    }
}

#[test]
fn families_equal_the_reference() {
    assert_no_case(differences);
}

/// No golden file leads to what this finds.
fn assert_no_case(find: impl Fn(&str, &Json) -> Vec<String>) {
    let cases = cases();
    assert!(!cases.is_empty());
    let failures: Vec<String> = cases
        .iter()
        .flat_map(|(name, golden)| find(name, golden).into_iter().map(move |found| format!("{name}: {found}")))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The settings as another version of transformers writes them: `rope_theta`, `rope_scaling` and `torch_dtype`, or
/// `rope_parameters` and `dtype`. The converter makes the same file of both.
fn in_other_style(config: &mut Json) {
    let top = config.as_object_mut().unwrap();
    let dtype = [("torch_dtype", "dtype"), ("dtype", "torch_dtype")];
    if let Some((value, name)) = dtype.iter().find_map(|(from, to)| Some((top.remove(*from)?, to))) {
        top.insert((*name).to_owned(), value);
    }
    let text = match top.contains_key("text_config") {
        true => top["text_config"].as_object_mut().unwrap(),
        false => top,
    };
    if let Some(Json::Object(mut rope)) = text.remove("rope_parameters") {
        text.extend(rope.remove("rope_theta").map(|theta| ("rope_theta".to_owned(), theta)));
        text.insert("rope_scaling".to_owned(), Json::Object(rope));
        return;
    }
    let mut rope = text.remove("rope_scaling").and_then(|rope| rope.as_object().cloned()).unwrap_or_default();
    let kind = rope.remove("type").unwrap_or_else(|| json!("default"));
    rope.entry("rope_type").or_insert(kind);
    rope.extend(text.remove("rope_theta").map(|theta| ("rope_theta".to_owned(), theta)));
    text.insert("rope_parameters".to_owned(), Json::Object(rope));
}

#[test]
fn configs_of_both_styles_make_the_same_file() {
    let failures: Vec<String> = cases()
        .into_iter()
        // these have settings for two kinds of layers in the one style and for one kind in the other
        .filter(|(name, _)| !name.starts_with("gemma3") && !name.starts_with("olmo3"))
        .flat_map(|(name, mut golden)| {
            in_other_style(&mut golden["config"]);
            let found = differences(&name, &golden);
            found.into_iter().map(move |difference| format!("{name}: {difference}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Fine-tuned models have lost the layers that predict further tokens, and their configs have not. What is expected is what
/// the converter writes with `--no-mtp`.
#[test]
fn predicting_layers_that_are_not_there_are_left_out() {
    let mut golden = golden("qwen3_5_text");
    let items = |items: &mut Json, keep: fn(&str) -> bool| {
        items.as_array_mut().unwrap().retain(|item| keep(item[0].as_str().unwrap()));
    };
    items(&mut golden["shards"][0], |name| !name.starts_with("mtp."));
    items(&mut golden["tensors"], |name| !name.starts_with("blk.4."));
    items(&mut golden["metadata"], |key| key != "qwen35.nextn_predict_layers");
    for entry in golden["metadata"].as_array_mut().unwrap() {
        match entry[0].as_str().unwrap() {
            "general.size_label" => entry[2] = json!("62K"),
            "qwen35.block_count" => entry[2] = json!(4),
            "qwen35.attention.recurrent_layers" => entry[2] = json!([true, true, true, false]),
            _ => {}
        }
    }
    assert_eq!(differences("qwen3_5_text", &golden), [""; 0]);
}

/// Converts the checkpoint of a golden file and compares.
fn differences(name: &str, golden: &Json) -> Vec<String> {
    differences_with(name, golden, &[])
}

/// The same with further arguments.
fn differences_with(name: &str, golden: &Json, arguments: &[&str]) -> Vec<String> {
    let checkpoint = Checkpoint::make(name, golden);
    let (done, out) = convert_with(&checkpoint, golden, arguments);
    if !done.status.success() {
        return vec![String::from_utf8_lossy(&done.stderr).into_owned()];
    }
    let file = weightmill_formats::open(&out).unwrap();
    let metadata: Vec<Json> = file.metadata().iter().map(|(key, value)| shortened(entry(key, value))).collect();
    let tensors: Vec<Json> = file
        .tensors()
        .iter()
        .map(|tensor| json!([tensor.name, tensor.shape, tensor.dtype.name(), digest(file.view(tensor))]))
        .collect();
    let mut differences = Vec::new();
    compare(&golden["metadata"], &metadata, &mut differences);
    compare(&golden["tensors"], &tensors, &mut differences);
    differences
}

/// An entry with a digest in place of a long text.
fn shortened(mut entry: Json) -> Json {
    if let Some(text) = entry[2].as_str().filter(|text| text.chars().count() >= LONG_TEXT) {
        entry[2] = json!([text.chars().count(), digest(text)]);
    }
    entry
}
