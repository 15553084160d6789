//! Whole files of the checkpoint that the repository carries, by the real binary, against llama.cpp's converter and
//! quantizer (golden/tiny-llama.json, made by golden/tiny_llama.py).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// The entries of a group: type or options, and SHA-256 and size of the file.
fn golden(group: &str) -> Vec<(String, Json)> {
    let golden: Json = serde_json::from_str(include_str!("golden/tiny-llama.json")).unwrap();
    let entries: Vec<(String, Json)> =
        golden[group].as_object().unwrap().iter().map(|(name, entry)| (name.clone(), entry.clone())).collect();
    assert!(!entries.is_empty());
    entries
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn quantize(arguments: &[&str]) {
    let done = Command::new(env!("CARGO_BIN_EXE_quantize")).args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

fn check(name: &str, path: &Path, want: &Json, failures: &mut Vec<String>) {
    let bytes = fs::read(path).unwrap();
    let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if json!({"sha256": sha256, "bytes": bytes.len()}) != *want {
        failures.push(format!("{name}: {} bytes, {sha256}, not {want}", bytes.len()));
    }
}

/// Runs `quantize checkpoint ARGUMENTS -o FILE` for each entry and compares the files.
fn check_each(checkpoint: &Path, entries: &[(String, Json)], arguments: impl Fn(&str) -> Vec<String>) {
    let out = TempDir::new().unwrap();
    let mut failures = Vec::new();
    for (i, (name, want)) in entries.iter().enumerate() {
        let path = out.path().join(format!("{i}.gguf"));
        let arguments = arguments(name);
        let mut all = vec![checkpoint.to_str().unwrap(), "-o", path.to_str().unwrap()];
        all.extend(arguments.iter().map(String::as_str));
        quantize(&all);
        check(name, &path, want, &mut failures);
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), entries.len(), failures.join("\n"));
}

fn of_type(name: &str) -> Vec<String> {
    vec!["-t".to_owned(), name.to_owned()]
}

#[test]
fn every_type() {
    check_each(&fixture("tiny-llama"), &golden("plain"), of_type);
}

#[test]
fn every_type_from_one_read_under_default_names() {
    let out = TempDir::new().unwrap();
    let entries = golden("plain");
    let types: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    let folder = format!("{}/several/", out.path().display());
    quantize(&[fixture("tiny-llama").to_str().unwrap(), "-t", &types.join(","), "-o", &folder]);
    let mut failures = Vec::new();
    for (name, want) in &entries {
        check(name, &Path::new(&folder).join(format!("tiny-llama-{name}.gguf")), want, &mut failures);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_single_file_finds_the_rest_beside_it() {
    check_each(&fixture("tiny-llama/model.safetensors"), &golden("plain")[..1], of_type);
}

#[test]
fn with_importance() {
    let matrix = fixture("tiny-imatrix/imatrix.gguf");
    let arguments =
        |name: &str| [of_type(name), vec!["--imatrix".to_owned(), matrix.to_str().unwrap().to_owned()]].concat();
    check_each(&fixture("tiny-llama"), &golden("imatrix"), arguments);
}

// The legacy form has no count of chunks of its own kind, so metadata may differ; the weights may not.
#[test]
fn with_importance_in_its_legacy_form() {
    let out = TempDir::new().unwrap();
    let path = |form: &str| out.path().join(form).with_extension("gguf");
    for form in ["gguf", "dat"] {
        let matrix = fixture("tiny-imatrix/imatrix").with_extension(form);
        let arguments = [matrix.to_str().unwrap(), "-o", path(form).to_str().unwrap()].map(str::to_owned);
        let mut all = vec![fixture("tiny-llama").to_str().unwrap().to_owned(), "--q4k".into(), "--imatrix".into()];
        all.extend(arguments);
        quantize(&all.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let (modern, legacy) = (path("gguf"), path("dat"));
    let (modern, legacy) = (weightmill_formats::open(&modern).unwrap(), weightmill_formats::open(&legacy).unwrap());
    assert_eq!(modern.tensors().len(), legacy.tensors().len());
    for (a, b) in modern.tensors().iter().zip(legacy.tensors()) {
        assert_eq!((&a.name, a.dtype), (&b.name, b.dtype));
        assert!(modern.view(a) == legacy.view(b), "{}", a.name);
    }
}

/// A file type that llama-quantize refuses: its tensors are those of Q4_0 with all types replaced,
/// `ggml.py model tiny-llama-BF16.gguf OUT Q4_0 --tensor-type '.*=nvfp4' --output-type q6_k`, one after the other.
#[test]
fn nvfp4_as_a_file_type() {
    let folder = TempDir::new().unwrap();
    let file = weightmill_formats::open(&gguf(&folder, "NVFP4")).unwrap();
    assert_eq!(file.metadata().unsigned("general.file_type"), Some(39));
    let mut hash = Sha256::new();
    file.tensors().iter().for_each(|tensor| hash.update(file.view(tensor)));
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, "a11891ace6bcd6e9103bdf8f94a1bcc577703b49117b3f50373325eafda1234b");
}

#[test]
fn options() {
    check_each(&fixture("tiny-llama"), &golden("options"), words);
}

fn words(options: &str) -> Vec<String> {
    options.split(' ').map(str::to_owned).collect()
}

/// The fixture as a GGUF of a type.
fn gguf(folder: &TempDir, dtype: &str) -> PathBuf {
    let path = folder.path().join(format!("tiny-llama-{dtype}.gguf"));
    quantize(&[fixture("tiny-llama").to_str().unwrap(), "-t", dtype, "-o", path.to_str().unwrap()]);
    path
}

// 16- and 32-bit types are llama-quantize's file then, whose tensors are sorted, not the converter's.
#[test]
fn a_gguf_in_place_of_the_checkpoint() {
    let folder = TempDir::new().unwrap();
    let bf16 = gguf(&folder, "BF16");
    let quantized: Vec<_> = golden("plain").into_iter().filter(|(name, _)| name.starts_with('Q')).collect();
    check_each(&bf16, &quantized, of_type);
    check_each(&bf16, &golden("gguf"), words);
    check_each(&gguf(&folder, "Q8_0"), &golden("requantized"), words);
}

/// The fixture rewritten: tensors by `keep` and `encode`, config.json by `configure`, in shards of `per_file` tensors.
struct Variant {
    dtype: Dtype,
    keep: fn(&str) -> bool,
    encode: fn(usize, bf16) -> Vec<u8>,
    configure: fn(&mut Json),
    per_file: usize,
}

const AS_IT_IS: Variant = Variant {
    dtype: Dtype::BF16,
    keep: |_| true,
    encode: |_, weight| weight.to_le_bytes().to_vec(),
    configure: |_| (),
    per_file: usize::MAX,
};

/// Mantissa bits that a BF16 number does not have, by index, as fixtures/make_tiny_llama.py sets them.
fn widened(index: usize, weight: bf16) -> f32 {
    f32::from_bits((u32::from(weight.to_bits()) << 16) | (index * 40503 % 65536) as u32)
}

impl Variant {
    /// Writes the checkpoint into a folder of the fixture's name, which metadata derives from.
    fn write(&self) -> (TempDir, PathBuf) {
        let temporary = TempDir::new().unwrap();
        let folder = temporary.path().join("tiny-llama");
        fs::create_dir(&folder).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"] {
            fs::copy(fixture("tiny-llama").join(name), folder.join(name)).unwrap();
        }
        let mut config: Json = serde_json::from_slice(&fs::read(fixture("tiny-llama/config.json")).unwrap()).unwrap();
        (self.configure)(&mut config);
        fs::write(folder.join("config.json"), config.to_string()).unwrap();

        let bytes = fs::read(fixture("tiny-llama/model.safetensors")).unwrap();
        let source = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<&str> = source.names().into_iter().filter(|name| (self.keep)(name)).collect();
        names.sort_unstable();
        let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = names
            .into_iter()
            .map(|name| {
                let tensor = source.tensor(name).unwrap();
                let weights = tensor.data().chunks_exact(2).map(|pair| bf16::from_le_bytes([pair[0], pair[1]]));
                let data = weights.enumerate().flat_map(|(i, weight)| (self.encode)(i, weight)).collect();
                (name, tensor.shape().to_vec(), data)
            })
            .collect();
        let files = tensors.len().div_ceil(self.per_file.min(tensors.len()));
        let mut index = serde_json::Map::new();
        for (i, part) in tensors.chunks(self.per_file.min(tensors.len())).enumerate() {
            let file = match files {
                1 => "model.safetensors".to_owned(),
                _ => format!("model-{:05}-of-{files:05}.safetensors", i + 1),
            };
            index.extend(part.iter().map(|(name, ..)| (name.to_string(), json!(file))));
            let views = part
                .iter()
                .map(|(name, shape, data)| (*name, TensorView::new(self.dtype, shape.clone(), data).unwrap()));
            serialize_to_file(views, None, &folder.join(file)).unwrap();
        }
        if files > 1 {
            let index = json!({"metadata": {}, "weight_map": index});
            fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
        (temporary, folder)
    }

    fn check(&self, entries: &[(String, Json)]) {
        let (_temporary, folder) = self.write();
        check_each(&folder, entries, of_type);
    }
}

#[test]
fn shards() {
    let entries: Vec<_> =
        golden("plain").into_iter().filter(|(name, _)| ["BF16", "Q4_K_M"].contains(&name.as_str())).collect();
    assert_eq!(entries.len(), 2);
    Variant { per_file: 8, ..AS_IT_IS }.check(&entries);
}

#[test]
fn tied_embeddings() {
    let configure = |config: &mut Json| config["tie_word_embeddings"] = json!(true);
    Variant { keep: |name| name != "lm_head.weight", configure, ..AS_IT_IS }.check(&golden("tied"));
}

#[test]
fn an_f16_checkpoint_goes_through_f16() {
    let encode = |i, weight| f16::from_f32(widened(i, weight)).to_le_bytes().to_vec();
    let configure = |config: &mut Json| config["torch_dtype"] = json!("float16");
    Variant { dtype: Dtype::F16, encode, configure, ..AS_IT_IS }.check(&golden("f16"));
}

#[test]
fn an_f32_checkpoint_is_quantized_from_f32() {
    let encode = |i, weight| widened(i, weight).to_le_bytes().to_vec();
    let configure = |config: &mut Json| config["torch_dtype"] = json!("float32");
    Variant { dtype: Dtype::F32, encode, configure, ..AS_IT_IS }.check(&golden("f32"));
}
