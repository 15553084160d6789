//! The bytes: those that llama.cpp writes, whatever the threads, the memory, the CPU level and the company.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weightmill_kernels::Level;

use crate::support::{Tiny, folder, names, quantize, sha256};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Digests made by llama.cpp: see tests/golden/tiny_llama.py.
fn golden(part: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-llama.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let part = all[part].as_object().expect("a part of the golden file");
    assert!(!part.is_empty());
    part.iter().map(|(name, digest)| (name.clone(), digest["sha256"].as_str().unwrap().to_owned())).collect()
}

/// Writes all types in one run and compares every file; lists all differences.
fn compare(golden: &BTreeMap<String, String>, arguments: &[&str]) {
    let out = folder();
    let types: Vec<&str> = golden.keys().map(String::as_str).collect();
    let mut command = quantize();
    command.arg(fixture("tiny-llama")).args(["-q", "-t", &types.join(","), "-o"]).arg(out.path()).args(arguments);
    command.assert().success().stdout("").stderr("");
    let differing: Vec<&String> = golden
        .iter()
        .filter(|(name, digest)| sha256(&out.path().join(format!("tiny-llama-{name}.gguf"))) != **digest)
        .map(|(name, _)| name)
        .collect();
    assert!(differing.is_empty(), "not llama.cpp's bytes: {differing:?}");
    assert_eq!(names(out.path()).len(), golden.len());
}

#[test]
fn every_type_in_one_run_equals_llama_cpp() {
    compare(&golden("plain"), &[]);
}

#[test]
fn every_type_in_one_run_with_an_importance_matrix_equals_llama_cpp() {
    let golden = golden("imatrix");
    let matrix = fixture("tiny-imatrix/imatrix.gguf");
    compare(&golden, &["--imatrix", matrix.to_str().unwrap()]);
}

#[test]
fn one_run_for_several_types_equals_one_run_each() {
    let (together, alone) = (folder(), folder());
    let input = Tiny::new().write(&together.path().join("tiny.gguf"));
    let types = ["Q4_K_M", "Q4_K_S", "Q8_0", "Q6_K", "F16", "F32", "BF16", "COPY"];
    quantize().arg(&input).args(["-t", &types.join(","), "-o"]).arg(together.path()).assert().success();
    for name in types {
        let file = alone.path().join(format!("{name}.gguf"));
        quantize().arg(&input).args(["-t", name, "-o"]).arg(&file).assert().success();
        assert_eq!(sha256(&together.path().join(format!("tiny-{name}.gguf"))), sha256(&file), "{name}");
    }
}

#[test]
fn threads_memory_and_level_change_nothing() {
    let dir = folder();
    let input = fixture("tiny-llama");
    let digest = |name: &str, level: &str, arguments: &[&str]| {
        let file = dir.path().join(name);
        let mut command = quantize();
        command.arg(&input).args(["-q", "-t", "Q4_K_M", "-o"]).arg(&file).args(arguments);
        command.env("QUANTIZE_SIMD", level).assert().success();
        sha256(&file)
    };
    let expected = golden("plain")["Q4_K_M"].clone();
    let best = Level::detect().name();
    for threads in ["1", "2", "3"] {
        // 8 bytes per weight and thread: 8 KiB is one row of 256 weights for each of up to four threads.
        for memory in ["1GiB", "100KB", "8KiB"] {
            let name = format!("{threads}-{memory}.gguf");
            assert_eq!(digest(&name, best, &["--threads", threads, "--max-memory", memory]), expected, "{name}");
        }
    }
    for level in Level::all() {
        assert_eq!(digest(&format!("{}.gguf", level.name()), level.name(), &[]), expected, "{}", level.name());
    }
}

#[test]
fn the_input_is_only_read() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let before = (sha256(&input), input.metadata().unwrap().modified().unwrap());
    quantize().arg(&input).args(["--q4k", "--q8", "-o"]).arg(dir.path()).assert().success();
    assert_eq!((sha256(&input), input.metadata().unwrap().modified().unwrap()), before);
}

#[test]
fn kept_parts_have_the_tensors_of_one_file() {
    let dir = folder();
    let split = Tiny::new().write_split(dir.path(), "tiny-BF16");
    let whole = Tiny::new().write(&dir.path().join("whole-BF16.gguf"));
    quantize().arg(&split).args(["--q4k", "--keep-split", "-o"]).arg(dir.path()).assert().success();
    quantize().arg(&split).args(["--q4k", "-o"]).arg(dir.path().join("joined.gguf")).assert().success();
    quantize().arg(&whole).args(["--q4k", "-o"]).arg(dir.path().join("whole.gguf")).assert().success();
    let parts = dir.path().join("tiny-Q4_K_M-00001-of-00002.gguf");
    assert!(dir.path().join("tiny-Q4_K_M-00002-of-00002.gguf").exists());
    assert_eq!(tensors(&parts), tensors(&dir.path().join("whole.gguf")));
    assert_eq!(tensors(&dir.path().join("joined.gguf")), tensors(&dir.path().join("whole.gguf")));
}

/// Type and bytes of every tensor by name.
fn tensors(path: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let source = weightmill_formats::open(path).unwrap();
    let tensor = |info: &weightmill_formats::TensorInfo| {
        (info.name.clone(), (info.dtype.to_string(), source.view(info).to_vec()))
    };
    source.tensors().iter().map(tensor).collect()
}
