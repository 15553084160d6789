//! Variants of the fixture against golden/identify.json, which identify.py made with llama.cpp's converter.

use serde_json::{Value as Json, json};
use weightmill::model::{Model, TensorData};
use weightmill::view::View;

use crate::Folder;
use crate::described::{base64, compare, entry};

#[test]
fn variants_equal_the_reference() {
    let cases = cases();
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

/// The cases, with the values that they share in place of their numbers.
fn cases() -> Vec<Json> {
    let mut golden: Json = serde_json::from_str(include_str!("../golden/identify.json")).unwrap();
    let values = golden["values"].take();
    let value = |number: &Json| values[number.as_u64().unwrap() as usize].clone();
    let Json::Array(mut cases) = golden["cases"].take() else { panic!("no cases") };
    for case in &mut cases {
        case["files"].as_object_mut().unwrap().values_mut().for_each(|content| *content = value(content));
        case["metadata"].as_array_mut().unwrap().iter_mut().for_each(|entry| *entry = value(entry));
        for list in ["checkpoint", "tensors"] {
            case[list] = value(&case[list]);
        }
    }
    cases
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
            TensorData::Pieces(_) | TensorData::Woven(..) => json!([tensor.name, tensor.shape, tensor.dtype.name()]),
            TensorData::Computed(values) => {
                let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
                json!([tensor.name, tensor.shape, tensor.dtype.name(), bits])
            }
        })
        .collect();
    compare(&case["tensors"], &tensors, &mut differences);
    differences
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
