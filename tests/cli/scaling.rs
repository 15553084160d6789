//! `--method awq`, and every coding of integers with `--method gptq`: the whole command on the small checkpoint. What is expected
//! is that the same without scales, measured importance included, loses more. That folding changes nothing else is tested in
//! `tests/families/folding.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::support::{assert_refused, folder, names, quantize, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// As in `tests/rounding.rs`.
fn text(folder: &Path) -> PathBuf {
    let words =
        ["mill", "river", "grain", "the", "of", "wheel", "brings", "what", "stone", "under", "turns", "miller's"];
    let text: Vec<&str> = (0..2500).map(|at: usize| words[at * at / 3 % 97 % words.len()]).collect();
    let path = folder.join("text.txt");
    fs::write(&path, text.join(" ")).unwrap();
    path
}

fn run(types: &str, text: &Path, output: &Path, arguments: &[&str]) -> Json {
    let mut command = quantize();
    command.args([FIXTURE, "-t", types, "--json", "-q", "--chunks", "4", "--calibrate"]).arg(text);
    let output = command.arg("-o").arg(output).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Methods that make no sense with each other or with the types are an error of usage.
fn assert_misused(types: &str, methods: &str, text: &Path, said: &str) {
    let arguments = [FIXTURE, "-t", types, "--method", methods, "--calibrate"];
    let output = quantize().args(arguments).arg(text).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(said), "{}", stderr(&output));
}

/// Mean KL divergence from the fixture on the text.
fn divergence(model: &Path, text: &Path) -> f64 {
    let mut command = quantize();
    command.arg("evaluate").arg(model).args([
        "--against",
        FIXTURE,
        "--context",
        "64",
        "--chunks",
        "16",
        "--json",
        "-q",
    ]);
    command.arg("--exact-activations");
    let output = command.arg("--text").arg(text).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let document: Json = serde_json::from_slice(&output.stdout).unwrap();
    document["divergence"]["mean_kl"].as_f64().unwrap()
}

#[test]
fn scaled_folders_lose_less_than_measured_importance_alone() {
    let folder = folder();
    let text = text(folder.path());
    for types in ["w4a16", "awq", "gptq", "mlx-3bit"] {
        let (plain, scaled) = (folder.path().join("plain"), folder.path().join("scaled"));
        run(types, &text, &plain, &["--force"]);
        let report = run(types, &text, &scaled, &["--force", "--method", "awq"]);
        let inputs = report["scaling"]["scaled"].as_array().unwrap();
        // two layers of four inputs each
        assert_eq!(inputs.len(), 8);
        for input in inputs {
            let error = |key: &str| input[key].as_f64().unwrap();
            assert!(0.0 < error("error_after") && error("error_after") <= error("error_before"), "{input}");
        }
        assert_eq!(report["rounding"]["rounded"].as_array().unwrap().len(), 14);
        let (found, expected) = (divergence(&scaled, &text), divergence(&plain, &text));
        assert!(found < 0.9 * expected, "{types}: {found}, plainly {expected}");
    }
    assert_eq!(names(folder.path()), ["plain", "scaled", "text.txt"]);
}

/// A coding that wrote other codes than were chosen would lose far more.
#[test]
fn levels_are_chosen_for_every_coding_of_integers() {
    const SYMMETRIC: &str = "w4a16,w8a8,w8a16,gptq,gptq-8bit,awq,mlx-2bit,mlx-3bit,mlx-4bit,mlx-5bit,mlx-6bit,mlx-8bit";
    let folder = folder();
    let text = text(folder.path());
    let (plain, chosen) = (folder.path().join("plain/"), folder.path().join("chosen/"));
    for (types, arguments) in [(SYMMETRIC, &[][..]), ("w4a16,w8a16", &["--asymmetric", "--force"])] {
        run(types, &text, &plain, arguments);
        let report = run(types, &text, &chosen, &[arguments, &["--method", "gptq"]].concat());
        assert_eq!(report["rounding"]["rounded"].as_array().unwrap().len(), 14 * types.split(',').count());
        for name in types.split(',') {
            let [found, expected] =
                [&chosen, &plain].map(|out| divergence(&out.join(format!("tiny-llama-{name}")), &text));
            // of 8 bits little is left to gain
            let most = if name.contains('8') { 1.5 * expected + 1e-7 } else { expected };
            assert!(found < most, "{name} {arguments:?}: {found}, plainly {expected}");
        }
    }
}

#[test]
fn levels_are_chosen_on_the_model_that_has_scales() {
    let folder = folder();
    let text = text(folder.path());
    let (scaled, both) = (folder.path().join("scaled/"), folder.path().join("both/"));
    // of GGUF files, too
    run("Q3_K_S,w4a16", &text, &scaled, &["--method", "awq"]);
    let report = run("Q3_K_S,w4a16", &text, &both, &["--method", "awq,gptq"]);
    assert_eq!(report["scaling"]["scaled"].as_array().unwrap().len(), 8);
    assert_eq!(report["rounding"]["rounded"].as_array().unwrap().len(), 28);
    for name in ["tiny-llama-Q3_K_S.gguf", "tiny-llama-w4a16"] {
        let (found, expected) = (divergence(&both.join(name), &text), divergence(&scaled.join(name), &text));
        assert!(found < 0.9 * expected, "{name}: {found}, with scales alone {expected}");
    }
    assert_eq!(names(&folder.path().join("both")), ["tiny-llama-Q3_K_S.gguf", "tiny-llama-w4a16"]);

    assert_misused("w8a8", "awq,smoothquant", &text, "choose one");
    assert_misused("w4a16", "smoothquant,gptq", &text, "--method smoothquant is for w8a8");
}

#[test]
fn unquantized_outputs_compute_the_same() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out/");
    run("F32,BF16,Q4_0,safetensors-bf16,w4a16", &text, &out, &["--method", "awq"]);
    // BF16 rounds what is folded, once
    for (name, limit) in
        [("tiny-llama-F32.gguf", 1e-9), ("tiny-llama-BF16.gguf", 1e-6), ("tiny-llama-safetensors-bf16", 1e-6)]
    {
        let found = divergence(&out.join(name), &text);
        assert!(found < limit, "{name}: {found}");
    }
    let read = |name: &str| fs::read(out.join(name)).unwrap();
    assert!(read("tiny-llama-F32.gguf") != fs::read(Path::new(FIXTURE).join("model.safetensors")).unwrap());
    assert!(divergence(&out.join("tiny-llama-Q4_0.gguf"), &text) < 1e-3);
}

#[test]
fn the_plan_says_what_it_takes_and_too_little_is_refused() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out");
    let planned = run("w4a16", &text, &out, &["--method", "awq", "--dry-run"]);
    let needs = &planned["preflight"]["scaling"];
    assert_eq!((&needs["inputs"], &needs["passes"]), (&Json::from(8), &Json::from(1)));
    // moments of 256 columns for the four inputs of a layer
    assert_eq!(needs["moments"], 4 * 256 * 256 * 4);
    assert_eq!(planned["preflight"]["rounding"]["tensors"], 14);
    assert_eq!(names(folder.path()), ["text.txt"]);

    let refused = |arguments: &[&str], said: &[&str]| {
        let mut command = quantize();
        command.args([FIXTURE, "--method", "awq", "--calibrate"]).arg(&text).args(arguments).arg("-o").arg(&out);
        assert_refused(&command.output().unwrap(), said);
    };
    // what it asks for is enough, for scales and for what comes after
    let least = needs["least_memory"].to_string();
    refused(&["-t", "w4a16", "--max-memory", "64MiB"], &["--max-memory", "second moment", "256 inputs", &least]);
    assert_eq!(planned["preflight"]["rounding"]["least_memory"], needs["least_memory"]);
    run("w4a16", &text, &out, &["--method", "awq", "--dry-run", "--max-memory", &least]);
    refused(&["-t", "F16"], &["--method awq has nothing to do", "Q2_K"]);
    assert_eq!(names(folder.path()), ["text.txt"]);
}

#[test]
fn inputs_of_8_bits_are_made_more_even() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out");
    let report = run("w8a8", &text, &out, &["--method", "smoothquant"]);
    let inputs = report["scaling"]["scaled"].as_array().unwrap();
    // behind the two norms of two layers
    assert_eq!(inputs.len(), 4);
    for input in inputs {
        assert!(input["from"].as_str().unwrap().ends_with("_norm.weight"), "{input}");
        let error = |key: &str| input[key].as_f64().unwrap();
        assert!(0.0 < error("error_after") && error("error_after") <= error("error_before"), "{input}");
    }
    // other matrices see what they saw
    assert_eq!(report["scaling"]["unscaled"].as_array().unwrap().len(), 4);
    assert!(divergence(&out, &text) < 1e-5);
    // levels, too, which are stored as signed bytes
    for methods in ["gptq", "smoothquant,gptq"] {
        let report = run("w8a8", &text, &out, &["--method", methods, "--force"]);
        assert_eq!(report["rounding"]["rounded"].as_array().unwrap().len(), 14);
        assert!(divergence(&out, &text) < 1e-5, "{methods}");
    }
    assert_misused("w8a8,w4a16", "smoothquant", &text, "--method smoothquant is for w8a8");
}

#[test]
fn a_run_goes_on_where_it_stopped() {
    let folder = folder();
    let text = text(folder.path());
    let (whole, resumed) = (folder.path().join("whole"), folder.path().join("resumed"));
    run("w4a16", &text, &whole, &["--method", "awq"]);
    // what another run has left is not taken
    let left = folder.path().join(".resumed.scales");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("run.json"), "{}").unwrap();
    let mut command = quantize();
    command.args([FIXTURE, "-t", "w4a16", "-q", "--chunks", "4", "--method", "awq", "--calibrate"]).arg(&text);
    command.arg("-o").arg(&resumed);
    assert_refused(&command.output().unwrap(), &[".resumed.scales", "--force"]);
    command.arg("--force").assert().success();
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&resumed), "they differ");
    assert_eq!(names(folder.path()), ["resumed", "text.txt", "whole"]);
}
