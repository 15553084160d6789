//! `-t safetensors-*`: checkpoint folders as outputs.

use std::fs;
use std::path::Path;

use crate::support::{Tiny, folder, names, quantize, sha256, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

#[test]
fn a_checkpoint_of_the_same_type_is_the_same() {
    let dir = folder();
    quantize().current_dir(&dir).args([FIXTURE, "-t", "safetensors-bf16,Q8_0", "-o", "out/"]).assert().success();
    let out = dir.path().join("out/tiny-llama-safetensors-bf16");
    assert_eq!(names(&out), names(Path::new(FIXTURE)));
    for name in names(&out).iter().filter(|name| *name != "config.json") {
        assert_eq!(sha256(&out.join(name)), sha256(&Path::new(FIXTURE).join(name)), "{name}");
    }
    let config = |folder: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
    };
    assert_eq!(config(&out), config(Path::new(FIXTURE)));
    assert!(dir.path().join("out/tiny-llama-Q8_0.gguf").exists());
}

#[test]
fn shards_hold_what_one_file_holds() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).assert().success();
    run(&[FIXTURE, "-t", "safetensors-f32", "--shard-size", "1MB", "-o", "sharded/tiny-llama"]);
    let shards = names(&dir.path().join("sharded/tiny-llama"));
    assert!(shards.contains(&"model-00001-of-00004.safetensors".to_owned()), "{shards:?}");
    assert!(shards.contains(&"model.safetensors.index.json".to_owned()), "{shards:?}");
    run(&[FIXTURE, "-t", "safetensors-f32", "-o", "whole/tiny-llama"]);
    for name in ["sharded", "whole"] {
        run(&[&format!("{name}/tiny-llama"), "-t", "BF16", "-o", &format!("{name}.gguf")]);
    }
    let written = |name: &str| weightmill_formats::open(&dir.path().join(format!("{name}.gguf"))).unwrap();
    let (sharded, whole) = (written("sharded"), written("whole"));
    assert_eq!(sharded.tensors().len(), whole.tensors().len());
    for tensor in whole.tensors() {
        let other = sharded.tensors().iter().find(|other| other.name == tensor.name).expect("the same names");
        assert_eq!(whole.view(tensor), sharded.view(other), "{}", tensor.name);
    }
}

#[test]
fn other_weights_in_the_folder_are_never_mixed_in() {
    let dir = folder();
    fs::write(dir.path().join("model-00001-of-00002.safetensors"), "mine").unwrap();
    let refused =
        quantize().arg(FIXTURE).args(["-t", "safetensors-f16", "--force", "-o"]).arg(dir.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("model-00001-of-00002.safetensors"), "{}", stderr(&refused));
    assert_eq!(names(dir.path()), ["model-00001-of-00002.safetensors"]);
}

#[test]
fn options_of_gguf_files_are_not_ignored_silently() {
    let dir = folder();
    let output = quantize()
        .current_dir(&dir)
        .args([FIXTURE, "-t", "safetensors-bf16", "--pure", "--override-kv", "a.b=int:1", "--dry-run"])
        .output()
        .unwrap();
    assert!(output.status.success());
    for option in ["--pure", "--override-kv"] {
        assert!(stderr(&output).contains(&format!("{option} has no effect")), "{}", stderr(&output));
    }
}

#[test]
fn a_checkpoint_comes_back_from_gguf_as_it_was() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).assert().success();
    run(&[FIXTURE, "-t", "BF16", "-o", "there.gguf"]);
    run(&["there.gguf", "-t", "safetensors-bf16", "-o", "tiny-llama"]);
    let restored = dir.path().join("tiny-llama");
    let weights = |folder: &Path| weightmill_formats::open(&folder.join("model.safetensors")).unwrap();
    let (original, restored) = (weights(Path::new(FIXTURE)), weights(&restored));
    assert_eq!(original.tensors().len(), restored.tensors().len());
    for tensor in original.tensors() {
        let other = restored.tensors().iter().find(|other| other.name == tensor.name).expect("the same names");
        assert_eq!((&tensor.shape, tensor.dtype), (&other.shape, other.dtype), "{}", tensor.name);
        assert!(original.view(tensor) == restored.view(other), "{}", tensor.name);
    }
    // Configuration and tokenizer say the same: the GGUF file made of them is the same, to the byte.
    run(&["tiny-llama", "-t", "BF16", "-o", "again.gguf"]);
    assert_eq!(sha256(&dir.path().join("again.gguf")), sha256(&dir.path().join("there.gguf")));
}

#[test]
fn quantized_weights_are_decoded_and_said_to_be() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).output().unwrap();
    assert!(run(&[FIXTURE, "--q4k", "-o", "small.gguf"]).status.success());
    let output = run(&["small.gguf", "-t", "safetensors-f16", "-o", "restored"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("decoded from quantized blocks"), "{}", stderr(&output));
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.path().join("restored/config.json")).unwrap()).unwrap();
    assert_eq!(config["dtype"], "float16");
}

#[test]
fn gguf_files_that_cannot_be_restored_leave_nothing() {
    let dir = folder();
    let input = Tiny::new().declare("general.architecture", "mamba").write(&dir.path().join("tiny.gguf"));
    let output = quantize().current_dir(&dir).arg(&input).args(["-t", "safetensors-bf16"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("\"mamba\""), "{}", stderr(&output));
    // The metadata of this one names no hidden size.
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().current_dir(&dir).arg(&input).args(["-t", "safetensors-bf16"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(names(dir.path()), ["tiny.gguf"]);
}
