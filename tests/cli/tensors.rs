//! What is no language model: tensors under their own names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Map, Value, json};
use weightmill_formats::Source;

use crate::support::{Tiny, assert_refused, folder, names, quantize, sha256, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// Writes a file with tensors of these names, types and shapes, whose bytes all have one value.
fn write(path: &Path, tensors: &[(&str, &str, &[usize], u8)]) -> PathBuf {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, dtype, shape, byte) in tensors {
        let bits: usize =
            dtype[dtype.find(|c: char| c.is_ascii_digit()).unwrap()..].split('_').next().unwrap().parse().unwrap();
        let begin = data.len();
        data.extend(std::iter::repeat_n(*byte, shape.iter().product::<usize>() * bits / 8));
        let offsets = [begin, data.len()];
        header.insert((*name).to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}));
    }
    let header = Value::Object(header).to_string();
    fs::write(path, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()).unwrap();
    path.to_owned()
}

/// What Flux has, as far as it matters here.
fn flux(path: &Path) -> PathBuf {
    write(
        path,
        &[
            ("double_blocks.0.img_attn.proj.weight", "BF16", &[32, 256], 0x3c),
            ("double_blocks.0.img_attn.proj.bias", "BF16", &[32], 0x3c),
            ("img_in.weight", "F16", &[256, 64], 0x2c),
            ("odd.weight", "F32", &[8, 50], 0x3c),
            ("conv.weight", "F16", &[4, 4, 3, 3], 0x2c),
            ("a.video.weight", "F32", &[4, 2, 1, 2, 2], 0x3c),
            ("scale_shift_table", "F32", &[6, 256], 0x3c),
            ("logit_scale", "F32", &[], 0x3c),
            ("position_ids", "I64", &[1, 77], 0),
            ("row.weight", "BF16", &[1, 256], 0x3c),
            ("half.weight", "F8_E4M3", &[2, 3, 4], 0x38),
        ],
    )
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    quantize().current_dir(folder).args(arguments).output().unwrap()
}

fn open(path: &Path) -> Box<dyn Source> {
    weightmill_formats::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// A copy of the fixture without these files.
fn copy_without(folder: &Path, left_out: &[&str]) {
    fs::create_dir_all(folder).unwrap();
    for name in names(Path::new(FIXTURE)).iter().filter(|name| !left_out.contains(&name.as_str())) {
        fs::copy(Path::new(FIXTURE).join(name), folder.join(name)).unwrap();
    }
}

/// Changes config.json of a checkpoint.
fn set_config(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn names_order_and_types_are_their_own_but_for_matrices() {
    let dir = folder();
    flux(&dir.path().join("flux-tiny.safetensors"));
    let output = run(dir.path(), &["flux-tiny.safetensors", "--q4k", "--json"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = open(&dir.path().join("flux-tiny-Q4_K_M.gguf"));
    let tensors: Vec<(&str, &[u64], &str)> =
        file.tensors().iter().map(|tensor| (tensor.name.as_str(), &*tensor.shape, tensor.dtype.name())).collect();
    let want: [(&str, &[u64], &str); 11] = [
        ("double_blocks.0.img_attn.proj.weight", &[32, 256], "Q4_K"),
        ("double_blocks.0.img_attn.proj.bias", &[32], "BF16"),
        ("img_in.weight", &[256, 64], "Q5_0"),
        ("odd.weight", &[8, 50], "F32"),
        ("conv.weight", &[4, 4, 3, 3], "F16"),
        ("a.video.weight", &[8, 1, 2, 2], "F32"),
        ("scale_shift_table", &[6, 256], "F32"),
        ("logit_scale", &[1], "F32"),
        ("position_ids", &[1, 77], "I64"),
        ("row.weight", &[1, 256], "BF16"),
        ("half.weight", &[2, 3, 4], "BF16"),
    ];
    assert_eq!(tensors, want);
    let metadata = file.metadata();
    assert_eq!(metadata.string("general.architecture"), Some("flux"));
    assert_eq!(metadata.string("general.name"), Some("Flux Tiny"));
    assert_eq!(metadata.get("comfy.gguf.orig_shape.a.video.weight"), Some(&vec![4i32, 2, 1, 2, 2].into()));
    // 1 in F8_E4M3
    assert!(file.view(&file.tensors()[10]).chunks_exact(2).all(|bytes| bytes == [0x80, 0x3f]));

    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let note =
        "no language model (there is no config.json): 11 tensors under their own names, 3 of them 2-D and quantized";
    let warnings = document["outputs"][0]["warnings"].to_string();
    assert!(warnings.contains(note) && stderr(&output).contains(note), "{warnings}");
    for named in ["Q5_0 instead of Q4_K, whose blocks the rows do not fill: img_in.weight", "F32 instead of Q4_K"] {
        assert!(warnings.contains(named), "{warnings}");
    }
    let checked =
        json!({"checked_against": "nothing", "stored": 11, "used": 11, "left_out": 0, "two_dimensional_weights": 3});
    assert_eq!(document["preflight"]["tensors"], checked);
    assert!(
        stderr(&output).contains("flux, no language model; 11 tensors under their own names, 3 of them 2-D weights")
    );
    let strict = run(dir.path(), &["flux-tiny.safetensors", "--q4k", "--fallback", "error", "--force"]);
    assert_refused(&strict, &["img_in.weight"]);
}

#[test]
fn the_architecture_can_be_set_and_types_by_name() {
    let dir = folder();
    write(&dir.path().join("x.safetensors"), &[("a.weight", "F32", &[4, 256], 60), ("b.weight", "F32", &[4, 256], 60)]);
    let plain = run(dir.path(), &["x.safetensors", "--q8", "-o", "plain.gguf"]);
    assert!(stderr(&plain).contains("--override-kv general.architecture=str:NAME"), "{}", stderr(&plain));
    let set = ["--override-kv", "general.architecture=str:wan", "--tensor-type", "b=q4_0"];
    assert!(run(dir.path(), &[&["x.safetensors", "--q8", "-o", "set.gguf"], &set[..]].concat()).status.success());
    let file = open(&dir.path().join("set.gguf"));
    assert_eq!(file.metadata().string("general.architecture"), Some("wan"));
    assert_eq!(file.tensors().iter().map(|tensor| tensor.dtype.name()).collect::<Vec<_>>(), ["Q8_0", "Q4_0"]);
    assert_eq!(open(&dir.path().join("plain.gguf")).metadata().string("general.architecture"), Some("unknown"));
}

#[test]
fn matrices_become_the_blocks_that_a_language_model_would_get() {
    let dir = folder();
    for arguments in [&["--pure", "-o", "model.gguf"][..], &["--tensors-only", "-o", "tensors.gguf"]] {
        let output = run(dir.path(), &[&[FIXTURE, "-t", "Q4_K_S"], arguments].concat());
        assert!(output.status.success(), "{}", stderr(&output));
    }
    let (model, tensors) = (open(&dir.path().join("model.gguf")), open(&dir.path().join("tensors.gguf")));
    let bytes = |file: &dyn Source, name: &str| {
        let tensor = file.tensors().iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name}"));
        (tensor.dtype, file.view(tensor).to_vec())
    };
    for (name, own) in [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("blk.1.ffn_down.weight", "model.layers.1.mlp.down_proj.weight"),
        ("blk.0.attn_v.weight", "model.layers.0.self_attn.v_proj.weight"),
    ] {
        assert_eq!(bytes(model.as_ref(), name), bytes(tensors.as_ref(), own), "{name}");
    }
    // Every type, not only the first.
    assert!(
        tensors
            .tensors()
            .iter()
            .all(|tensor| tensor.dtype.name() == if tensor.shape.len() == 2 { "Q4_K" } else { "BF16" })
    );
}

#[test]
fn a_language_model_without_its_config_is_an_error() {
    let dir = folder();
    copy_without(&dir.path().join("model"), &["config.json"]);
    fs::copy(Path::new(FIXTURE).join("model.safetensors"), dir.path().join("lone.safetensors")).unwrap();
    for input in ["model", "lone.safetensors"] {
        assert_refused(&run(dir.path(), &[input, "--q8"]), &["config.json", "missing", "--tensors-only"]);
    }
    copy_without(&dir.path().join("unnamed"), &[]);
    set_config(&dir.path().join("unnamed"), |config| {
        config.as_object_mut().unwrap().retain(|key, _| key != "architectures" && key != "model_type");
    });
    assert_refused(&run(dir.path(), &["unnamed", "--q8"]), &["\"none\"", "--tensors-only"]);
    assert!(run(dir.path(), &["lone.safetensors", "--q8", "--tensors-only"]).status.success());
    assert_eq!(names(dir.path()), ["lone-Q8_0.gguf", "lone.safetensors", "model", "unnamed"]);
}

#[test]
fn an_unknown_architecture_is_an_error_but_for_checkpoints() {
    let dir = folder();
    let model = dir.path().join("model");
    copy_without(&model, &[]);
    set_config(&model, |config| config["architectures"] = json!(["NextMonthForCausalLM"]));
    for types in ["Q8_0", "Q8_0,safetensors-bf16"] {
        let refused = run(dir.path(), &["model", "-t", types, "-o", "out/"]);
        assert_refused(&refused, &["\"NextMonthForCausalLM\" is not supported", "--tensors-only"]);
    }
    let done = run(dir.path(), &["model", "-t", "safetensors-bf16", "-o", "copy"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("\"NextMonthForCausalLM\" of config.json is not supported"), "{}", stderr(&done));
    assert_eq!(names(&dir.path().join("copy")), names(&model));
    for name in ["model.safetensors", "tokenizer.json"] {
        assert_eq!(sha256(&dir.path().join("copy").join(name)), sha256(&model.join(name)), "{name}");
    }
    let narrow = run(dir.path(), &["model", "-t", "safetensors-f32", "-o", "wide"]);
    assert!(narrow.status.success(), "{}", stderr(&narrow));
    assert!(open(&dir.path().join("wide/model.safetensors")).tensors().iter().all(|t| t.dtype.name() == "F32"));
}

#[test]
fn a_tokenizer_that_is_not_known_does_not_stop_a_checkpoint() {
    let dir = folder();
    copy_without(&dir.path().join("model"), &["tokenizer.json"]);
    assert_refused(&run(dir.path(), &["model", "--q8"]), &["tokenizer"]);
    let done = run(dir.path(), &["model", "-t", "safetensors-bf16", "-o", "copy"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("the tokenizer is taken over as it is"), "{}", stderr(&done));
}

#[test]
fn folders_of_diffusers_keep_their_names() {
    let dir = folder();
    let model = dir.path().join("transformer");
    fs::create_dir(&model).unwrap();
    let config = json!({"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30"});
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    let shard = |number: usize, name: &str| {
        let file = format!("diffusion_pytorch_model-{number:05}-of-00002.safetensors");
        write(&model.join(&file), &[(name, "BF16", &[4, 32], 60)]);
        (name.to_owned(), json!(file))
    };
    let map: Map<String, Value> = [shard(1, "b.weight"), shard(2, "a.weight")].into_iter().collect();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(model.join("diffusion_pytorch_model.safetensors.index.json"), index).unwrap();

    let done = run(dir.path(), &["transformer", "-t", "Q8_0,safetensors-f16", "-o", "out/"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(
        stderr(&done).contains("config.json is that of \"FluxTransformer2DModel\" of diffusers"),
        "{}",
        stderr(&done)
    );
    let file = open(&dir.path().join("out/transformer-Q8_0.gguf"));
    assert_eq!(file.tensors().iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["b.weight", "a.weight"]);
    let out = dir.path().join("out/transformer-safetensors-f16");
    assert_eq!(names(&out), ["config.json", "diffusion_pytorch_model.safetensors"]);
    let written: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(written, config);
}

#[test]
fn a_pipeline_of_diffusers_names_its_parts() {
    let dir = folder();
    let pipeline = dir.path().join("pipeline");
    for part in ["scheduler", "transformer", "vae"] {
        fs::create_dir_all(pipeline.join(part)).unwrap();
    }
    fs::write(pipeline.join("model_index.json"), "{\"_class_name\": \"FluxPipeline\"}").unwrap();
    for part in ["transformer", "vae"] {
        let file = pipeline.join(part).join("diffusion_pytorch_model.safetensors");
        write(&file, &[("a.weight", "BF16", &[4, 32], 60)]);
    }
    assert_refused(&run(dir.path(), &["pipeline", "--q8"]), &["name one, as in pipeline/transformer, pipeline/vae"]);
    assert!(run(dir.path(), &["pipeline/vae", "--q8"]).status.success());
    assert_eq!(names(dir.path()), ["pipeline", "vae-Q8_0.gguf"]);
}

#[test]
fn a_table_of_embeddings_is_one_matrix() {
    let dir = folder();
    let model = dir.path().join("static");
    fs::create_dir(&model).unwrap();
    let config = json!({"architectures": ["StaticModel"], "model_type": "model2vec"});
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    write(&model.join("model.safetensors"), &[("embeddings", "F32", &[100, 64], 60), ("weights", "F32", &[100], 60)]);
    let done = run(dir.path(), &["static", "--q8"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let file = open(&dir.path().join("static-Q8_0.gguf"));
    assert_eq!(file.tensors().iter().map(|tensor| tensor.dtype.name()).collect::<Vec<_>>(), ["Q8_0", "F32"]);
}

#[test]
fn from_beside_a_lone_file_nothing_is_taken() {
    let dir = folder();
    flux(&dir.path().join("flux.safetensors"));
    fs::write(dir.path().join("private.txt"), "mine").unwrap();
    assert!(run(dir.path(), &["flux.safetensors", "-t", "safetensors-bf16", "-o", "out"]).status.success());
    assert_eq!(names(&dir.path().join("out")), ["model.safetensors"]);
}

#[test]
fn scaled_8_bit_floats_of_comfyui_are_decoded() {
    let dir = folder();
    // 1 and, in every byte of the scale, 0x3f: 0.747...
    let tensors: &[(&str, &str, &[usize], u8)] = &[
        ("a.weight", "F8_E4M3", &[2, 32], 0x38),
        ("a.scale_weight", "F32", &[], 0x3f),
        ("a.scale_input", "F32", &[], 0x3f),
        ("a.bias", "F32", &[2], 0x3f),
        ("scaled_fp8", "F8_E4M3", &[2], 0),
    ];
    write(&dir.path().join("x.safetensors"), tensors);
    let done = run(dir.path(), &["x.safetensors", "-t", "F32"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let file = open(&dir.path().join("x-F32.gguf"));
    let names: Vec<&str> = file.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "a.bias"]);
    // rounded to BF16 once
    assert!(file.view(&file.tensors()[0]).chunks_exact(4).all(|bytes| bytes == [0, 0, 0x3f, 0x3f]));
    let mut other = tensors.to_vec();
    other.push(("a.comfy_quant", "U8", &[30], 0));
    write(&dir.path().join("y.safetensors"), &other);
    assert_refused(&run(dir.path(), &["y.safetensors", "--q8"]), &["a.comfy_quant"]);
}

#[test]
fn what_gguf_cannot_hold_is_said_before() {
    let dir = folder();
    let try_one = |name: &str, dtype: &str, shape: &[usize]| {
        write(&dir.path().join("x.safetensors"), &[(name, dtype, shape, 60)]);
        run(dir.path(), &["x.safetensors", "--q8", "--force"])
    };
    assert_refused(&try_one("mask", "U8", &[4, 4]), &["mask", "U8", "GGUF does not have"]);
    let long = "n".repeat(128);
    assert_refused(&try_one(&long, "F32", &[4, 32]), &[&long, "127"]);
    assert_eq!(names(dir.path()), ["x.safetensors"]);
    let warned = try_one(&long[1..], "F32", &[4, 32]);
    assert!(warned.status.success() && stderr(&warned).contains("longer than the 63 bytes"), "{}", stderr(&warned));
    assert_eq!(open(&dir.path().join("x-Q8_0.gguf")).tensors()[0].name, &long[1..]);
    let empty = try_one("none", "F32", &[0, 4]);
    assert!(
        empty.status.success() && stderr(&empty).contains("1 tensors without elements left out"),
        "{}",
        stderr(&empty)
    );
    let hostile = try_one("\x1b]0;x\x07\n", "F32", &[4, 32]);
    assert!(hostile.status.success() && !hostile.stderr.contains(&0x1b), "{}", stderr(&hostile));
}

#[test]
fn where_the_option_has_no_meaning_it_is_refused() {
    let dir = folder();
    Tiny::new().write(&dir.path().join("tiny.gguf"));
    assert_refused(&run(dir.path(), &["tiny.gguf", "--q8", "--tensors-only"]), &["--tensors-only is for checkpoints"]);
    let both = run(dir.path(), &[FIXTURE, "--q8", "--tensors-only", "--pre", "llama-bpe"]);
    assert_eq!(both.status.code(), Some(2));
    let copy = run(dir.path(), &[FIXTURE, "-t", "COPY", "--tensors-only"]);
    assert_refused(&copy, &["COPY copies GGUF files"]);
}
