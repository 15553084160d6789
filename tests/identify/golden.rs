//! Variants of the fixture against golden/identify.json, which identify.py made with llama.cpp's converter.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use weightmill::model::{Model, TensorData};
use weightmill::view::View;
use weightmill_formats::{Array, Value};

use crate::Folder;

#[test]
fn variants_equal_the_reference() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("../golden/identify.json")).unwrap();
    assert!(cases.len() >= 50, "{}", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let name = case["case"].as_str().unwrap();
        match set_up(case).identify() {
            Ok(model) => failures.extend(differences(case, &model).into_iter().map(|d| format!("{name}: {d}"))),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn set_up(case: &Json) -> Folder {
    let folder = Folder::new();
    for (file, content) in case["files"].as_object().unwrap() {
        match content {
            Json::Null => folder.remove(file),
            Json::String(text) => folder.write(file, text),
            encoded => folder.write(file, base64(encoded["base64"].as_str().unwrap())),
        }
    }
    for edit in case["edits"].as_array().unwrap() {
        folder.edit(edit[0].as_str().unwrap(), edit[1].as_str().unwrap(), edit.get(2).cloned());
    }
    folder.write_tensors(case["checkpoint"].as_array().unwrap());
    folder
}

fn differences(case: &Json, model: &Model) -> Vec<String> {
    let mut differences = Vec::new();
    let metadata: Vec<Json> = model.metadata.iter().map(|(key, value)| entry(key, value)).collect();
    compare(&case["metadata"], &metadata, &mut differences);
    let tensors: Vec<Json> = model
        .tensors
        .iter()
        .map(|tensor| match &tensor.data {
            TensorData::Pieces(_) => json!([tensor.name, tensor.shape, tensor.dtype.name()]),
            TensorData::Computed(values) => {
                let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
                json!([tensor.name, tensor.shape, tensor.dtype.name(), bits])
            }
        })
        .collect();
    compare(&case["tensors"], &tensors, &mut differences);
    differences
}

fn compare(want: &Json, got: &[Json], differences: &mut Vec<String>) {
    let want = want.as_array().unwrap();
    if want.len() != got.len() {
        let keys = |rows: &[Json]| rows.iter().map(|row| row[0].to_string()).collect::<Vec<_>>().join(" ");
        differences.push(format!("want {} rows, got {}:\n{}\n{}", want.len(), got.len(), keys(want), keys(got)));
    }
    let pairs = want.iter().zip(got).filter(|(want, got)| want != got);
    differences.extend(pairs.map(|(want, got)| format!("want {want}, got {got}")));
}

/// Key, type and value as identify.py writes them.
fn entry(key: &str, value: &Value) -> Json {
    let (kind, value) = match value {
        Value::String(text) => ("STRING", json!(text)),
        Value::U32(number) => ("UINT32", json!(number)),
        Value::I32(number) => ("INT32", json!(number)),
        Value::F32(number) => ("FLOAT32", json!(f64::from(*number))),
        Value::Bool(flag) => ("BOOL", json!(flag)),
        Value::Array(Array::String(texts)) => ("ARRAY/STRING", json!(texts)),
        Value::Array(Array::I32(numbers)) => ("ARRAY/INT32", json!(numbers)),
        Value::Array(Array::F32(numbers)) => {
            ("ARRAY/FLOAT32", json!(numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>()))
        }
        other => panic!("no such value is expected here: {other:?}"),
    };
    match value.as_array() {
        Some(items) if items.len() > 40 => {
            let digest = Sha256::digest(value.to_string());
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            json!([key, kind, [items.len(), digest]])
        }
        _ => json!([key, kind, value]),
    }
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let digits: Vec<u32> =
        digits.map(|byte| LETTERS.iter().position(|letter| *letter == byte).unwrap() as u32).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | group.get(i).copied().unwrap_or(0));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

// Whole files, whose digests show the row order in bytes, are compared elsewhere; this says whose rows it is.
#[test]
fn only_queries_and_keys_are_interleaved() {
    let model = Folder::new().identify().unwrap();
    for tensor in &model.tensors {
        let TensorData::Pieces(pieces) = &tensor.data else { continue };
        let want = match tensor.name.rsplit_once("attn_").map(|(_, rest)| rest) {
            Some("q.weight") => View::interleaved_halves(&tensor.shape, 4),
            Some("k.weight") => View::interleaved_halves(&tensor.shape, 1),
            _ => View::whole(&tensor.shape),
        };
        assert_eq!(pieces.iter().map(|piece| &piece.view).collect::<Vec<_>>(), [&want], "{}", tensor.name);
    }
}
