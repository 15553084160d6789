//! Quantized checkpoint folders.

use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use weightmill::scheme::OUTPUT_SCHEMES;
use weightmill_formats::{Metadata, Source, TensorSpec, safetensors};
use weightmill_kernels::{Dtype, Level, dequantize};

use crate::support::{Tiny, assert_refused, folder, names, quantize, sha256, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");

/// Writes a checkpoint of these matrices.
fn checkpoint(folder: &Path, dtype: Dtype, tensors: &[(&str, [usize; 2], &[f32])]) -> PathBuf {
    let spec = |(name, shape, _): &(&str, [usize; 2], &[f32])| TensorSpec {
        name: (*name).to_owned(),
        shape: shape.map(|length| length as u64).to_vec(),
        dtype,
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let layout = safetensors::layout(&Metadata::new(), &specs).unwrap();
    let mut file = vec![0; layout.length as usize];
    file[..layout.header.len()].copy_from_slice(&layout.header);
    for ((_, _, values), range) in tensors.iter().zip(&layout.tensors) {
        let bytes: Vec<u8> = match dtype {
            Dtype::BF16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        file[range.start as usize..range.end as usize].copy_from_slice(&bytes);
    }
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("model.safetensors"), file).unwrap();
    fs::write(folder.join("config.json"), r#"{"model_type": "llama", "num_hidden_layers": 2}"#).unwrap();
    folder.to_owned()
}

fn open(folder: &Path) -> Box<dyn Source> {
    let index = folder.join("model.safetensors.index.json");
    weightmill_formats::open(if index.exists() { &index } else { Path::new("") })
        .or_else(|_| weightmill_formats::open(&folder.join("model.safetensors")))
        .unwrap()
}

fn json_of(path: PathBuf) -> Json {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All matrices of a folder, decoded.
fn decoded(folder: &Path, out: &Path) -> Vec<(String, Vec<f32>)> {
    quantize().arg(folder).args(["-t", "safetensors-f32", "-o"]).arg(out).assert().success();
    let source = open(out);
    let values = |tensor| {
        let mut values = vec![0.0; source.view(tensor).len() / 4];
        dequantize(Level::detect(), Dtype::F32, source.view(tensor), &mut values);
        values
    };
    source.tensors().iter().map(|tensor| (tensor.name.clone(), values(tensor))).collect()
}

#[test]
fn tensors_are_those_that_the_formats_packages_write() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let sources = weightmill_formats::open(format!("{golden}/written.safetensors").as_ref()).unwrap();
    let Json::Object(cases) = json_of(format!("{golden}/written.json").into()) else { panic!("not an object") };
    assert!(cases.len() > 40);
    let module = "model.layers.0.mlp.up_proj";
    for (label, case) in cases {
        let stored = sources.tensors().iter().find(|tensor| tensor.name == case["source"]).unwrap();
        let mut values = vec![0.0; stored.shape.iter().product::<u64>() as usize];
        dequantize(Level::SCALAR, Dtype::BF16, sources.view(stored), &mut values);
        let shape = [stored.shape[0] as usize, stored.shape[1] as usize];
        let dtype = Dtype::from_name(case["dtype"].as_str().unwrap()).unwrap();
        let dir = folder();
        let name = format!("{module}.weight");
        let input = checkpoint(&dir.path().join("in"), dtype, &[(&name, shape, &values)]);
        let options = case["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap());
        let out = dir.path().join("out");
        quantize().arg(input).args(options).args(["--search", "absmax", "-o"]).arg(&out).assert().success();
        let written = open(&out);
        for (part, expected) in case["expected"].as_object().unwrap() {
            let name = format!("{module}.{part}");
            let tensor = written.tensors().iter().find(|tensor| tensor.name == name);
            let tensor = tensor.unwrap_or_else(|| panic!("{label}: no {part}"));
            let digest: String =
                Sha256::digest(written.view(tensor))[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            let found = json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "sha256": digest});
            assert_eq!(&found, expected, "{label}: {part}");
        }
    }
}

#[test]
fn every_scheme_is_read_back_as_the_same_model() {
    let dir = folder();
    let original = decoded(Path::new(FIXTURE), &dir.path().join("original"));
    for scheme in OUTPUT_SCHEMES {
        let out = dir.path().join(scheme.name);
        let output = quantize().arg(FIXTURE).args(["-t", scheme.name, "-o"]).arg(&out).output().unwrap();
        assert!(output.status.success(), "{}: {}", scheme.name, stderr(&output));
        let again = decoded(&out, &dir.path().join(format!("{}-again", scheme.name)));
        assert_eq!(again.len(), original.len(), "{}", scheme.name);
        let mut coded = 0;
        for ((name, values), (other, own)) in original.iter().zip(&again) {
            assert_eq!((name, values.len()), (other, own.len()), "{}", scheme.name);
            let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x).powi(2)).sum::<f64>();
            let error = squares(&mut values.iter().zip(own).map(|(a, b)| a - b)) / squares(&mut values.iter().copied());
            let is_coded = own != values;
            coded += usize::from(is_coded);
            let most = if scheme.name == "mlx-2bit" { 0.6 } else { 0.2 };
            assert!(error.sqrt() < most, "{}: {name} is off by {}", scheme.name, error.sqrt());
            let is_outside = name.contains("embed") || name.contains("lm_head") || name.contains("norm");
            assert!(!is_coded || !is_outside || scheme.name.starts_with("mlx"), "{}: {name}", scheme.name);
        }
        assert!(coded >= 6, "{}: {coded} weights are coded", scheme.name);
    }
}

#[test]
fn folders_and_files_come_from_one_run() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).assert().success();
    run(&[FIXTURE, "-t", "Q8_0,w4a16,fp8,gptq,awq,nvfp4a16", "--asymmetric", "-o", "all/"]);
    assert_eq!(
        names(&dir.path().join("all")),
        [
            "tiny-llama-Q8_0.gguf",
            "tiny-llama-awq",
            "tiny-llama-fp8",
            "tiny-llama-gptq",
            "tiny-llama-nvfp4a16",
            "tiny-llama-w4a16"
        ]
    );
    for scheme in ["w4a16", "fp8", "gptq", "awq", "nvfp4a16"] {
        // Neither what else is written, nor threads, chunks or the CPU change a byte.
        let ways: [&[&str]; 2] = [&["--threads", "1", "--max-memory", "1500KB"], &["--threads", "3"]];
        for (way, level) in ways.into_iter().zip(["scalar", ""]) {
            let mut command = quantize();
            if !level.is_empty() {
                command.env("QUANTIZE_SIMD", level);
            }
            let out = dir.path().join("alone");
            let arguments = [FIXTURE, "-t", scheme, "--asymmetric", "--force", "-o"];
            command.args(arguments).arg(&out).args(way).assert().success();
            let together = dir.path().join(format!("all/tiny-llama-{scheme}"));
            assert_eq!(names(&out), names(&together), "{scheme}");
            for name in names(&out) {
                assert_eq!(sha256(&out.join(&name)), sha256(&together.join(&name)), "{scheme}: {name}");
            }
            fs::remove_dir_all(out).unwrap();
        }
    }
}

#[test]
fn shards_keep_the_tensors_of_a_weight_together() {
    let dir = folder();
    let out = dir.path().join("out");
    quantize().arg(FIXTURE).args(["--int4", "--shard-size", "100KB", "-o"]).arg(&out).assert().success();
    let index = json_of(out.join("model.safetensors.index.json"));
    let map = index["weight_map"].as_object().unwrap();
    for (name, file) in map {
        if let Some(module) = name.strip_suffix(".weight_packed") {
            assert_eq!(&map[&format!("{module}.weight_scale")], file);
            assert_eq!(&map[&format!("{module}.weight_shape")], file);
        }
    }
    let written = open(&out);
    assert!(written.files().len() > 2);
    assert_eq!(index["metadata"]["total_size"], written.tensors().iter().map(|tensor| tensor.bytes).sum::<u64>());
}

#[test]
fn config_says_what_is_quantized_and_how() {
    let dir = folder();
    let config = |arguments: &[&str]| {
        let out = dir.path().join("out");
        quantize().arg(FIXTURE).args(arguments).args(["--force", "-o"]).arg(&out).assert().success();
        let config = json_of(out.join("config.json"));
        assert_eq!(config["architectures"], json!(["LlamaForCausalLM"]));
        assert_eq!(config["torch_dtype"], "bfloat16");
        (config, out)
    };
    let (int4, out) = config(&["--int4", "--group-size", "64"]);
    let settings = &int4["quantization_config"];
    assert_eq!(settings["quant_method"], "compressed-tensors");
    assert_eq!(settings["format"], "pack-quantized");
    let group = &settings["config_groups"]["group_0"];
    assert_eq!(group["targets"], json!(["Linear"]));
    assert_eq!(
        group["weights"],
        json!({"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 64, "dynamic": false})
    );
    assert_eq!(settings["ignore"], json!(["lm_head", "model.embed_tokens"]));
    for name in names(Path::new(FIXTURE)).iter().filter(|name| *name != "config.json" && *name != "model.safetensors") {
        assert_eq!(sha256(&out.join(name)), sha256(&Path::new(FIXTURE).join(name)), "{name}");
    }
    let (fp8, _) = config(&["--fp8"]);
    let group = &fp8["quantization_config"]["config_groups"]["group_0"];
    assert_eq!(group["format"], "float-quantized");
    assert_eq!(group["weights"]["strategy"], "channel");
    assert_eq!(group["input_activations"]["strategy"], "token");
    assert_eq!(group["input_activations"]["dynamic"], true);
    let (gptq, out) = config(&["-t", "gptq"]);
    assert_eq!(json_of(out.join("quantize_config.json")), gptq["quantization_config"]);
    assert_eq!(gptq["quantization_config"]["checkpoint_format"], "gptq");
    fs::remove_dir_all(out).unwrap();
    let (mlx, out) = config(&["-t", "mlx"]);
    assert_eq!(mlx["quantization"], json!({"group_size": 64, "bits": 4, "mode": "affine"}));
    assert_eq!(mlx["quantization"], mlx["quantization_config"]);
    assert_eq!(open(&out).metadata().string("format"), Some("mlx"));
}

#[test]
fn rows_that_do_not_fill_groups_get_smaller_ones_and_fused_weights_the_same() {
    let dir = folder();
    let wave = |count: usize| (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect::<Vec<f32>>();
    let (wide, narrow, odd) = (wave(64 * 192), wave(64 * 256), wave(32 * 40));
    let input = checkpoint(
        &dir.path().join("in"),
        Dtype::BF16,
        &[
            ("model.layers.0.self_attn.q_proj.weight", [64, 192], &wide),
            ("model.layers.0.self_attn.k_proj.weight", [64, 192], &wide),
            ("model.layers.0.mlp.down_proj.weight", [64, 256], &narrow),
            ("model.layers.1.mlp.down_proj.weight", [32, 40], &odd),
            ("model.layers.0.mlp.gate.weight", [64, 256], &narrow),
            ("model.layers.2.mlp.up_proj.weight", [64, 256], &narrow),
            ("lm_head.weight", [64, 256], &narrow),
        ],
    );
    let out = dir.path().join("out");
    let output = quantize().arg(&input).args(["--int4", "-o"]).arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("groups of 64 instead of 128"), "{}", stderr(&output));
    assert!(stderr(&output).contains("groups of channel instead of 128"), "{}", stderr(&output));
    let settings = json_of(out.join("config.json"))["quantization_config"].clone();
    let groups = settings["config_groups"].as_object().unwrap();
    assert_eq!(
        groups["group_1"]["targets"],
        json!(["model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.q_proj"])
    );
    assert_eq!(groups["group_1"]["weights"]["group_size"], 64);
    assert_eq!(groups["group_2"]["targets"], json!(["model.layers.1.mlp.down_proj"]));
    assert_eq!(groups["group_2"]["weights"]["strategy"], "channel");
    // routers, layers that predict further tokens and the output
    assert_eq!(settings["ignore"], json!(["lm_head", "model.layers.0.mlp.gate", "model.layers.2.mlp.up_proj"]));
    let refused = quantize().arg(&input).args(["--int4", "--fallback", "error", "-o", "x"]).output().unwrap();
    assert_refused(&refused, &["w4a16", "q_proj"]);
    // DeepSeek's blocks need 128 rows
    let refused = quantize().arg(&input).args(["-t", "fp8-block", "-o", "x"]).output().unwrap();
    assert_refused(&refused, &["fp8-block"]);
}

#[test]
fn no_scale_is_zero_infinite_or_not_a_number() {
    let dir = folder();
    let mut values = vec![0.0f32; 128 * 256];
    // a row of zeros, tiny ones, one huge outlier, numbers too small for the scales' type
    values[256..512].iter_mut().enumerate().for_each(|(i, x)| *x = (i % 3) as f32 * 1e-38);
    values[700] = 3e38;
    values[1024..1280].fill(1e-30);
    let name = "model.layers.0.mlp.up_proj.weight";
    let input = checkpoint(&dir.path().join("in"), Dtype::BF16, &[(name, [128, 256], &values)]);
    for scheme in OUTPUT_SCHEMES {
        let out = dir.path().join("out");
        let output = quantize().arg(&input).args(["-t", scheme.name, "--force", "-o"]).arg(&out).output().unwrap();
        if scheme.name.starts_with("gptq") || scheme.name == "awq" {
            assert_refused(&output, &["too large for the scales", name]);
            continue;
        }
        assert!(output.status.success(), "{}: {}", scheme.name, stderr(&output));
        let written = open(&out);
        for tensor in written.tensors().iter().filter(|tensor| tensor.name.contains("scale")) {
            if tensor.dtype == Dtype::U8 {
                assert!(written.view(tensor).iter().all(|byte| *byte < 255), "{}", scheme.name);
                continue;
            }
            let mut scales = vec![f32::NAN; tensor.shape.iter().product::<u64>() as usize];
            dequantize(Level::SCALAR, tensor.dtype, written.view(tensor), &mut scales);
            assert!(scales.iter().all(|scale| scale.is_finite() && *scale != 0.0), "{}", scheme.name);
        }
    }
    values[300] = f32::NAN;
    let input = checkpoint(&dir.path().join("in"), Dtype::BF16, &[(name, [128, 256], &values)]);
    let refused =
        quantize().arg(&input).args(["--int4", "--force", "-o"]).arg(dir.path().join("nan")).output().unwrap();
    assert_refused(&refused, &[name, "row 1, column 44", "NaN"]);
}

#[test]
fn weights_that_are_fused_share_their_divisor() {
    let dir = folder();
    let wave = |most: f32| (0..64 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0 * most).collect::<Vec<f32>>();
    let (large, small) = (wave(4.0), wave(0.5));
    let input = checkpoint(
        &dir.path().join("in"),
        Dtype::BF16,
        &[
            ("model.layers.0.mlp.gate_proj.weight", [64, 64], &small),
            ("model.layers.0.mlp.up_proj.weight", [64, 64], &large),
            ("model.layers.0.mlp.down_proj.weight", [64, 64], &small),
        ],
    );
    let out = dir.path().join("out");
    quantize().arg(&input).args(["-t", "nvfp4a16", "-o"]).arg(&out).assert().success();
    let written = open(&out);
    let divisor = |module: &str| {
        let name = format!("model.layers.0.mlp.{module}.weight_global_scale");
        let tensor = written.tensors().iter().find(|tensor| tensor.name == name).unwrap();
        f32::from_le_bytes(written.view(tensor).try_into().unwrap())
    };
    assert_eq!(["gate_proj", "up_proj", "down_proj"].map(divisor), [672.0, 672.0, 5376.0]);
}

#[test]
fn importance_changes_what_is_searched_and_nothing_else() {
    let dir = folder();
    let imatrix = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-imatrix");
    let files: Vec<PathBuf> = fs::read_dir(imatrix).unwrap().map(|entry| entry.unwrap().path()).collect();
    let matrix = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf")).unwrap();
    let run = |name: &str, arguments: &[&str]| {
        let out = dir.path().join(name);
        quantize().arg(FIXTURE).args(["--int4", "-o"]).arg(&out).args(arguments).assert().success();
        sha256(&out.join("model.safetensors"))
    };
    let matrix = matrix.to_str().unwrap();
    let plain = run("plain", &[]);
    assert_ne!(run("weighted", &["--imatrix", matrix]), plain);
    assert_ne!(run("signed", &["--search", "mse-signed"]), plain);
    let absmax = run("absmax", &["--search", "absmax"]);
    assert_ne!(absmax, plain);
    assert_eq!(run("absmax-weighted", &["--search", "absmax", "--imatrix", matrix]), absmax);
}

#[test]
fn gaps_of_importance_are_reported_and_forbidden_as_for_gguf() {
    let dir = folder();
    let imatrix = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-imatrix");
    let files: Vec<PathBuf> = fs::read_dir(imatrix).unwrap().map(|entry| entry.unwrap().path()).collect();
    let matrix = files.iter().find(|path| path.extension().is_some_and(|extension| extension == "gguf")).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = quantize();
        command.current_dir(&dir).args([FIXTURE, "--int4", "--dry-run", "--json", "--imatrix"]).arg(matrix);
        command.args(arguments).output().unwrap()
    };
    let importance = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        let tensors = report["outputs"][0]["tensors"].as_array().unwrap().clone();
        let of = |end: &str| {
            let tensor = tensors.iter().find(|tensor| tensor["name"].as_str().unwrap().ends_with(end)).unwrap();
            tensor["importance"].clone()
        };
        (of("layers.0.mlp.down_proj.weight_packed"), of("layers.0.mlp.down_proj.weight_scale"), stderr(&output))
    };
    let (measured, of_scales, _) = importance(&["--strict-imatrix"]);
    assert_eq!((measured, of_scales), (json!("measured"), Json::Null));
    let (none, _, message) = importance(&["--exclude-weights", "ffn_down"]);
    assert_eq!(none, "none");
    assert!(message.contains("the importance matrix has nothing for"), "{message}");
    // what the user left out is no gap
    assert!(run(&["--exclude-weights", "ffn_down", "--strict-imatrix"]).status.success());
    // entries that are not there are one
    let of_others = dir.path().join("others.dat");
    let mut bytes = 1u32.to_le_bytes().to_vec();
    bytes.extend(("blk.0.ffn_gate.weight".len() as u32).to_le_bytes());
    bytes.extend(b"blk.0.ffn_gate.weight");
    bytes.extend([1u32.to_le_bytes(), 256u32.to_le_bytes()].concat());
    bytes.extend((0..256).flat_map(|_| 1.0f32.to_le_bytes()));
    fs::write(&of_others, bytes).unwrap();
    let strict = |arguments: &[&str]| {
        let mut command = quantize();
        command
            .current_dir(&dir)
            .args([FIXTURE, "--int4", "--imatrix"])
            .arg(&of_others)
            .args(arguments)
            .output()
            .unwrap()
    };
    assert_refused(&strict(&["--strict-imatrix", "-o", "x"]), &["w4a16", "gaps", "--strict-imatrix"]);
    let output = strict(&["-o", "loose"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn importance_counts_by_its_ratios_alone() {
    let dir = folder();
    let matrix = |name: &str, factor: f32| {
        let path = dir.path().join(name);
        let mut bytes = 1u32.to_le_bytes().to_vec();
        bytes.extend(("blk.0.ffn_gate.weight".len() as u32).to_le_bytes());
        bytes.extend(b"blk.0.ffn_gate.weight");
        bytes.extend([1u32.to_le_bytes(), 256u32.to_le_bytes()].concat());
        bytes.extend((0..256).flat_map(|i| ((i % 7 + 1) as f32 * factor).to_le_bytes()));
        fs::write(&path, bytes).unwrap();
        path
    };
    let digest = |name: &str, factor: f32| {
        let out = dir.path().join(name);
        let matrix = matrix(&format!("{name}.dat"), factor);
        quantize().args([FIXTURE, "--int4", "--imatrix"]).arg(matrix).arg("-o").arg(&out).assert().success();
        sha256(&out.join("model.safetensors"))
    };
    let usual = digest("usual", 1.0);
    assert_eq!(digest("large", 2f32.powi(120)), usual);
    assert_eq!(digest("small", 2f32.powi(-110)), usual);
}

#[test]
fn gguf_files_become_folders_too() {
    let dir = folder();
    let run = |arguments: &[&str]| quantize().current_dir(&dir).args(arguments).assert().success();
    run(&[FIXTURE, "-t", "BF16", "-o", "there.gguf"]);
    run(&["there.gguf", "--int4", "-o", "of-gguf"]);
    run(&[FIXTURE, "--int4", "-o", "of-folder"]);
    let (of_gguf, of_folder) = (open(&dir.path().join("of-gguf")), open(&dir.path().join("of-folder")));
    for tensor in of_folder.tensors() {
        let other = of_gguf.tensors().iter().find(|other| other.name == tensor.name).expect("the same names");
        assert!(of_folder.view(tensor) == of_gguf.view(other), "{}", tensor.name);
    }
    run(&[FIXTURE, "--q4k", "-o", "small.gguf"]);
    let refused = quantize().current_dir(&dir).args(["small.gguf", "--int4", "-o", "x"]).output().unwrap();
    assert_refused(&refused, &["already quantized", "--allow-requantize"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = folder();
    let refuse = |arguments: &[&str], parts: &[&str]| {
        let output = quantize().current_dir(&dir).args(arguments).output().unwrap();
        assert_refused(&output, parts);
        assert_eq!(names(dir.path()), ["tiny.gguf"]);
    };
    Tiny::new().declare("general.architecture", "mamba").write(&dir.path().join("tiny.gguf"));
    refuse(&["tiny.gguf", "--int4"], &["\"mamba\""]);
    refuse(&[FIXTURE, "--int4", "--group-size", "48"], &["w4a16 has no groups of 48", "128, 64, 32, channel"]);
    let output =
        quantize().current_dir(&dir).args([FIXTURE, "--fp8", "--group-size", "48", "--dry-run"]).output().unwrap();
    assert!(stderr(&output).contains("--group-size 48 has no effect on fp8"), "{}", stderr(&output));
}
