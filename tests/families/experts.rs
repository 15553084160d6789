//! Experts in folders of quantized weights: where they stay as they are, the values are those that llama.cpp's converter
//! stacked, whatever form the checkpoint has them in.

use std::process::Command;

use serde_json::Value as Json;
use weightmill_formats::Source;
use weightmill_kernels::Dtype;

use crate::cases;
use crate::checkpoint::Checkpoint;
use crate::described::digest;

/// The names of an expert's matrices, by the part of the stack's name in GGUF.
const MATRICES: [(&str, [&str; 2]); 3] =
    [("gate", ["gate_proj", "w1"]), ("up", ["up_proj", "w3"]), ("down", ["down_proj", "w2"])];

/// Runs the program; what was written, or what it said.
fn write(checkpoint: &Checkpoint, scheme: &str) -> Result<Box<dyn Source>, String> {
    let out = checkpoint.path.join(scheme);
    let done = Command::new(env!("CARGO_BIN_EXE_quantize"))
        .arg(&checkpoint.path)
        .args(["-t", scheme, "--group-size", "32", "-o"])
        .arg(&out)
        .output()
        .unwrap();
    match done.status.success() {
        true => Ok(weightmill_formats::open(&out.join("model.safetensors")).unwrap()),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

/// Stacks of a golden file, but for those of layers that predict further tokens: number of the block, `gate`, `up` or `down`,
/// shape, and digest of the BF16 numbers.
fn stacks(golden: &Json) -> Vec<(String, String, Vec<u64>, String)> {
    let config = &golden["config"];
    let layers = config["num_hidden_layers"].as_u64().or(config["text_config"]["num_hidden_layers"].as_u64());
    let rows = golden["tensors"].as_array().unwrap().iter();
    let stack = |row: &Json| {
        let (block, rest) = row[0].as_str()?.strip_prefix("blk.")?.split_once('.')?;
        block.parse::<u64>().ok().filter(|block| layers.is_none_or(|layers| *block < layers))?;
        let part = rest.strip_prefix("ffn_")?.strip_suffix("_exps.weight")?;
        let shape = row[1].as_array()?.iter().map(|length| length.as_u64().unwrap()).collect();
        (row[2] == "BF16").then(|| (block.to_owned(), part.to_owned(), shape, row[3].as_str().unwrap().to_owned()))
    };
    rows.filter_map(stack).collect()
}

fn matrices(part: &str) -> [&'static str; 2] {
    MATRICES.iter().find(|(name, _)| *name == part).unwrap().1
}

/// The tensor of a block whose name ends so.
fn find<'a>(source: &'a dyn Source, block: &str, end: &str) -> Option<&'a weightmill_formats::TensorInfo> {
    let within = format!("layers.{block}.");
    source.tensors().iter().find(|tensor| tensor.name.contains(&within) && tensor.name.ends_with(end))
}

#[test]
fn servers_find_every_expert_by_itself() {
    let mut compared = 0;
    let failures: Vec<String> = cases()
        .iter()
        .flat_map(|(name, golden)| {
            let stacks = stacks(golden);
            if stacks.is_empty() || name.starts_with("gpt_oss") {
                return Vec::new();
            }
            let checkpoint = Checkpoint::make(name, golden);
            // rows that are no multiple of 32 stay as they are
            let written = match write(&checkpoint, "gptq") {
                Ok(written) => written,
                Err(message) => return vec![format!("{name}: {message}")],
            };
            let wrong = stacks.iter().filter_map(|(block, part, shape, expected)| {
                let mut bytes = Vec::new();
                for expert in 0..shape[0] {
                    let ends = matrices(part).map(|matrix| format!(".experts.{expert}.{matrix}."));
                    let plain = ends.iter().find_map(|end| find(written.as_ref(), block, &format!("{end}weight")));
                    let coded = ends.iter().find_map(|end| find(written.as_ref(), block, &format!("{end}qweight")));
                    match (plain, coded) {
                        (Some(tensor), None) if tensor.shape == shape[1..] => bytes.extend(written.view(tensor)),
                        (None, Some(_)) => return None,
                        _ => return Some(format!("{name}: no {part} of expert {expert} in block {block}")),
                    }
                }
                compared += 1;
                (digest(&bytes) != *expected).then(|| format!("{name}: other {part} in block {block}"))
            });
            wrong.collect()
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 30, "{compared} stacks compared");
}

#[test]
fn mlx_finds_experts_in_stacks() {
    let (mut compared, mut coded, mut refused) = (0, 0, Vec::new());
    let mut failures = Vec::new();
    for (name, golden) in cases() {
        let stacks = stacks(&golden);
        if stacks.is_empty() {
            continue;
        }
        let checkpoint = Checkpoint::make(&name, &golden);
        let written = match write(&checkpoint, "mlx") {
            Ok(written) => written,
            Err(message) => {
                assert!(message.contains("how mlx-lm wants"), "{name}: {message}");
                refused.push(golden["config"]["model_type"].as_str().unwrap().to_owned());
                continue;
            }
        };
        for (block, part, shape, expected) in stacks {
            let ends = ["switch_mlp", "experts"].map(|module| format!(".{module}.{}.weight", matrices(&part)[0]));
            let Some(tensor) = ends.iter().find_map(|end| find(written.as_ref(), &block, end)) else {
                failures.push(format!("{name}: no {part} in block {block}"));
                continue;
            };
            if tensor.dtype == Dtype::U32 {
                coded += 1;
                assert_eq!(tensor.shape, [shape[0], shape[1], shape[2] / 8], "{name}: {}", tensor.name);
                let scales = find(written.as_ref(), &block, &ends[0].replace(".weight", ".scales"))
                    .or_else(|| find(written.as_ref(), &block, &ends[1].replace(".weight", ".scales")));
                assert_eq!(scales.unwrap().shape, [shape[0], shape[1], shape[2] / 32], "{name}");
            } else {
                compared += 1;
                if digest(written.view(tensor)) != expected {
                    failures.push(format!("{name}: other {part} in block {block}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 10 && coded > 20, "{compared} and {coded} stacks compared");
    assert!(
        refused
            .iter()
            .all(|kind| ["granitemoeshared", "llama4_text", "qwen3_5_moe_text", "qwen3_next"].contains(&kind.as_str())),
        "{refused:?}"
    );
}
