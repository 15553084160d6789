//! `evaluate`, `calibrate` and `--calibrate`. Figures are checked against llama.cpp's in `tests/families/forward.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use weightmill_formats::imatrix;

use crate::support::{assert_refused, folder, quantize, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// A text of which the fixture's vocabulary makes a few hundred tokens.
fn text(folder: &Path) -> PathBuf {
    let path = folder.join("text.txt");
    fs::write(&path, "The mill grinds what the river brings; nothing is lost but weight.\n".repeat(12)).unwrap();
    path
}

fn evaluated(arguments: &[&std::ffi::OsStr]) -> Json {
    let output = quantize().arg("evaluate").args(arguments).args(["-c", "64", "--json", "-q"]).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn calibrate(text: &Path, output: &Path, arguments: &[&str]) -> std::process::Output {
    quantize()
        .args(["calibrate", FIXTURE, "-c", "32", "--text"])
        .arg(text)
        .arg("-o")
        .arg(output)
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn a_model_does_not_diverge_from_itself() {
    let folder = folder();
    let text = text(folder.path());
    let found =
        evaluated(&[FIXTURE.as_ref(), "--text".as_ref(), text.as_ref(), "--against".as_ref(), FIXTURE.as_ref()]);
    let divergence = &found["divergence"];
    assert_eq!(divergence["base_perplexity"], found["perplexity"]);
    assert!(divergence["mean_kl"].as_f64().unwrap().abs() < 1e-9, "{divergence}");
    assert_eq!(divergence["same_top_percent"], 100.0);
    let layers = found["layers"].as_array().unwrap();
    assert!(!layers.is_empty() && layers.iter().all(|layer| layer["relative_error"] == 0.0));
    let sequences = found["sequences"].as_u64().unwrap();
    assert_eq!(found["predicted"].as_u64().unwrap(), sequences * 31);
}

#[test]
fn gguf_and_checkpoint_are_the_same_model_and_fewer_bits_are_not() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out/");
    quantize().args([FIXTURE, "-t", "BF16,Q8_0,Q2_K", "-q", "-o"]).arg(&out).assert().success();
    let file = |kind: &str| out.join(format!("tiny-llama-{kind}.gguf"));
    let against = |model: &Path| {
        let divergence =
            evaluated(&[model.as_ref(), "--text".as_ref(), text.as_ref(), "--against".as_ref(), FIXTURE.as_ref()]);
        divergence["divergence"]["mean_kl"].as_f64().unwrap()
    };
    assert!(against(&file("BF16")).abs() < 1e-9);
    let (eight, two) = (against(&file("Q8_0")), against(&file("Q2_K")));
    assert!(eight > 0.0 && two > 10.0 * eight, "{eight} {two}");
}

#[test]
fn a_resumed_calibration_equals_one_without_interruption() {
    let folder = folder();
    let text = text(folder.path());
    let file = |name: &str| folder.path().join(name);
    let run = |name: &str, arguments: &[&str]| {
        let output = calibrate(&text, &file(name), arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(file(name)).unwrap()
    };
    let whole = run("whole.gguf", &["--chunks", "4", "--save-every", "1"]);
    let half = run("resumed.gguf", &["--chunks", "2", "--save-every", "1"]);
    assert_ne!(half, whole);
    assert_eq!(run("resumed.gguf", &["--chunks", "4", "--save-every", "1", "--resume"]), whole);
    let one = run("one.gguf", &["--chunks", "4", "--threads", "1"]);
    // activations in a file, and a matrix decoded in many parts
    assert_eq!(run("small.gguf", &["--chunks", "4", "--threads", "2", "--max-memory", "1MiB"]), one);

    let matrix = imatrix::open(&file("whole.gguf")).unwrap();
    assert_eq!((matrix.chunks, matrix.chunk_size), (4, Some(32)));
    assert_eq!(matrix.datasets, ["text.txt"]);
    assert!(matrix.entries.iter().all(|(name, entry)| name.starts_with("blk.") && entry.counts == [128]));
    let output = calibrate(&text, &file("whole.gguf"), &[]);
    assert_refused(&output, &["whole.gguf", "--force"]);
}

#[test]
fn calibrating_on_the_way_equals_two_steps() {
    let folder = folder();
    let text = folder.path().join("m.gguf");
    fs::write(&text, "The mill grinds what the river brings; nothing is lost but weight.\n".repeat(60)).unwrap();
    let measured = folder.path().join("matrix/m.gguf");
    fs::create_dir(measured.parent().unwrap()).unwrap();
    quantize().args(["calibrate", FIXTURE, "-q", "--text"]).arg(&text).arg("-o").arg(&measured).assert().success();
    let (one, two) = (folder.path().join("one.gguf"), folder.path().join("two.gguf"));
    quantize().args([FIXTURE, "-t", "IQ2_XS", "-q", "--calibrate"]).arg(&text).arg("-o").arg(&one).assert().success();
    quantize().args([FIXTURE, "-t", "IQ2_XS", "-q", "--imatrix"]).arg(&measured).arg("-o").arg(&two).assert().success();
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap(), "they differ");
}

#[test]
fn without_a_text_the_programs_own_are_taken() {
    let folder = folder();
    let file = folder.path().join("own.gguf");
    let arguments = ["calibrate", FIXTURE, "-c", "64", "--chunks", "10", "-q", "-o"];
    quantize().args(arguments).arg(&file).assert().success();
    let matrix = imatrix::open(&file).unwrap();
    assert_eq!(matrix.datasets.len(), 5);
    assert!(matrix.datasets.iter().all(|name| name.starts_with("default/")), "{:?}", matrix.datasets);
    assert!(matrix.entries.iter().all(|(_, entry)| entry.counts == [640]));
}

#[test]
fn every_name_of_a_pre_tokenizer_will_do() {
    let folder = folder();
    let text = text(folder.path());
    let perplexity = |name: &str| {
        let model = folder.path().join(format!("{name}.gguf"));
        let key = format!("tokenizer.ggml.pre=str:{name}");
        quantize().args([FIXTURE, "-t", "BF16", "-q", "--override-kv", &key, "-o"]).arg(&model).assert().success();
        let found = evaluated(&[model.as_ref(), "--text".as_ref(), text.as_ref()]);
        found["perplexity"]["value"].as_f64().unwrap()
    };
    assert_eq!(perplexity("llama-bpe"), perplexity("llama3"));
    assert_eq!(perplexity("gpt-2"), perplexity("exaone4"));
    assert!(perplexity("default").is_finite());
    let model = folder.path().join("unknown.gguf");
    let arguments = [FIXTURE, "-t", "BF16", "-q", "--override-kv", "tokenizer.ggml.pre=str:nonsense", "-o"];
    quantize().args(arguments).arg(&model).assert().success();
    let output = quantize().arg("evaluate").arg(&model).arg("--text").arg(&text).output().unwrap();
    assert_refused(&output, &["nonsense"]);
}

#[test]
fn what_cannot_be_run_is_refused() {
    let folder = folder();
    let short = folder.path().join("short.txt");
    fs::write(&short, "short").unwrap();
    let output = quantize().args(["evaluate", FIXTURE, "--text"]).arg(&short).output().unwrap();
    assert_refused(&output, &["short.txt", "less than one sequence of 512", "--context"]);
    let output = quantize().args(["evaluate", FIXTURE, "--text", "missing.txt"]).output().unwrap();
    assert_refused(&output, &["missing.txt"]);
    let text = text(folder.path());
    let output = calibrate(&text, &folder.path().join("out.gguf"), &["--max-memory", "1KiB"]);
    assert_refused(&output, &["--max-memory", "give at least"]);
    assert!(!folder.path().join("out.gguf").exists());
}
