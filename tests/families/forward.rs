//! The forward pass of every family against llama.cpp's: `golden/forward.json`, made by `golden/forward.py`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use weightmill::forward::family::FAMILIES;
use weightmill_kernels::Dtype;

use crate::checkpoint::Checkpoint;
use crate::{cases, convert};

/// What the issue of evaluation asks for; the largest difference that was seen is a tenth of it.
const TOLERANCE: f64 = 0.002;

const LETTERS: &[u8] = b"  eetaaThcpil\n";

/// As in `golden/forward.py`.
pub(crate) fn text() -> String {
    let mut state = 1u64;
    let letters = std::iter::repeat_with(|| {
        state = (state * 1_103_515_245 + 12_345) % (1 << 31);
        char::from(LETTERS[(state >> 16) as usize % LETTERS.len()])
    });
    letters.take(6000).collect()
}

/// As in `golden/forward.py`: weights that compute something.
fn enlarge(path: &Path, gemma: bool) {
    let source = weightmill_formats::open(path).unwrap();
    let tensors = source.tensors().to_vec();
    drop(source);
    let mut bytes = fs::read(path).unwrap();
    for tensor in tensors {
        let data = &mut bytes[tensor.offset as usize..][..tensor.bytes as usize];
        let shift = match tensor.dtype {
            Dtype::BF16 => 2 << 7,
            Dtype::F16 => 2 << 10,
            Dtype::F32 => {
                for data in data.as_chunks_mut().0 {
                    let value = f32::from_le_bytes(*data);
                    *data = match tensor.name.as_str() {
                        name if name.ends_with("norm.weight") && gemma => value,
                        name if name.ends_with("norm.weight") => 1.0 + 4.0 * value,
                        name if name.starts_with("rope") => value,
                        _ => 4.0 * value,
                    }
                    .to_le_bytes();
                }
                continue;
            }
            _ => continue,
        };
        for data in data.as_chunks_mut().0 {
            let bits = u16::from_le_bytes(*data);
            *data = if bits & 0x7fff == 0 { bits } else { bits + shift }.to_le_bytes();
        }
    }
    fs::write(path, bytes).unwrap();
}

/// What `evaluate` finds.
fn perplexity(model: &Path, text: &Path) -> Result<f64, String> {
    let done = Command::new(env!("CARGO_BIN_EXE_quantize"))
        .args(["evaluate".as_ref(), model.as_os_str(), "--text".as_ref(), text.as_os_str()])
        .args(["--context", "64", "--chunks", "4", "--json", "--quiet"])
        .output()
        .unwrap();
    let document: Json = serde_json::from_slice(&done.stdout).unwrap_or_default();
    document["perplexity"]["value"].as_f64().ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn perplexities_are_those_of_llama_cpp() {
    let golden = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/forward.json")).unwrap();
    let golden: Json = serde_json::from_slice(&golden).unwrap();
    let mut architectures = Vec::new();
    let mut failures = Vec::new();
    for (name, case) in cases() {
        let Some(expected) = golden[&name].as_f64() else { continue };
        let checkpoint = Checkpoint::make(&name, &case);
        let (done, model) = convert(&checkpoint, &case);
        assert!(done.status.success(), "{name}");
        enlarge(&model, name.starts_with("gemma"));
        let text_path = checkpoint.path.join("text.txt");
        fs::write(&text_path, text()).unwrap();
        match perplexity(&model, &text_path) {
            Ok(found) if (found / expected - 1.0).abs() <= TOLERANCE => {}
            Ok(found) => failures.push(format!("{name}: {found}, expected {expected}")),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
        let source = weightmill_formats::open(&model).unwrap();
        architectures.extend(source.metadata().string("general.architecture").map(str::to_owned));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let untested = FAMILIES.iter().map(|family| family.name).find(|name| !architectures.iter().any(|a| a == name));
    assert_eq!(untested, None, "no case of this family");
}
