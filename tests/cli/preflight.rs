//! What is found and shown before the first byte is written.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Tiny, folder, names, quantize, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// The document of a run in `folder`, and its exit status.
fn document(folder: &Path, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = quantize().current_dir(folder).args(arguments).arg("--json").output().unwrap();
    let document = serde_json::from_slice(&output.stdout);
    (document.unwrap_or_else(|error| panic!("{error}: {}", stderr(&output))), output.status.code())
}

#[test]
fn the_document_carries_everything() {
    let dir = folder();
    let (document, status) = document(dir.path(), &[FIXTURE, "--q4k", "--q8", "--dry-run"]);
    assert_eq!(status, Some(0));
    let found = &document["preflight"];
    assert_eq!(found["architecture"], "llama");
    assert_eq!((&found["layers"], &found["experts"]), (&json!(2), &Value::Null));
    assert_eq!(found["tokenizer"], json!({"model": "gpt2", "pre": "llama-bpe", "tokens": 285}));
    // rope_freqs is computed: it is in the outputs, not in the checkpoint.
    let tensors = json!({"checked_against": "config.json", "stored": 21, "used": 21, "left_out": 0});
    assert_eq!(found["tensors"], tensors);
    assert_eq!(found["license"]["id"], "mit");
    let bytes = |index: usize| document["outputs"][index]["bytes"].as_u64().unwrap();
    assert_eq!(found["disk"]["needed"], bytes(0) + bytes(1));
    assert!(found["disk"]["free"].as_u64().unwrap() > 0 && found["disk"]["enough"] == true);
    let seconds = found["forecast_seconds"].as_f64().unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    assert_eq!(document["seconds"], found["forecast_seconds"]);
    assert_eq!(found["problems"], json!([]));
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_gguf_without_a_vocabulary_says_so() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let (document, _) = document(dir.path(), &[input.to_str().unwrap(), "--q8", "--dry-run"]);
    let found = &document["preflight"];
    assert_eq!((&found["tokenizer"], &found["tensors"]["checked_against"]), (&Value::Null, &json!("metadata")));
}

#[test]
fn tensors_that_are_left_out_are_counted() {
    let dir = folder();
    let copy = dir.path().join("tiny-llama");
    fs::create_dir(&copy).unwrap();
    for name in names(Path::new(FIXTURE)) {
        fs::copy(Path::new(FIXTURE).join(&name), copy.join(name)).unwrap();
    }
    // Rotary frequencies are what runtimes compute themselves.
    let file = fs::read(copy.join("model.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    let data = &file[8 + length..];
    let offsets = [data.len(), data.len() + 4];
    header["model.layers.0.self_attn.rotary_emb.inv_freq"] =
        json!({"dtype": "F32", "shape": [1], "data_offsets": offsets});
    let header = serde_json::to_vec(&header).unwrap();
    let parts = [&(header.len() as u64).to_le_bytes(), &header[..], data, &[0; 4]];
    fs::write(copy.join("model.safetensors"), parts.concat()).unwrap();
    let (document, _) = document(dir.path(), &["tiny-llama", "--q8", "--dry-run"]);
    let tensors = json!({"checked_against": "config.json", "stored": 22, "used": 21, "left_out": 1});
    assert_eq!(document["preflight"]["tensors"], tensors);
}

#[test]
fn a_few_lines_tell_it_to_people() {
    let dir = folder();
    let lines =
        ["model      llama, 2 layers", "tokenizer  gpt2 (llama-bpe)", "licence    mit, by ", "disk  ", "time  "];
    let dry = quantize().current_dir(&dir).args([FIXTURE, "--q8", "--dry-run"]).output().unwrap();
    let table = String::from_utf8(dry.stdout).unwrap();
    let run = quantize().current_dir(&dir).args([FIXTURE, "--q8"]).output().unwrap();
    let messages = stderr(&run);
    for line in lines {
        assert!(table.contains(line) && messages.contains(line), "{line} is not in {table} or {messages}");
    }
    assert!(run.status.success() && run.stdout.is_empty());
    let quiet = quantize().current_dir(&dir).args([FIXTURE, "--q8", "--force", "-q"]).output().unwrap();
    assert!(quiet.status.success() && quiet.stderr.is_empty() && quiet.stdout.is_empty());
}

#[test]
fn a_dry_run_fails_where_the_run_would_and_says_why() {
    let dir = folder();
    Tiny::new().write(&dir.path().join("tiny.gguf"));
    fs::write(dir.path().join("mine.gguf"), "mine").unwrap();
    fs::write(dir.path().join("file"), "a file").unwrap();
    let mut cases =
        vec![("mine.gguf", "exists"), ("tiny.gguf", "both input and output"), ("file/x.gguf", "not a folder")];
    if cfg!(unix) {
        cases.push(("/dev/null", "not a regular file"));
    }
    for (output, part) in cases {
        let (document, status) = document(dir.path(), &["tiny.gguf", "--q8", "--dry-run", "-o", output]);
        let problems = document["preflight"]["problems"].as_array().unwrap();
        assert!(problems.len() == 1 && problems[0].as_str().unwrap().contains(part), "{output}: {problems:?}");
        assert_eq!(status, Some(1), "{output}");
        for extra in [&["--dry-run"] as &[&str], &[]] {
            let mut command = quantize();
            let run = command.current_dir(&dir).args(["tiny.gguf", "--q8", "-o", output]).args(extra).output().unwrap();
            assert_eq!(run.status.code(), Some(1));
            assert!(stderr(&run).contains(part), "{output}: {}", stderr(&run));
        }
    }
    let (document, status) = document(dir.path(), &["tiny.gguf", "--q8", "--dry-run", "-o", "mine.gguf", "--force"]);
    assert_eq!((&document["preflight"]["problems"], status), (&json!([]), Some(0)));
    assert_eq!(names(dir.path()), ["file", "mine.gguf", "tiny.gguf"]);
}

/// More than any disk has, in a file that takes no room. A dry run says so, and has the plan all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_too_small_is_known_before() {
    let dir = folder();
    crate::support::write_sparse(&dir.path().join("large.gguf"), 1 << 30);
    let (document, status) = document(dir.path(), &["large.gguf", "-t", "F32", "--dry-run"]);
    let disk = &document["preflight"]["disk"];
    assert_eq!((&disk["enough"], status), (&json!(false), Some(0)));
    assert!(disk["needed"].as_u64().unwrap() > disk["free"].as_u64().unwrap());
    let problems = document["preflight"]["problems"].as_array().unwrap();
    assert!(problems.len() == 1 && problems[0].as_str().unwrap().contains("are free there"), "{problems:?}");
    assert!(document["outputs"][0]["bytes"].as_u64() == disk["needed"].as_u64());
    let dry = quantize().current_dir(&dir).args(["large.gguf", "-t", "F32", "--dry-run"]).output().unwrap();
    let message = stderr(&dry);
    assert!(dry.status.success() && message.contains("warning: the outputs in "), "{message}");
    let run = quantize().current_dir(&dir).args(["large.gguf", "-t", "F32", "-o", "a/b/"]).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let message = stderr(&run);
    assert!(message.contains("NOT ENOUGH") && message.contains("are free there"), "{message}");
    assert_eq!(names(dir.path()), ["large.gguf"]);
}

/// A forecast is no promise, and other tests run at the same time; but minutes for seconds would be none at all.
#[cfg(unix)]
#[test]
fn the_forecast_is_near_the_run() {
    let dir = folder();
    // 40 million weights: about a second for one thread without vectors.
    crate::support::write_sparse(&dir.path().join("large.gguf"), 10_000);
    let run = |extra: &[&str]| -> f64 {
        let mut command = quantize();
        command.current_dir(&dir).env("QUANTIZE_SIMD", "scalar");
        command.args(["large.gguf", "-t", "Q2_K", "--threads", "1", "--json", "-q"]).args(extra);
        let output = command.output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        document["seconds"].as_f64().unwrap()
    };
    let (forecast, real) = (run(&["--dry-run"]), run(&[]));
    assert!(forecast > real / 30.0 && forecast < real * 30.0, "{forecast} s forecast, {real} s real");
}
