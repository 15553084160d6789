//! Structures of published tokenizers against golden/structures.json, whose names structures.py took from llama.cpp's
//! converter.

use serde_json::{Map, Value as Json, json};

use crate::Folder;

#[test]
fn names_are_the_converters() {
    let rows: Vec<Json> = serde_json::from_str(include_str!("../golden/structures.json")).unwrap();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in &rows {
        let folder = Folder::new(&json!({"architectures": [row["architecture"]]}));
        let mut vocabulary: Map<String, Json> = (0..10).map(|i| (format!("t{i}"), json!(i))).collect();
        for token in row["tokens"].as_array().unwrap() {
            vocabulary.insert(token.as_str().unwrap().to_owned(), json!(vocabulary.len()));
        }
        let begin = json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "t0", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}], "pair": []});
        let tokenizer = json!({
            "normalizer": row["normalizer"],
            "pre_tokenizer": row["pre_tokenizer"],
            "post_processor": if row["begins"] == true { begin } else { Json::Null },
            "model": {"type": "BPE", "ignore_merges": row["ignore_merges"], "vocab": vocabulary, "merges": []},
        });
        folder.write("tokenizer.json", tokenizer.to_string());
        let (metadata, _) = folder.vocabulary("ByteLevel", 20, None).unwrap_or_else(|error| panic!("{row}: {error}"));
        assert_eq!(metadata.string("tokenizer.ggml.pre"), row["name"].as_str(), "{}", row["source"]);
    }
}
