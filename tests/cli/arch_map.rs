//! `--arch-map`: architectures that a file describes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::support::{Tiny, assert_refused, folder, names, quantize, sha256, stderr};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny-llama");
const LLAMA: &str = include_str!("../arch-maps/llama.toml");

fn run(folder: &Path, arguments: &[&str]) -> Output {
    quantize().current_dir(folder).args(arguments).output().unwrap()
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// The fixture's tensors after a change, in a folder of the same name with an architecture that nobody knows.
fn renamed(folder: &Path, change: impl FnOnce(&mut Tensors, &mut Value)) -> PathBuf {
    let copy = folder.join("tiny-llama");
    fs::create_dir_all(&copy).unwrap();
    for name in names(Path::new(FIXTURE)) {
        fs::copy(Path::new(FIXTURE).join(&name), copy.join(name)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&fs::read(copy.join("config.json")).unwrap()).unwrap();
    config["architectures"] = json!(["NextMonthForCausalLM"]);
    let source = weightmill_formats::open(&copy.join("model.safetensors")).unwrap();
    let tensor = |tensor: &weightmill_formats::TensorInfo| {
        let shape = tensor.shape.iter().map(|length| *length as usize).collect();
        (tensor.name.clone(), (shape, source.view(tensor).to_vec()))
    };
    let mut tensors: Tensors = source.tensors().iter().map(tensor).collect();
    change(&mut tensors, &mut config);
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name.as_str(), TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    drop(source);
    fs::write(copy.join("model.safetensors"), bytes).unwrap();
    fs::write(copy.join("config.json"), config.to_string()).unwrap();
    copy
}

fn map(folder: &Path, text: &str) {
    fs::write(folder.join("map.toml"), text).unwrap();
}

/// Converts the fixture as it is, and `tiny-llama` by the map; the digests of both files.
fn both(folder: &Path, arguments: &[&str]) -> [String; 2] {
    let built_in = run(folder, &[&[FIXTURE, "-o", "built-in.gguf", "--force"], arguments].concat());
    assert!(built_in.status.success(), "{}", stderr(&built_in));
    let mapped =
        run(folder, &[&["tiny-llama", "--arch-map", "map.toml", "-o", "mapped.gguf", "--force"], arguments].concat());
    assert!(mapped.status.success(), "{}", stderr(&mapped));
    assert!(stderr(&mapped).contains("map.toml describes the architecture"), "{}", stderr(&mapped));
    ["built-in.gguf", "mapped.gguf"].map(|name| sha256(&folder.join(name)))
}

#[test]
fn a_map_of_llama_gives_the_same_file() {
    let dir = folder();
    renamed(dir.path(), |_, _| {});
    map(dir.path(), LLAMA);
    for arguments in [&["-t", "BF16"][..], &["-t", "Q4_K_M"], &["-t", "Q2_K", "--prune-layers", "1"]] {
        let [built_in, mapped] = both(dir.path(), arguments);
        assert_eq!(built_in, mapped, "{arguments:?}");
    }
    let arguments = ["tiny-llama", "--arch-map", "map.toml", "--q8", "--dry-run", "--json"];
    let document: Value = serde_json::from_slice(&run(dir.path(), &arguments).stdout).unwrap();
    assert_eq!(document["preflight"]["tensors"]["checked_against"], "map.toml");
    let readme = include_str!("../../README.md");
    let indented: Vec<String> = LLAMA.lines().map(|line| format!("    {line}\n")).collect();
    assert!(readme.contains(&indented.concat()), "the README shows another map than tests/arch-maps/llama.toml");
}

/// Queries, keys and values in one matrix, a gate and its partner too, the output transposed.
#[test]
fn fused_and_transposed_matrices_are_taken_apart() {
    let dir = folder();
    renamed(dir.path(), |tensors, _| {
        for layer in 0..2 {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            for (parts, fused) in [
                (&["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..], "self_attn.qkv.0"),
                (&["mlp.gate_proj", "mlp.up_proj"], "mlp.gate_up"),
            ] {
                let parts: Vec<_> = parts.iter().map(|part| tensors.remove(&name(part)).unwrap()).collect();
                let rows = parts.iter().map(|(shape, _)| shape[0]).sum();
                let bytes = parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
                tensors.insert(name(fused), (vec![rows, parts[0].0[1]], bytes));
            }
            let (shape, bytes) = tensors.get_mut(&name("self_attn.o_proj")).unwrap();
            let (rows, columns) = (shape[0], shape[1]);
            let element = |at: usize| [bytes[2 * at], bytes[2 * at + 1]];
            let transposed =
                (0..columns).flat_map(|column| (0..rows).flat_map(move |row| element(row * columns + column)));
            let transposed: Vec<u8> = transposed.collect();
            (*shape, *bytes) = (vec![columns, rows], transposed);
        }
    });
    let fused = r#"
    { from = "model.layers.{}.self_attn.qkv.0.weight", to = [
        "blk.{}.attn_q.weight",
        "blk.{}.attn_k.weight",
        "blk.{}.attn_v.weight",
    ], rows = [
        "num_attention_heads * head_dim", "num_key_value_heads * head_dim", "num_key_value_heads * head_dim",
    ], interleave_heads = ["num_attention_heads", "num_key_value_heads", 0] },
    { from = "model.layers.{}.mlp.gate_up.weight", to = ["blk.{}.ffn_gate.weight", "blk.{}.ffn_up.weight"], rows = [256, 256] },
    { from = "model.layers.{}.self_attn.o_proj.weight", to = "blk.{}.attn_output.weight", transpose = true },
]"#;
    let apart = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"];
    let (head, tensors) = LLAMA.split_once("tensors = [\n").unwrap();
    let kept = tensors.lines().filter(|line| *line != "]" && !apart.iter().any(|part| line.contains(part)));
    map(dir.path(), &format!("{head}tensors = [\n{}{fused}", kept.collect::<Vec<_>>().join("\n")));
    let arguments = ["-t", "Q8_0"];
    let [built_in, mapped] = both(dir.path(), &arguments);
    assert_eq!(built_in, mapped);
}

#[test]
fn matrices_below_each_other_become_one() {
    let dir = folder();
    renamed(dir.path(), |tensors, _| {
        for layer in 0..2 {
            let name = |part: &str| format!("model.layers.{layer}.mlp.{part}.weight");
            let (shape, bytes) = tensors.remove(&name("up_proj")).unwrap();
            let (first, second) = bytes.split_at(bytes.len() / 4);
            tensors.insert(name("up_a"), (vec![shape[0] / 4, shape[1]], first.to_vec()));
            tensors.insert(name("up_b"), (vec![shape[0] / 4 * 3, shape[1]], second.to_vec()));
            let norm = format!("model.layers.{layer}.input_layernorm");
            let (shape, bytes) = tensors.remove(&format!("{norm}.weight")).unwrap();
            let (first, second) = bytes.split_at(bytes.len() / 4);
            tensors.insert(format!("{norm}.a"), (vec![shape[0] / 4], first.to_vec()));
            tensors.insert(format!("{norm}.b"), (vec![shape[0] / 4 * 3], second.to_vec()));
        }
    });
    let matrices = r#"from = ["model.layers.{}.mlp.up_a.weight", "model.layers.{}.mlp.up_b.weight"]"#;
    let vectors = r#"from = ["model.layers.{}.input_layernorm.a", "model.layers.{}.input_layernorm.b"]"#;
    let text = LLAMA.replace("from = \"model.layers.{}.mlp.up_proj.weight\"", matrices);
    map(dir.path(), &text.replace("from = \"model.layers.{}.input_layernorm.weight\"", vectors));
    let [built_in, mapped] = both(dir.path(), &["-t", "Q6_K"]);
    assert_eq!(built_in, mapped);
}

#[test]
fn what_does_not_fit_the_checkpoint_is_named() {
    let dir = folder();
    renamed(dir.path(), |_, _| {});
    let refused = |text: &str, parts: &[&str]| {
        map(dir.path(), text);
        assert_refused(&run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]), parts);
    };
    let without = |part: &str| -> String {
        LLAMA.lines().filter(|line| !line.contains(part)).map(|line| format!("{line}\n")).collect()
    };
    refused(&without("up_proj"), &["no rule for 2 tensors", "model.layers.0.mlp.up_proj.weight", "map.toml"]);
    refused(&LLAMA.replace("up_proj", "up_projection"), &["no rule for 2 tensors"]);
    let more =
        LLAMA.replace("\ntensors = [", "\ntensors = [\n    { from = \"a.{}.b.weight\", to = \"blk.{}.b.weight\" },");
    refused(&more, &["missing 2 tensors: a.0.b.weight, a.1.b.weight", "map.toml"]);
    refused(
        &LLAMA.replace("\"vocab_size\", \"hidden_size\"", "\"vocab_size\", 255"),
        &["by map.toml it is [285, 255]"],
    );
    refused(
        &LLAMA.replace("from = \"vocab_size\"", "from = \"vocabulary\""),
        &["map.toml:6", "config.json has no vocabulary"],
    );
    refused(
        &LLAMA.replace("interleave_heads = \"num_attention_heads\"", "interleave_heads = 3"),
        &["map.toml:14", "[256, 256]"],
    );
    for heads in ["\"18446744073709551615\"", "9223372036854775807", "\"num_hidden_layers / 4\"", "[4, 4]"] {
        refused(
            &LLAMA.replace("interleave_heads = \"num_attention_heads\"", &format!("interleave_heads = {heads}")),
            &["map.toml:14"],
        );
    }
    refused(&format!("layers = 4000000000\n{LLAMA}"), &["4000000000 layers"]);
    refused(&format!("layers = \"num_hidden_layers - 3\"\n{LLAMA}"), &["map.toml:1", "negative"]);
    refused(&format!("config_names = [\"OtherForCausalLM\"]\n{LLAMA}"), &["OtherForCausalLM", "NextMonthForCausalLM"]);
    assert!(!names(dir.path()).iter().any(|name| name.ends_with(".gguf")));
}

#[test]
fn what_is_no_map_is_an_error_with_its_line() {
    let dir = folder();
    renamed(dir.path(), |_, _| {});
    let refused = |text: &str, parts: &[&str]| {
        map(dir.path(), text);
        assert_refused(&run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]), parts);
    };
    let head = "architecture = \"x\"\nvocabulary = \"llama\"\n";
    let entry = |entry: &str| format!("{head}tensors = [\n    {{ {entry} }},\n]\n");
    refused("", &["map.toml", "architecture"]);
    refused(&format!("{head}tensors = [\n"), &["map.toml:"]);
    refused(&format!("{head}colour = 3\ntensors = []\n"), &["map.toml:3", "colour"]);
    refused(&entry("from = \"a\", to = \"b\", colour = 3"), &["map.toml:4", "colour"]);
    refused("architecture = \"x\"\nvocabulary = \"elvish\"\ntensors = []\n", &["map.toml:2", "elvish", "byte_level"]);
    refused("architecture = \"x y\"\nvocabulary = \"none\"\ntensors = []\n", &["map.toml:1"]);
    for (wrong, says) in [
        ("from = \"a.{}.b\", to = \"b\"", "if and only if"),
        ("from = \"a.{}.{}.b\", to = \"b.{}\"", "once each"),
        ("from = \"a{}.b\", to = \"b\"", "stand alone"),
        ("from = \"a.{x}.b\", to = \"b\"", "stand alone"),
        ("from = \"a.{e}.b\", to = \"b\"", "behind the {}"),
        ("from = \"a.{}.{e}.b\", to = \"b.{}.{e}\"", "experts are stacked"),
        ("from = [\"a\", \"b\"], to = [\"c\", \"d\"]", "of several tensors one"),
        ("from = \"a\", to = [\"c\", \"d\"]", "rows has one number"),
        ("from = [], to = []", "one tensor at least"),
        ("from = 3, to = \"b\"", "one, or a list of several"),
        ("from = \"a\", to = \"b\", map = \"times_two\"", "times_two"),
        ("from = \"a\", to = \"b\", groups = 2, transpose = true", "exclude each other"),
    ] {
        refused(&entry(wrong), &["map.toml:4", says]);
    }
    refused(
        &format!("{head}metadata = [{{ key = \"general.x\", value = 1 }}]\ntensors = []\n"),
        &["map.toml:3", "--override-kv"],
    );
    refused(
        &format!("{head}metadata = [{{ key = \"x\" }}]\ntensors = []\n"),
        &["map.toml:3", "either a value or `from`"],
    );
    for expression in [
        "hidden_size / 0",
        "hidden_size - 1000000000000",
        "1e400",
        "hidden_size *",
        "a b",
        "18446744073709551615 * 2",
        "-1",
    ] {
        let text = format!("{head}metadata = [{{ key = \"x\", from = \"{expression}\" }}]\nlayers = 1\ntensors = []\n");
        refused(&text, &["map.toml:3"]);
    }
    for hostile in [
        format!("{head}tensors = {}", "[".repeat(100_000)),
        format!("{head}x = {}1", "{a=".repeat(50_000)),
        format!("{head}layers = \"{}1\"\ntensors = []", "1+".repeat(100_000)),
        "\u{0}\u{1b}[31m".to_owned(),
    ] {
        refused(&hostile, &["map.toml"]);
        assert!(!run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]).stderr.contains(&0x1b));
    }
    fs::write(dir.path().join("map.toml"), [0xff, 0xfe]).unwrap();
    assert_refused(&run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]), &["map.toml", "UTF-8"]);
    fs::write(dir.path().join("map.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
    assert_refused(&run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]), &["map.toml", "larger than"]);
    for missing in ["nothing.toml", "tiny-llama"] {
        assert_refused(&run(dir.path(), &["tiny-llama", "--arch-map", missing, "--q8"]), &[missing]);
    }
}

#[test]
fn an_unknown_architecture_names_the_option_and_gguf_needs_none() {
    let dir = folder();
    renamed(dir.path(), |_, _| {});
    assert_refused(&run(dir.path(), &["tiny-llama", "--q8"]), &["NextMonthForCausalLM", "--arch-map FILE"]);
    map(dir.path(), LLAMA);
    Tiny::new().write(&dir.path().join("tiny.gguf"));
    assert_refused(
        &run(dir.path(), &["tiny.gguf", "--arch-map", "map.toml", "--q8"]),
        &["--arch-map is for checkpoints"],
    );
    let both = run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--tensors-only", "--q8"]);
    assert_eq!(both.status.code(), Some(2));
}

/// Groups of rows, names with a beginning, tensors to leave out, entries for some layers only.
#[test]
fn the_rest_of_what_entries_can_say() {
    let dir = folder();
    renamed(dir.path(), |tensors, _| {
        for layer in 0..2 {
            let name = |part: &str| format!("model.layers.{layer}.mlp.{part}.weight");
            let (shape, gate) = tensors.remove(&name("gate_proj")).unwrap();
            let (_, up) = tensors.remove(&name("up_proj")).unwrap();
            let quarters = gate.chunks(gate.len() / 4).zip(up.chunks(up.len() / 4));
            let fused = quarters.flat_map(|(gate, up)| [gate, up].concat()).collect();
            tensors.insert(name("gate_up"), (vec![2 * shape[0], shape[1]], fused));
        }
        *tensors = std::mem::take(tensors).into_iter().map(|(name, tensor)| (format!("text.{name}"), tensor)).collect();
        tensors.insert("vision.patch".to_owned(), (vec![2], vec![0; 4]));
    });
    let apart = ["gate_proj", "up_proj", "down_proj"];
    let kept = LLAMA.lines().filter(|line| !apart.iter().any(|part| line.contains(part)));
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    let more = r#"
    { from = "model.layers.{}.mlp.gate_up.weight", to = [
        "blk.{}.ffn_gate.weight",
        "blk.{}.ffn_up.weight",
    ], rows = [64, "hidden_size / 4"], groups = 4 },
    { from = "model.layers.{}.mlp.down_proj.weight", to = "blk.{}.ffn_down.weight", end_layer = 1 },
    { from = "model.layers.{}.mlp.down_proj.weight", to = "blk.{}.ffn_down.weight", first_layer = "num_hidden_layers - 1" },
    { from = "model.layers.{}.mlp.0.weight", to = "blk.{}.nothing.weight", required = false },
]
renames = [{ from = "text.", to = "" }]
ignore = [{ prefix = "vision.", because = "the part that sees" }]
"#;
    map(dir.path(), &(kept.strip_suffix("]\n").unwrap().to_owned() + more));
    let [built_in, mapped] = both(dir.path(), &["-t", "Q5_K_S"]);
    assert_eq!(built_in, mapped);
    let said = stderr(&run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "--q8"]));
    assert!(said.contains("1 tensors left out: the part that sees"), "{said}");
}

#[test]
fn metadata_is_what_the_map_says() {
    let dir = folder();
    renamed(dir.path(), |tensors, _| {
        // 1 in BF16
        tensors.insert("model.norm.weight".to_owned(), (vec![256], [0x80, 0x3f].repeat(256)));
    });
    let text = r#"
architecture = "next"
vocabulary = "none"
usual_metadata = false
defaults = [{ key = "gate", value = "sigmoid" }, { key = "hidden_size", value = 1 }]
metadata = [
    { key = "block_count", from = "num_hidden_layers" },
    { key = "gating", from = "gate", names = { softmax = 1, sigmoid = 2 } },
    { key = "theta", from = "rope_theta", type = "f32" },
    { key = "factor", from = "rope_scaling.factor * 2 + hidden_size / 64", type = "f64" },
    { key = "act", from = "hidden_act" },
    { key = "ends", from = "eos_token_id" },
    { key = "less", value = -3 },
    { key = "list", value = [true, false] },
    { key = "tokenizer.ggml.eos_token_id", value = 7 },
    { key = "gone", from = "nothing", optional = true },
]
tensors = [{ from = "model.norm.weight", to = "output_norm.weight", map = "plus_one" }]
ignore = [{ prefix = "model.layers.", because = "x" }, { prefix = "model.embed", because = "x" }, { prefix = "lm_head", because = "x" }]
"#;
    map(dir.path(), text);
    let done = run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "-t", "F32", "-o", "x.gguf"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let file = weightmill_formats::open(&dir.path().join("x.gguf")).unwrap();
    let entries = file.metadata().iter().filter(|(key, _)| key.starts_with("next.") || key.starts_with("tokenizer."));
    let entries: Vec<(&str, weightmill_formats::Value)> = entries.map(|(key, value)| (key, value.clone())).collect();
    let want: Vec<(&str, weightmill_formats::Value)> = vec![
        ("next.block_count", 2u32.into()),
        ("next.gating", 2u32.into()),
        ("next.theta", 500_000f32.into()),
        ("next.factor", 20f64.into()),
        ("next.act", "silu".into()),
        ("next.ends", vec![281u32, 284].into()),
        ("next.less", (-3i32).into()),
        ("next.list", vec![true, false].into()),
        ("tokenizer.ggml.eos_token_id", 7u32.into()),
        ("tokenizer.ggml.model", "none".into()),
    ];
    assert_eq!(entries, want);
    assert_eq!(file.tensors().len(), 1);
    assert!(file.view(&file.tensors()[0]).chunks_exact(4).all(|bytes| bytes == 2f32.to_le_bytes()));
    map(dir.path(), &text.replace("\"sigmoid\" }", "\"cosine\" }"));
    let wrong = run(dir.path(), &["tiny-llama", "--arch-map", "map.toml", "-t", "F32", "-o", "y.gguf"]);
    assert_refused(&wrong, &["map.toml:8", "cosine", "sigmoid, softmax"]);
}
