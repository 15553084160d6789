//! A folder per test, small GGUF inputs made on the spot, and the command.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use weightmill_formats::{Metadata, TensorSpec, Value, gguf};
use weightmill_kernels::Dtype;

/// The command, with the level of the environment.
pub fn quantize() -> Command {
    Command::cargo_bin("quantize").expect("the binary of this package")
}

/// An empty folder that goes away with the test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Names in a folder, sorted, hidden ones included.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn sha256(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Standard error as text.
pub fn stderr(output: &std::process::Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The run failed, and its message has these parts.
#[track_caller]
pub fn assert_refused(output: &std::process::Output, parts: &[&str]) {
    let message = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for part in parts {
        assert!(message.contains(part), "{message} does not say {part}");
    }
}

/// A model of the Llama architecture in BF16: 2 blocks, rows of 256 weights.
pub struct Tiny {
    metadata: Metadata,
    tensors: Vec<(TensorSpec, Vec<u8>)>,
}

impl Tiny {
    /// Pseudo-random weights, the same every time.
    pub fn new() -> Tiny {
        let mut metadata = Metadata::new();
        metadata.set("general.architecture", "llama");
        metadata.set("general.name", "Tiny");
        metadata.set("llama.block_count", 2u32);
        metadata.set("llama.attention.head_count", 4u32);
        metadata.set("llama.attention.head_count_kv", 2u32);
        metadata.set("general.file_type", 32u32);
        let mut tiny = Tiny { metadata, tensors: Vec::new() };
        tiny.add("token_embd.weight", &[96, 256], Dtype::BF16);
        for block in 0..2 {
            tiny.add(&format!("blk.{block}.attn_norm.weight"), &[256], Dtype::F32);
            for (name, rows) in [("attn_q", 256), ("attn_k", 128), ("attn_v", 128), ("ffn_up", 300)] {
                tiny.add(&format!("blk.{block}.{name}.weight"), &[rows, 256], Dtype::BF16);
            }
            tiny.add(&format!("blk.{block}.ffn_down.weight"), &[256, 512], Dtype::BF16);
        }
        tiny.add("output_norm.weight", &[256], Dtype::F32);
        tiny.add("output.weight", &[96, 256], Dtype::BF16);
        tiny
    }

    fn add(&mut self, name: &str, shape: &[u64], dtype: Dtype) {
        let weights: u64 = shape.iter().product();
        let mut state = 0x9e37_79b9_7f4a_7c15 ^ (self.tensors.len() as u64 + 1);
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.1
        };
        let bytes = (0..weights).flat_map(|_| encode(next(), dtype)).collect();
        self.tensors.push((TensorSpec { name: name.to_owned(), shape: shape.to_vec(), dtype }, bytes));
    }

    /// Sets one entry of the metadata.
    pub fn declare(mut self, key: &str, value: impl Into<Value>) -> Tiny {
        self.metadata.set(key, value);
        self
    }

    /// Sets one weight of a tensor.
    pub fn set(mut self, tensor: &str, row: usize, column: usize, value: f32) -> Tiny {
        let (spec, bytes) = self.tensors.iter_mut().find(|(spec, _)| spec.name == tensor).expect("a tensor");
        let encoded = encode(value, spec.dtype);
        let at = (row * *spec.shape.last().unwrap() as usize + column) * encoded.len();
        bytes[at..at + encoded.len()].copy_from_slice(&encoded);
        self
    }

    /// Gives a tensor another name.
    pub fn rename(mut self, tensor: &str, name: &str) -> Tiny {
        let (spec, _) = self.tensors.iter_mut().find(|(spec, _)| spec.name == tensor).expect("a tensor");
        name.clone_into(&mut spec.name);
        self
    }

    /// Writes one GGUF file.
    pub fn write(&self, path: &Path) -> PathBuf {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let layout = gguf::layout(&self.metadata, &specs).unwrap();
        fs::write(path, assemble(&layout, self.tensors.iter().map(|(_, bytes)| bytes))).unwrap();
        path.to_owned()
    }

    /// Writes two parts, the second from the third tensor on; returns the first part's path.
    pub fn write_split(&self, folder: &Path, stem: &str) -> PathBuf {
        let specs: Vec<TensorSpec> = self.tensors.iter().map(|(spec, _)| spec.clone()).collect();
        let layouts = gguf::layout_split(&self.metadata, &[&specs[..3], &specs[3..]]).unwrap();
        let bytes: Vec<&Vec<u8>> = self.tensors.iter().map(|(_, bytes)| bytes).collect();
        for (number, (layout, bytes)) in layouts.iter().zip([&bytes[..3], &bytes[3..]]).enumerate() {
            let name = gguf::part_name(stem, number as u16, 2);
            fs::write(folder.join(name), assemble(layout, bytes.iter().copied())).unwrap();
        }
        folder.join(gguf::part_name(stem, 0, 2))
    }
}

fn encode(value: f32, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        _ => value.to_le_bytes().to_vec(),
    }
}

fn assemble<'a>(layout: &weightmill_formats::Layout, tensors: impl Iterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut file = vec![0; layout.length as usize];
    file[..layout.header.len()].copy_from_slice(&layout.header);
    for (range, bytes) in layout.tensors.iter().zip(tensors) {
        file[range.start as usize..range.end as usize].copy_from_slice(bytes);
    }
    file
}

/// A model of one large BF16 tensor of zeros that takes no room on the disk.
#[cfg(unix)]
pub fn write_sparse(path: &Path, rows: u64) {
    let mut metadata = Metadata::new();
    metadata.set("general.architecture", "llama");
    metadata.set("llama.block_count", 1u32);
    let spec = TensorSpec { name: "blk.0.ffn_up.weight".to_owned(), shape: vec![rows, 4096], dtype: Dtype::BF16 };
    let layout = gguf::layout(&metadata, &[spec]).unwrap();
    let mut file = File::create(path).unwrap();
    std::io::Write::write_all(&mut file, &layout.header).unwrap();
    file.set_len(layout.length).unwrap();
}
