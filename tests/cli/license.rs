//! `--require-license`: stops before anything is written.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Tiny, folder, names, quantize, stderr};

/// A copy of the fixture whose card is this; none without one.
fn checkpoint(parent: &Path, card: Option<&str>) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let copy = parent.join("tiny-llama");
    fs::create_dir_all(&copy).unwrap();
    for name in names(&fixture) {
        fs::copy(fixture.join(&name), copy.join(name)).unwrap();
    }
    match card {
        Some(card) => fs::write(copy.join("README.md"), card).unwrap(),
        None => fs::remove_file(copy.join("README.md")).unwrap(),
    }
    copy
}

/// Standard error of a run that is refused; nothing may be written.
fn refused(input: &Path, accepted: &str) -> String {
    let out = folder();
    for extra in [&[] as &[&str], &["--dry-run"]] {
        let mut command = quantize();
        command.arg(input).args(["--q8", "--require-license", accepted, "-o"]).arg(out.path().join("new/"));
        let output = command.args(extra).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(output.stdout.is_empty() && names(out.path()).is_empty());
        if !extra.is_empty() {
            return stderr(&output);
        }
    }
    unreachable!("two runs")
}

fn accepted(input: &Path, accepted: &[&str]) {
    let output = quantize().arg(input).args(["--q8", "--dry-run"]).args(accepted).output().unwrap();
    assert!(output.status.success(), "{accepted:?}: {}", stderr(&output));
}

#[test]
fn the_card_decides_for_a_checkpoint() {
    let dir = folder();
    let input = checkpoint(dir.path(), Some("---\nlicense: Apache-2.0\n---\n"));
    accepted(&input, &["--require-license", "mit,APACHE-2.0"]);
    accepted(&input, &["--require-license", "mit", "--require-license", " apache-2.0 "]);
    accepted(&input.join("model.safetensors"), &["--require-license", "apache-2.0"]);
    let message = refused(&input, "mit,bsd-3-clause");
    for part in ["README.md", "Apache-2.0", "mit, bsd-3-clause"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    // Nor is a part of a name enough.
    refused(&input, "apache");
    refused(&input, "apache-2.0-or-later");
}

#[test]
fn a_licence_that_is_not_stated_is_not_accepted() {
    let dir = folder();
    for (card, reason) in [
        (None, "there is no such file"),
        (Some("# A model\nlicense: mit\n"), "states no licence"),
        (Some("---\nlicense:\n---\n"), "states no licence"),
        (Some("---\nlicense: ''\n---\n"), "states no licence"),
        (Some("---\nlicense: mit\ndescription: a: b\n---\n"), "front matter cannot be read"),
    ] {
        let message = refused(&checkpoint(dir.path(), card), "mit");
        assert!(message.contains("README.md") && message.contains(reason), "{card:?}: {message}");
    }
}

#[test]
fn of_several_licences_all_must_be_accepted() {
    let dir = folder();
    let input = checkpoint(dir.path(), Some("---\nlicense: [mit, cc-by-nc-4.0]\n---\n"));
    accepted(&input, &["--require-license", "cc-by-nc-4.0,mit"]);
    assert!(refused(&input, "mit").contains("mit,cc-by-nc-4.0"));
}

#[test]
fn the_name_stands_for_a_licence_without_an_identifier() {
    let dir = folder();
    let card = "---\nlicense: other\nlicense_name: llama3.1\nlicense_link: LICENSE\n---\n";
    let input = checkpoint(dir.path(), Some(card));
    accepted(&input, &["--require-license", "Llama3.1"]);
    assert!(refused(&input, "other").contains("other (llama3.1)"));
    accepted(&checkpoint(dir.path(), Some("---\nlicense: other\n---\n")), &["--require-license", "other"]);
}

#[test]
fn the_key_decides_for_a_gguf() {
    let dir = folder();
    let path = dir.path().join("tiny.gguf");
    let stated = Tiny::new().declare("general.license", "MIT").write(&path);
    accepted(&stated, &["--require-license", "mit"]);
    let message = refused(&stated, "apache-2.0");
    assert!(message.contains("general.license of") && message.contains("tiny.gguf"), "{message}");
    let message = refused(&Tiny::new().write(&path), "mit");
    assert!(message.contains("states no licence"), "{message}");
    // What is written instead is not what the model says.
    let output = quantize()
        .arg(&path)
        .args(["--q8", "--dry-run", "--require-license", "mit", "--override-kv", "general.license=str:mit"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn an_empty_identifier_is_a_wrong_argument() {
    for list in ["", "mit,", ","] {
        let output = quantize().args(["x.gguf", "--q8", "--require-license", list]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{list:?}");
    }
}

#[test]
fn the_licence_is_in_the_document() {
    let dir = folder();
    let card = "---\nlicense: other\nlicense_name: my-licence\nlicense_link: https://example.org\n---\n";
    let input = checkpoint(dir.path(), Some(card));
    let output = quantize().arg(&input).args(["--q8", "--dry-run", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let stated_in = input.join("README.md").display().to_string();
    let expected = json!({"id": "other", "name": "my-licence", "link": "https://example.org", "stated_in": stated_in});
    assert_eq!(document["preflight"]["license"], expected);
}
