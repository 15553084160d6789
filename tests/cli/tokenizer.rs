//! `--pre`: the pre-tokenizer that a user names.

use std::fs;
use std::path::Path;

use crate::support::{Tiny, folder, names, quantize, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// A copy of the fixture whose pre-tokenizer is changed by `edit`.
fn checkpoint(into: &Path, edit: impl Fn(&str) -> String) {
    fs::create_dir(into).unwrap();
    for entry in fs::read_dir(FIXTURE).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), into.join(entry.file_name())).unwrap();
    }
    let path = into.join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    let edited = edit(&text);
    assert_ne!(edited, text);
    fs::write(path, edited).unwrap();
}

fn pre(file: &Path) -> String {
    weightmill_formats::open(file).unwrap().metadata().string("tokenizer.ggml.pre").unwrap().to_owned()
}

#[test]
fn an_unknown_structure_needs_a_name() {
    let dir = folder();
    checkpoint(&dir.path().join("model"), |text| text.replace(r"\\p{N}{1,3}", r"\\p{N}{1,7}"));
    let run = |arguments: &[&str]| {
        quantize().current_dir(&dir).args(["model", "-t", "BF16"]).args(arguments).output().unwrap()
    };
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["tokenizer.json", "llama-bpe", r"\p{N}{1,7}", "--pre NAME"] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    assert_eq!(names(dir.path()), ["model"], "nothing is written");

    let output = run(&["--pre", "dbrx", "-o", "model.gguf"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(pre(&dir.path().join("model.gguf")), "dbrx");
}

#[test]
fn a_name_replaces_a_known_structure_too() {
    let dir = folder();
    let out = dir.path().join("out.gguf");
    for (arguments, name) in [(&[] as &[&str], "llama-bpe"), (&["--pre", "smaug-bpe"], "smaug-bpe")] {
        quantize().args([FIXTURE, "-t", "BF16", "--force", "-o"]).arg(&out).args(arguments).assert().success();
        assert_eq!(pre(&out), name);
    }
}

#[test]
fn an_unknown_name_suggests_the_nearest() {
    let output = quantize().args([FIXTURE, "--q8", "--pre", "lama-bpe"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the nearest is `llama-bpe`"), "{}", stderr(&output));
}

#[test]
fn a_name_without_effect_is_an_error() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().current_dir(&dir).arg(&input).args(["--q8", "--pre", "llama-bpe"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--override-kv tokenizer.ggml.pre=str:llama-bpe"), "{}", stderr(&output));

    let arguments = [FIXTURE, "-t", "safetensors-bf16", "--pre", "llama-bpe", "-o", "folder"];
    let output = quantize().current_dir(&dir).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--pre has no effect"), "{}", stderr(&output));
    assert_eq!(names(dir.path()), ["tiny.gguf"]);
}
