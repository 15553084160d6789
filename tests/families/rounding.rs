//! Calibrated rounding of models with experts: each by its own inputs, whether they are published by themselves or in stacks.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;
use weightmill_formats::Source;

use crate::checkpoint::Checkpoint;
use crate::{forward, golden};

const EXPERTS: u64 = 3;

/// A checkpoint whose experts have rows of whole blocks, and of which the last expert is never chosen: the router's rows of the
/// others are opposite, so that one of their scores is above zero, and the last one's is zero.
fn checkpoint(name: &str) -> Checkpoint {
    let mut golden = golden(name);
    golden["config"]["intermediate_size"] = 64.into();
    golden["config"]["num_experts_per_tok"] = 1.into();
    for tensor in golden["shards"].as_array_mut().unwrap().iter_mut().flat_map(|shard| shard.as_array_mut().unwrap()) {
        for length in tensor[1].as_array_mut().unwrap() {
            match length.as_u64().unwrap() {
                48 => *length = 64.into(),
                96 => *length = 128.into(),
                _ => {}
            }
        }
    }
    let checkpoint = Checkpoint::make(name, &golden);
    let shards: Vec<PathBuf> = fs::read_dir(&checkpoint.path).unwrap().map(|entry| entry.unwrap().path()).collect();
    for shard in shards.iter().filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")) {
        let mut bytes = fs::read(shard).unwrap();
        let source = weightmill_formats::open(shard).unwrap();
        for tensor in source.tensors().iter().filter(|tensor| {
            ["gate.weight", "router.layer.weight"].iter().any(|end| tensor.name.ends_with(end))
                && tensor.shape[0] == EXPERTS
        }) {
            let rows = &mut bytes[tensor.offset as usize..][..tensor.bytes as usize];
            let (first, rest) = rows.split_at_mut(tensor.bytes as usize / EXPERTS as usize);
            let (second, third) = rest.split_at_mut(first.len());
            // BF16: the sign is the highest bit of the second byte
            second
                .iter_mut()
                .zip(first)
                .enumerate()
                .for_each(|(at, (byte, own))| *byte = *own ^ (0x80 * (at % 2) as u8));
            third.fill(0);
        }
        drop(source);
        fs::write(shard, bytes).unwrap();
    }
    checkpoint
}

/// Runs the program on a text; the document that it printed, and what it wrote.
fn write(checkpoint: &Checkpoint, target: &[&str], method: &[&str]) -> (Json, Box<dyn Source>) {
    let text = checkpoint.path.join("text.txt");
    fs::write(&text, forward::text()).unwrap();
    let out = checkpoint.path.join(format!("{}{}", target[0], method.len()));
    let done = Command::new(env!("CARGO_BIN_EXE_quantize"))
        .arg(&checkpoint.path)
        .arg("-t")
        .args(target)
        .args(method)
        .args(["--json", "-q", "--calibrate"])
        .arg(&text)
        .arg("-o")
        .arg(&out)
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let file = if out.is_dir() { out.join("model.safetensors") } else { out };
    (serde_json::from_slice(&done.stdout).unwrap(), weightmill_formats::open(&file).unwrap())
}

/// The stacks of experts that were rounded: two layers of three.
fn stacks<'a>(document: &'a Json, part: &str) -> Vec<&'a Json> {
    let all = document["rounding"]["rounded"].as_array().unwrap();
    all.iter().filter(|tensor| tensor["tensor"].as_str().unwrap().contains(part)).collect()
}

#[test]
fn experts_are_rounded_by_their_own_inputs() {
    for name in ["mixtral", "granite_moe"] {
        let checkpoint = checkpoint(name);
        let (document, rounded) = write(&checkpoint, &["Q4_0"], &["--method", "gptq"]);
        let (_, plain) = write(&checkpoint, &["Q4_0"], &[]);
        let stacks = stacks(&document, "_exps.");
        assert_eq!(stacks.len(), 6, "{name}");
        for stack in stacks {
            assert_eq!([&stack["matrices"], &stack["plain_matrices"]], [EXPERTS, 1], "{name}: {stack}");
            assert_eq!(stack["tokens"], 0, "{name}: {stack}");
            assert!(stack["error_after"].as_f64() < stack["error_before"].as_f64(), "{name}: {stack}");
            let tensor = |source: &dyn Source| {
                let found = source.tensors().iter().find(|tensor| stack["tensor"] == tensor.name.as_str()).unwrap();
                source.view(found).to_vec()
            };
            let (rounded, plain) = (tensor(rounded.as_ref()), tensor(plain.as_ref()));
            let length = plain.len() / EXPERTS as usize;
            let same: Vec<bool> = rounded.chunks(length).zip(plain.chunks(length)).map(|(a, b)| a == b).collect();
            // nothing came to the last one
            assert_eq!(same, [false, false, true], "{name}: {stack}");
        }
    }
}

/// MLX has experts in stacks, whatever the checkpoint has.
#[test]
fn stacks_of_folders_are_rounded_too() {
    for name in ["mixtral", "granite_moe"] {
        let checkpoint = checkpoint(name);
        let (document, _) = write(&checkpoint, &["mlx-4bit", "--group-size", "32"], &["--method", "gptq"]);
        let stacks = stacks(&document, "switch_mlp");
        assert_eq!(stacks.len(), 6, "{name}: {document}");
        for stack in stacks {
            assert_eq!([&stack["matrices"], &stack["plain_matrices"]], [EXPERTS, 1], "{name}: {stack}");
            assert!(stack["error_after"].as_f64() < stack["error_before"].as_f64(), "{name}: {stack}");
        }
        let plain = document["rounding"]["plain"].as_array().unwrap();
        assert!(!plain.iter().any(|tensor| tensor.as_str().unwrap().contains("switch_mlp")), "{name}: {document}");
    }
}
