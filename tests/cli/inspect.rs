//! `quantize inspect`.

use serde_json::Value;

use crate::support::{Tiny, folder, quantize};

#[test]
fn shows_metadata_tensors_and_types() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg("inspect").arg(&input).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["general.architecture", "\"llama\"", "blk.1.ffn_down.weight", "[256, 512]", "BF16", "tensors"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

#[test]
fn json_has_everything() {
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let output = quantize().arg("inspect").arg(&input).arg("--json").output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["format"], "gguf");
    assert_eq!(document["metadata"]["llama.block_count"], serde_json::json!({"type": "u32", "value": 2}));
    let tensors = document["tensors"].as_array().unwrap();
    let down = tensors.iter().find(|tensor| tensor["name"] == "blk.0.ffn_down.weight").unwrap();
    assert_eq!(down["shape"], serde_json::json!([256, 512]));
    assert_eq!((&down["type"], &down["bytes"]), (&Value::from("BF16"), &Value::from(256 * 512 * 2)));
}

#[test]
fn takes_a_checkpoint_folder_and_an_importance_matrix() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let folder = quantize().args(["inspect", &format!("{fixtures}/tiny-llama")]).output().unwrap();
    assert!(String::from_utf8(folder.stdout).unwrap().contains("model.layers.0.self_attn.q_proj.weight"));
    let matrix = quantize().args(["inspect", &format!("{fixtures}/tiny-imatrix/imatrix.gguf")]).output().unwrap();
    assert!(String::from_utf8(matrix.stdout).unwrap().contains("blk.0.attn_q.weight.in_sum2"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::{Command, Stdio};
    let dir = folder();
    let input = Tiny::new().write(&dir.path().join("tiny.gguf"));
    let mut child = Command::new(assert_cmd::cargo::cargo_bin("quantize"))
        .arg("inspect")
        .arg(&input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before anything is read: the first write fails.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
