//! PyTorch's own files: refused unless allowed, and then as good as safetensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::Dtype;

use crate::support::{folder, names, quantize, sha256, stderr};

#[path = "../../formats/tests/checkpoint/mod.rs"]
mod checkpoint;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");
const EVIL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/formats/tests/fixtures/evil.pt");

/// The fixture's folder under `parent`, without weights.
fn bare(parent: &Path) -> PathBuf {
    let copy = parent.join("tiny-llama");
    fs::create_dir(&copy).unwrap();
    for name in names(Path::new(FIXTURE)).iter().filter(|name| !name.ends_with(".safetensors")) {
        fs::copy(Path::new(FIXTURE).join(name), copy.join(name)).unwrap();
    }
    copy
}

/// The state dictionary of some of a source's tensors.
fn pickled(source: &dyn Source, tensors: &[&TensorInfo]) -> Vec<u8> {
    let stored = tensors.iter().map(|tensor| {
        assert_eq!(tensor.dtype, Dtype::BF16);
        let shape = tensor.shape.iter().map(|&length| length as i64).collect();
        (tensor.name.as_str(), "BFloat16Storage", 2, shape, source.view(tensor))
    });
    checkpoint::state_dict(&stored.collect::<Vec<_>>())
}

/// As golden/tiny_llama.py lets torch write it: two files, the names in reverse order.
fn write_shards(folder: &Path) {
    let source = weightmill_formats::open(&Path::new(FIXTURE).join("model.safetensors")).unwrap();
    let mut tensors: Vec<&TensorInfo> = source.tensors().iter().collect();
    tensors.sort_by(|a, b| b.name.cmp(&a.name));
    let mut index = BTreeMap::new();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    for (number, part) in [first, second].iter().enumerate() {
        let name = format!("pytorch_model-{:05}-of-00002.bin", number + 1);
        fs::write(folder.join(&name), pickled(source.as_ref(), part)).unwrap();
        index.extend(part.iter().map(|tensor| (tensor.name.clone(), name.clone())));
    }
    let index = serde_json::json!({"metadata": {}, "weight_map": index});
    fs::write(folder.join("pytorch_model.bin.index.json"), index.to_string()).unwrap();
}

fn write_one(path: &Path) {
    let source = weightmill_formats::open(&Path::new(FIXTURE).join("model.safetensors")).unwrap();
    fs::write(path, pickled(source.as_ref(), &source.tensors().iter().collect::<Vec<_>>())).unwrap();
}

/// Digest by type.
fn golden(part: &str) -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-llama.json");
    let all: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let part = all[part].as_object().expect("a part of the golden file");
    part.iter().map(|(name, digest)| (name.clone(), digest["sha256"].as_str().unwrap().to_owned())).collect()
}

/// Quantizes `input` to these types and compares with the golden digests.
fn compare(input: &Path, golden: &BTreeMap<String, String>, types: &[&str]) {
    let out = folder();
    let mut command = quantize();
    command.arg(input).args(["-q", "--allow-pickle", "-t", &types.join(","), "-o"]).arg(out.path()).arg("--force");
    command.assert().success().stderr("");
    for written in names(out.path()) {
        let name = types.iter().find(|name| written.ends_with(&format!("-{name}.gguf"))).unwrap();
        assert_eq!(sha256(&out.path().join(&written)), golden[*name], "{written}");
    }
    assert_eq!(names(out.path()).len(), types.len());
}

#[test]
fn shards_give_the_reference_s_files() {
    let dir = folder();
    let input = bare(dir.path());
    write_shards(&input);
    let (pickle, plain) = (golden("pickle"), golden("plain"));
    // 16-bit files follow the order of the pickle, as the reference does; quantized ones have an order of their own.
    compare(&input, &pickle, &["BF16", "F16", "F32", "Q4_K_M"]);
    assert_ne!(pickle["BF16"], plain["BF16"]);
    compare(&input, &plain, &["Q4_K_M", "Q6_K", "Q8_0"]);
    compare(&input.join("pytorch_model.bin.index.json"), &plain, &["Q4_0"]);
}

#[test]
fn one_file_gives_what_safetensors_give() {
    let dir = folder();
    let input = bare(dir.path());
    // What training leaves behind is not the model.
    for name in ["training_args.bin", "optimizer.pt", "rng_state_0.pth", "scheduler.pt"] {
        fs::write(input.join(name), b"not to be opened").unwrap();
    }
    for name in ["pytorch_model.bin", "consolidated.00.pth", "model.pt"] {
        write_one(&input.join(name));
        compare(&input, &golden("plain"), &["Q4_K_M", "Q5_1"]);
        compare(&input.join(name), &golden("plain"), &["Q8_0"]);
        fs::remove_file(input.join(name)).unwrap();
    }
    write_one(&input.join("a.bin"));
    write_one(&input.join("b.bin"));
    let output = quantize().arg(&input).args(["--q8", "--allow-pickle"]).output().unwrap();
    assert!(!output.status.success() && stderr(&output).contains("a.bin, b.bin"), "{}", stderr(&output));
    // The usual name decides, and safetensors come before any pickle.
    write_one(&input.join("pytorch_model.bin"));
    compare(&input, &golden("plain"), &["Q8_0"]);
    fs::write(input.join("pytorch_model.bin"), b"damaged").unwrap();
    fs::copy(Path::new(FIXTURE).join("model.safetensors"), input.join("model.safetensors")).unwrap();
    compare(&input, &golden("plain"), &["Q8_0"]);
}

#[test]
fn pickles_are_refused_without_the_option() {
    let dir = folder();
    let input = bare(dir.path());
    write_shards(&input);
    for path in
        [input.clone(), input.join("pytorch_model.bin.index.json"), input.join("pytorch_model-00001-of-00002.bin")]
    {
        for arguments in [&["--q8", "--dry-run"] as &[&str], &[]] {
            let mut command = quantize();
            if arguments.is_empty() {
                command.arg("inspect");
            }
            let output = command.arg(&path).args(arguments).output().unwrap();
            let message = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(message.contains("code") && message.contains("--allow-pickle"), "{message}");
        }
        let inspected = quantize().arg("inspect").arg(&path).arg("--allow-pickle").output().unwrap();
        assert!(String::from_utf8(inspected.stdout).unwrap().contains("pickle: 0 metadata entries"), "{path:?}");
    }
}

#[test]
fn nothing_in_a_pickle_is_run() {
    let dir = folder();
    let input = bare(dir.path());
    fs::copy(EVIL, input.join("pytorch_model.bin")).unwrap();
    let before = names(&input);
    let output = quantize().arg(&input).args(["--q8", "--allow-pickle"]).current_dir(&input).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("posix.system"), "{}", stderr(&output));
    assert_eq!(names(&input), before);
}
