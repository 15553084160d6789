//! `--method gptq` on the command line. What it computes is tested in `tests/rounding.rs`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::support::{assert_refused, folder, names, quantize, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

fn text(folder: &Path) -> PathBuf {
    let path = folder.join("text.txt");
    fs::write(&path, "The mill grinds what the river brings; nothing is lost but weight.\n".repeat(60)).unwrap();
    path
}

fn command(text: &Path, output: &Path) -> assert_cmd::Command {
    let mut command = quantize();
    command.args([FIXTURE, "-t", "Q3_K_M", "--method", "gptq", "--calibrate"]).arg(text).arg("-o").arg(output);
    command
}

#[test]
fn the_plan_says_what_it_takes_and_the_report_what_it_did() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out.gguf");
    let document = |arguments: &[&str]| -> Json {
        let output = command(&text, &out).args(["--json", "-q", "--chunks", "2"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let planned = document(&["--dry-run"]);
    assert_eq!(names(folder.path()), ["text.txt"]);
    let needs = &planned["preflight"]["rounding"];
    // two layers of seven matrices; moments of 256 columns for the four inputs of a layer
    assert_eq!(needs["tensors"], 14);
    assert_eq!(needs["largest_moment"], 256 * 256 * 4);
    assert_eq!(needs["moments"], 4 * 256 * 256 * 4);
    assert_eq!(needs["passes"], 1);

    let done = document(&[]);
    assert_eq!(names(folder.path()), ["out.gguf", "text.txt"]);
    let of = |document: &Json| -> Vec<(Json, Json)> {
        let tensors = document["outputs"][0]["tensors"].as_array().unwrap();
        tensors.iter().map(|tensor| (tensor["name"].clone(), tensor["to"].clone())).collect()
    };
    assert_eq!(of(&done), of(&planned));
    assert_eq!(done["rounding"]["tokens"], 1024);
    assert_eq!(done["rounding"]["rounded"].as_array().unwrap().len(), 14);
    assert_eq!(done["rounding"]["plain"].as_array().unwrap().len(), 2);
}

#[test]
fn a_given_matrix_takes_the_place_of_a_measured_one() {
    let folder = folder();
    let text = text(folder.path());
    let file = |name: &str| folder.path().join(name);
    quantize()
        .args(["calibrate", FIXTURE, "-q", "--text"])
        .arg(&text)
        .arg("-o")
        .arg(file("text.txt.gguf"))
        .assert()
        .success();
    let both = |name: &str| {
        fs::create_dir(file(name)).unwrap();
        let mut command = quantize();
        command.args([FIXTURE, "-q", "-t", "Q3_K_M,Q4_0", "--method", "gptq", "--calibrate"]).arg(&text);
        command.arg("-o").arg(file(name));
        command
    };
    both("measured").assert().success();
    both("given").arg("--imatrix").arg(file("text.txt.gguf")).assert().success();
    let tensors = |name: &str| {
        let source = weightmill_formats::open(&file(name)).unwrap();
        let views = source.tensors().iter().map(|tensor| (tensor.name.clone(), source.view(tensor).to_vec()));
        views.collect::<Vec<_>>()
    };
    for file in names(&file("measured")) {
        let [measured, given] = ["measured", "given"].map(|folder| tensors(&format!("{folder}/{file}")));
        assert!(measured == given, "{file}");
    }
    assert_eq!(names(&file("measured")).len(), 2);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = folder();
    let text = text(folder.path());
    let out = folder.path().join("out.gguf");
    let output = command(&text, &out).args(["--max-memory", "64MiB"]).output().unwrap();
    assert_refused(&output, &["--max-memory", "second moment", "256 inputs", "give at least 134479872"]);
    let output =
        quantize().args([FIXTURE, "-t", "F16", "--method", "gptq", "--calibrate"]).arg(&text).output().unwrap();
    assert_refused(&output, &["--method gptq has nothing to do", "Q2_K"]);
    let output = quantize().args([FIXTURE, "-t", "Q4_K_M", "--method", "gptq"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let two = [FIXTURE, "-t", "Q3_K_M,Q4_0", "--method", "gptq", "--sequential", "--calibrate"];
    let output = quantize().args(two).arg(&text).arg("-o").arg(folder.path()).output().unwrap();
    assert_refused(&output, &["--sequential takes one type"]);
    let both = ["--imatrix", "m.gguf", "--calibrate", "text.txt"];
    let output = quantize().args([FIXTURE, "-t", "Q4_K_M"]).args(both).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--method"));

    // something that is not of this run
    let left = folder.path().join(".out.gguf.rounding");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("run.json"), "{}").unwrap();
    let output = command(&text, &out).output().unwrap();
    assert_refused(&output, &[".out.gguf.rounding", "--force"]);
    assert_eq!(names(folder.path()), [".out.gguf.rounding", "text.txt"]);
    command(&text, &out).args(["-q", "--force"]).assert().success();
    assert_eq!(names(folder.path()), ["out.gguf", "text.txt"]);
}
