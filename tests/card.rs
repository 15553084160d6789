//! `general.*` metadata against what llama.cpp's gguf-py derived.

use serde_json::{Value as Json, json};
use weightmill::card::{ParameterCounts, Sources, general};
use weightmill_formats::{Array, Metadata, Value};

fn counts(total: u64) -> ParameterCounts {
    ParameterCounts { total, shared: total, ..ParameterCounts::default() }
}

/// Name of the GGUF type and value, as gguf-py's reader prints them.
fn describe(value: &Value) -> (&'static str, Json) {
    match value {
        Value::String(text) => ("STRING", json!(text)),
        Value::U32(n) => ("UINT32", json!(n)),
        Value::I32(n) => ("INT32", json!(n)),
        Value::F32(x) => ("FLOAT32", json!(f64::from(*x))),
        Value::Array(Array::String(texts)) => ("ARRAY/STRING", json!(texts)),
        Value::Array(Array::I32(numbers)) => ("ARRAY/INT32", json!(numbers)),
        Value::Array(Array::Bool(truths)) => ("ARRAY/BOOL", json!(truths)),
        other => panic!("no such value is expected here: {other:?}"),
    }
}

fn entries(metadata: &Metadata) -> Vec<Json> {
    metadata
        .iter()
        .map(|(key, value)| {
            let (ty, value) = describe(value);
            json!([key, ty, value])
        })
        .collect()
}

// golden/names.json was made from folder names alone: 8 billion weights, and no label from the count of weights.
#[test]
fn folder_names() {
    let golden: Json = serde_json::from_str(include_str!("golden/names.json")).unwrap();
    let mut failures = Vec::new();
    let cases = golden["keys"].as_object().unwrap();
    assert_eq!(cases.len(), 32);
    for (case, want) in cases {
        let (folder_name, card) = case.split_once(" | ").unwrap();
        let counts = counts(8_030_261_248);
        let (metadata, notes) = general(&Sources {
            architecture: "llama",
            folder_name,
            readme: golden["cards"][card].as_str(),
            config: &json!({}),
            generation_config: None,
            counts,
        });
        let told = want.as_array().unwrap().iter().any(|entry| entry[0] == "general.size_label");
        let got: Vec<Json> = metadata
            .iter()
            .skip(2)
            .filter(|&(key, _)| told || key != "general.size_label")
            .map(|(key, value)| json!([key, describe(value).1]))
            .collect();
        if json!(got) != *want || !notes.is_empty() {
            failures.push(format!("{case}:\n want {want}\n got  {}\n notes {notes:?}", json!(got)));
        }
        if !told {
            assert_eq!(metadata.string("general.size_label"), Some("8.0B"), "{case}");
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn cards_names_and_sizes() {
    let golden: Vec<Json> = serde_json::from_str(include_str!("golden/cards.json")).unwrap();
    assert!(golden.len() > 100);
    let mut failures = Vec::new();
    for case in &golden {
        let (metadata, notes) = general(&Sources {
            architecture: "llama",
            folder_name: case["folder"].as_str().unwrap(),
            readme: case["readme"].as_str(),
            config: &case["config"],
            generation_config: Some(&case["generation_config"]),
            counts: counts(case["weights"].as_u64().unwrap()),
        });
        // Where gguf-py raises there are no bytes to equal, but nothing may pass silently.
        let failed = match &case["metadata"] {
            Json::Null => notes.is_empty(),
            want => json!(entries(&metadata)) != *want,
        };
        if failed {
            failures.push(format!("{case}\n got {}\n notes {notes:?}", json!(entries(&metadata))));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), golden.len(), failures.join("\n"));
}

fn with_card(readme: &str) -> (Metadata, Vec<String>) {
    general(&Sources {
        architecture: "llama",
        folder_name: "m",
        readme: Some(readme),
        config: &Json::Null,
        generation_config: None,
        counts: counts(1),
    })
}

#[test]
fn hostile_cards_are_ignored_with_a_note() {
    let mut bombs = String::from("---\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..30 {
        let uses = vec![format!("*a{}", i - 1); 10].join(", ");
        bombs += &format!("a{i}: &a{i} [{uses}]\n");
    }
    let long = "x".repeat(100_000);
    let copies = format!("---\na: &a {long}\nb: [{}]\n---\n", ["*a"; 20_000].join(", "));
    let deep = format!("---\na: {}{}\n---\n", "[".repeat(50_000), "]".repeat(50_000));
    let nested_maps = format!("---\n{}\n---\n", (0..500).map(|i| " ".repeat(i) + "a:\n").collect::<String>());
    for card in [bombs, copies, deep, nested_maps, "---\na: [1, 2\n---\n".to_owned(), "---\nx: *y\n---\n".to_owned()] {
        let (metadata, notes) = with_card(&card);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("README.md: the front matter is ignored: "), "{notes:?}");
        assert_eq!(metadata.string("general.name"), Some("M"));
    }
}
