//! Tiny vocabularies against golden/vocabularies.json, which vocabularies.py made with llama.cpp's converter.

use serde_json::Value as Json;
use weightmill::tokenizer::Vocabulary;

use crate::Folder;
use crate::described::{base64, compare, entry};

#[test]
fn every_form_equals_the_reference() {
    let golden: Json = serde_json::from_str(include_str!("../golden/vocabularies.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 22, "{}", cases.len());
    let mut differences = Vec::new();
    for case in cases {
        let folder = set_up(case, &golden["contents"]);
        // the files tell the name that the converter was told
        let made = folder.vocabulary(kind(case), rows(case), None);
        let name = case["case"].as_str().unwrap();
        let mut here = Vec::new();
        match made {
            Ok((metadata, _)) => {
                let got: Vec<Json> = metadata.iter().map(|(key, value)| entry(key, value)).collect();
                compare(&case["metadata"], &got, &mut here);
            }
            Err(error) => here.push(error.to_string()),
        }
        differences.extend(here.into_iter().map(|difference| format!("{name}: {difference}")));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn every_kind_has_a_case() {
    let golden: Json = serde_json::from_str(include_str!("../golden/vocabularies.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    // conversion/chatglm.py asks for code from the hub where it stands; defects.rs sees its roles
    for vocabulary in Vocabulary::ALL.into_iter().filter(|vocabulary| *vocabulary != Vocabulary::Glm) {
        let name = format!("{vocabulary:?}");
        assert!(cases.iter().any(|case| case["vocabulary"] == name.as_str()), "{name}");
    }
}

#[test]
fn a_name_replaces_what_files_tell() {
    let golden: Json = serde_json::from_str(include_str!("../golden/vocabularies.json")).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let made = set_up(case, &golden["contents"]).vocabulary(kind(case), rows(case), Some("viking"));
        match (case["pre"].as_str(), made) {
            (Some(_), Ok((metadata, _))) => assert_eq!(metadata.string("tokenizer.ggml.pre"), Some("viking"), "{case}"),
            (None, Err(error)) => {
                assert!(error.to_string().contains("--pre viking has no effect"), "{error}");
            }
            (_, made) => panic!("{}: {:?}", case["case"], made.err()),
        }
    }
}

fn kind(case: &Json) -> &str {
    case["vocabulary"].as_str().unwrap()
}

fn rows(case: &Json) -> u32 {
    case["rows"].as_u64().unwrap().try_into().unwrap()
}

fn set_up(case: &Json, contents: &Json) -> Folder {
    let folder = Folder::new(&case["config"]);
    for (file, index) in case["files"].as_object().unwrap() {
        let content = &contents[index.as_u64().unwrap() as usize];
        match content.as_str() {
            Some(text) => folder.write(file, text),
            None => folder.write(file, base64(content["base64"].as_str().unwrap())),
        }
    }
    folder
}
