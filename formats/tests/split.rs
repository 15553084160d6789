//! GGUF models in several files, sound and broken.
#![allow(missing_docs)]

mod bytes;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::*;
use tempfile::TempDir;
use weightmill_formats::gguf::{PartName, part_name};
use weightmill_formats::{Kind, Result, open};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The three parts of the fixture, each given as the one to open: same tensors in the same order.
#[test]
fn any_part_opens_the_whole() {
    let paths: Vec<_> = (0..3).map(|part| fixtures().join(part_name("part", part, 3))).collect();
    let mut names = Vec::new();
    for given in &paths {
        let source = open(given).unwrap();
        assert_eq!(source.files(), paths);
        assert_eq!(source.metadata().string("general.architecture"), Some("llama"));
        assert_eq!(source.metadata().unsigned("split.no"), Some(0));
        let tensors: Vec<_> = source.tensors().iter().map(|t| (t.name.clone(), t.file)).collect();
        assert_eq!(tensors.iter().map(|t| t.1).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
        assert_eq!((tensors[0].0.as_str(), tensors[5].0.as_str()), ("token_embd.weight", "output.weight"));
        let file = fs::read(&paths[2]).unwrap();
        let last = &source.tensors()[5];
        assert_eq!(source.view(last), &file[last.offset as usize..][..8 * 32 * 4]);
        names.push(tensors);
    }
    assert!(names.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn names_of_parts() {
    let name = |path: &str| PartName::of(Path::new(path)).map(|name| (name.stem, name.number, name.count));
    assert_eq!(name("a/b-00001-of-00003.gguf"), Some(("b".to_owned(), 0, 3)));
    assert_eq!(name("x-of-y-65535-of-65535.gguf"), Some(("x-of-y".to_owned(), 65534, 65535)));
    assert_eq!(part_name("x-of-y", 65534, 65535), "x-of-y-65535-of-65535.gguf");
    for other in ["b.gguf", "b-00000-of-00003.gguf", "b-00004-of-00003.gguf", "b-1-of-3.gguf", "b-00001-of-99999.gguf"]
    {
        assert_eq!(name(other), None, "{other}");
    }
    for other in ["b-00001-of-00003.GGUF", "b-+0001-of-00003.gguf", "b-000010-of-00003.gguf", ""] {
        assert_eq!(name(other), None, "{other}");
    }
}

/// A part with one tensor of four bytes.
fn part(number: u16, count: u16, tensors: i32, tensor: &str) -> Bytes {
    let bytes = Bytes::gguf(3, 1, 3).key("split.no", U16).u16(number).key("split.count", U16).u16(count);
    bytes.key("split.tensors.count", I32).i32(tensors).tensor(tensor, &[1], F32, 0).pad(32).zeros(4)
}

struct Model(TempDir);

impl Model {
    fn new(parts: &[(&str, Bytes)]) -> Self {
        let folder = TempDir::new().unwrap();
        parts.iter().for_each(|(name, bytes)| fs::write(folder.path().join(name), &bytes.0).unwrap());
        Model(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn error(&self, name: &str, blamed: &str) -> Result<()> {
        let error = open(&self.path(name)).err().expect("a defect");
        assert_eq!(error.in_file(), Some(self.path(blamed).as_path()), "{error}");
        Err(error)
    }
}

const FIRST: &str = "m-00001-of-00002.gguf";
const SECOND: &str = "m-00002-of-00002.gguf";

#[test]
fn two_sound_parts() {
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a")), (SECOND, part(1, 2, 2, "b"))]);
    assert_eq!(open(&model.path(SECOND)).unwrap().tensors().len(), 2);
    // One part alone is no split model, whatever its name.
    let model = Model::new(&[("m.gguf", part(0, 1, 1, "a"))]);
    assert_eq!(open(&model.path("m.gguf")).unwrap().tensors().len(), 1);
}

#[test]
fn a_missing_part() {
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a"))]);
    assert_defect!(model.error(FIRST, FIRST), Kind::MissingFile { name } if name == SECOND, None, None);
    let model = Model::new(&[(SECOND, part(1, 2, 2, "a"))]);
    assert_defect!(model.error(SECOND, SECOND), Kind::MissingFile { name } if name == FIRST, None, None);
}

#[test]
fn a_renamed_part() {
    let model = Model::new(&[("renamed.gguf", part(0, 2, 2, "a"))]);
    assert_defect!(model.error("renamed.gguf", "renamed.gguf"), Kind::SplitName, None, None);
    let model = Model::new(&[(FIRST, part(1, 2, 2, "a")), (SECOND, part(0, 2, 2, "b"))]);
    let expected = Kind::Split { what: "split.no", found: 1, expected: 0 }.to_string();
    let message = assert_defect!(model.error(FIRST, FIRST), Kind::Split { .. }, key("split.no"), None);
    assert!(message.contains(&expected), "{message}");
}

#[test]
fn parts_that_disagree() {
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a")), (SECOND, part(0, 2, 2, "b"))]);
    assert_defect!(model.error(FIRST, SECOND), Kind::Split { found: 0, expected: 1, .. }, key("split.no"), None);
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a")), (SECOND, part(1, 3, 2, "b"))]);
    assert_defect!(model.error(FIRST, SECOND), Kind::Split { found: 3, expected: 2, .. }, key("split.count"), None);
    let model = Model::new(&[(FIRST, part(0, 3, 2, "a")), (SECOND, part(1, 3, 2, "b"))]);
    assert_defect!(model.error(FIRST, FIRST), Kind::Split { found: 3, expected: 2, .. }, key("split.count"), None);
    for (first, second, blamed) in [(3, 2, FIRST), (2, 3, SECOND)] {
        let model = Model::new(&[(FIRST, part(0, 2, first, "a")), (SECOND, part(1, 2, second, "b"))]);
        let result = model.error(FIRST, blamed);
        assert_defect!(result, Kind::Split { found: 3, expected: 2, .. }, key("split.tensors.count"), None);
    }
}

#[test]
fn a_tensor_in_two_parts() {
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a")), (SECOND, part(1, 2, 2, "a"))]);
    let at = part(1, 2, 2, "a").at() - 4;
    assert_defect!(model.error(FIRST, SECOND), Kind::Duplicate, tensor("a"), Some(at));
}

#[test]
fn keys_of_the_wrong_type() {
    let text = Bytes::gguf(3, 0, 1).key("split.count", STRING).string("2");
    let model = Model::new(&[(FIRST, text)]);
    let result = model.error(FIRST, FIRST);
    assert_defect!(result, Kind::WrongType { found: "str", .. }, key("split.count"), None);
    let lacking = Bytes::gguf(3, 0, 1).key("split.count", U16).u16(2);
    let model = Model::new(&[(FIRST, lacking)]);
    let result = model.error(FIRST, FIRST);
    assert_defect!(result, Kind::WrongType { found: "missing", .. }, key("split.no"), None);
}

#[test]
fn a_broken_part_is_named() {
    let mut second = part(1, 2, 2, "b");
    second.0.truncate(60);
    let model = Model::new(&[(FIRST, part(0, 2, 2, "a")), (SECOND, second)]);
    let result = model.error(FIRST, SECOND);
    assert!(matches!(result.unwrap_err().kind(), Kind::Truncated { .. } | Kind::Count { .. }));
}
