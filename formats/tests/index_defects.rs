//! Models in several safetensors files, sound and broken.
#![allow(missing_docs)]

mod bytes;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::*;
use tempfile::TempDir;
use weightmill_formats::{Kind, Result, Source, open, safetensors};

const INDEX: &str = "model.safetensors.index.json";

/// A folder with an index and shards; each shard's tensors have one byte.
struct Model(TempDir);

impl Model {
    fn new(weight_map: &[(&str, &str)], shards: &[(&str, &[&str])]) -> Self {
        let model = Model(TempDir::new().unwrap());
        let rows: Vec<_> = weight_map.iter().map(|(tensor, file)| format!("{tensor:?}:{file:?}")).collect();
        let text = format!(r#"{{"metadata":{{"total_size":"lies"}},"weight_map":{{{}}}}}"#, rows.join(","));
        fs::write(model.path(INDEX), text).unwrap();
        for (file, tensors) in shards {
            fs::write(model.path(file), shard(tensors)).unwrap();
        }
        model
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn open(&self) -> Result<Box<dyn Source>> {
        open(&self.path(INDEX))
    }

    fn error(&self) -> weightmill_formats::Error {
        self.open().err().expect("a defect")
    }
}

/// A shard whose data are the first letters of its tensors' names.
fn shard(tensors: &[&str]) -> Vec<u8> {
    let row =
        |(n, name): (usize, &&str)| format!(r#"{name:?}:{{"dtype":"U8","shape":[1],"data_offsets":[{n},{}]}}"#, n + 1);
    let rows: Vec<_> = tensors.iter().enumerate().map(row).collect();
    let header = format!(r#"{{"__metadata__":{{"format":"pt"}},{}}}"#, rows.join(","));
    let data: Vec<_> = tensors.iter().map(|name| name.as_bytes()[0]).collect();
    Bytes::safetensors(&header, 0).raw(&data).0
}

#[test]
fn shards_are_read_in_order_of_their_names() {
    let map = [("b", "2.safetensors"), ("c", "1.safetensors"), ("a", "2.safetensors")];
    let model = Model::new(&map, &[("2.safetensors", &["b", "a"]), ("1.safetensors", &["c"])]);
    let source = model.open().unwrap();
    assert_eq!(source.format(), "safetensors");
    assert_eq!(source.files(), [model.path("1.safetensors"), model.path("2.safetensors")]);
    assert_eq!(source.metadata().string("format"), Some("pt"));
    let tensors: Vec<_> = source.tensors().iter().map(|t| (t.name.as_str(), t.file, source.view(t))).collect();
    assert_eq!(tensors, [("c", 0, &b"c"[..]), ("b", 1, b"b"), ("a", 1, b"a")]);
}

#[test]
fn a_missing_shard() {
    let model = Model::new(&[("a", "1.safetensors"), ("b", "2.safetensors")], &[("1.safetensors", &["a"])]);
    let result: Result<()> = Err(model.error());
    let message = assert_defect!(result, Kind::MissingFile { name } if name == "2.safetensors", None, None);
    assert!(message.contains("fetch the missing file"), "{message}");
}

#[test]
fn names_that_leave_the_folder() {
    for name in ["../x.safetensors", "/etc/passwd", "a/../../x", "..", ".", "./a", "a//b", "a/", ""] {
        let text = format!(r#"{{"weight_map":{{"t":{name:?}}}}}"#);
        let result = safetensors::parse_index(text.as_bytes(), Path::new(INDEX));
        assert_defect!(result, Kind::OutsideFolder { name: n } if n == name, tensor("t"), Some(19));
    }
    let text = r#"{"weight_map":{"t":"a\u0000b"}}"#;
    assert!(safetensors::parse_index(text.as_bytes(), Path::new(INDEX)).is_err());
    let text = r#"{"weight_map":{"t":"sub/..a.safetensors"}}"#;
    assert!(safetensors::parse_index(text.as_bytes(), Path::new(INDEX)).is_ok());
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_folder() {
    use std::os::unix::fs::symlink;

    let outside = Model::new(&[], &[("x.safetensors", &["a"])]);
    let model = Model::new(&[("a", "x.safetensors")], &[]);
    symlink(outside.path("x.safetensors"), model.path("x.safetensors")).unwrap();
    let result: Result<()> = Err(model.error());
    assert_defect!(result, Kind::OutsideFolder { name } if name == "x.safetensors", None, None);

    // A linked folder is no better than a linked file.
    let model = Model::new(&[("a", "sub/x.safetensors")], &[]);
    symlink(outside.0.path(), model.path("sub")).unwrap();
    assert!(matches!(model.error().kind(), Kind::OutsideFolder { .. }));

    // A link inside the folder is fine.
    let model = Model::new(&[("a", "x.safetensors")], &[("y.safetensors", &["a"])]);
    symlink("y.safetensors", model.path("x.safetensors")).unwrap();
    assert_eq!(model.open().unwrap().tensors().len(), 1);

    // A dangling one is a missing file.
    let model = Model::new(&[("a", "x.safetensors")], &[]);
    symlink("nowhere", model.path("x.safetensors")).unwrap();
    assert!(matches!(model.error().kind(), Kind::MissingFile { .. }));
}

/// `models--X/snapshots/REVISION/FILE` links to `models--X/blobs/HASH`: the cache of the Hugging Face hub.
#[cfg(unix)]
#[test]
fn links_of_the_hub_cache_are_followed() {
    use std::os::unix::fs::symlink;

    let cache = TempDir::new().unwrap();
    let (blobs, snapshot) = (cache.path().join("m/blobs"), cache.path().join("m/snapshots/0123"));
    fs::create_dir_all(&blobs).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(blobs.join("aa"), shard(&["a"])).unwrap();
    fs::write(blobs.join("bb"), r#"{"weight_map":{"a":"x.safetensors"}}"#).unwrap();
    symlink("../../blobs/aa", snapshot.join("x.safetensors")).unwrap();
    symlink("../../blobs/bb", snapshot.join(INDEX)).unwrap();
    assert_eq!(open(&snapshot.join(INDEX)).unwrap().tensors().len(), 1);

    // Not everything above a snapshot is a blob.
    fs::write(cache.path().join("m/other"), shard(&["a"])).unwrap();
    fs::remove_file(snapshot.join("x.safetensors")).unwrap();
    symlink("../../other", snapshot.join("x.safetensors")).unwrap();
    assert!(matches!(open(&snapshot.join(INDEX)).err().unwrap().kind(), Kind::OutsideFolder { .. }));
}

#[test]
fn a_tensor_that_the_shard_lacks() {
    let model = Model::new(&[("a", "1.safetensors"), ("b", "1.safetensors")], &[("1.safetensors", &["a"])]);
    let error = model.error();
    assert_eq!(error.in_file(), Some(model.path("1.safetensors").as_path()));
    let result: Result<()> = Err(error);
    assert_defect!(result, Kind::MissingTensor, tensor("b"), None);
}

#[test]
fn a_tensor_that_the_index_does_not_list() {
    let model = Model::new(&[("a", "1.safetensors")], &[("1.safetensors", &["a", "b"])]);
    let at = shard(&["a", "b"]).len() as u64 - 1;
    let result: Result<()> = Err(model.error());
    assert_defect!(result, Kind::Unlisted, tensor("b"), Some(at));
    // Or lists elsewhere.
    let map = [("a", "1.safetensors"), ("b", "2.safetensors")];
    let model = Model::new(&map, &[("1.safetensors", &["a", "b"]), ("2.safetensors", &["b"])]);
    assert!(matches!(model.error().kind(), Kind::Unlisted));
}

#[test]
fn a_name_in_two_shards() {
    let map = [("a", "1.safetensors"), ("b", "2.safetensors")];
    let model = Model::new(&map, &[("1.safetensors", &["a"]), ("2.safetensors", &["b", "a"])]);
    let error = model.error();
    assert_eq!(error.in_file(), Some(model.path("2.safetensors").as_path()));
    assert!(matches!(error.kind(), Kind::Duplicate), "{error}");
    assert_eq!(error.about(), tensor("a").as_ref());
}

#[test]
fn a_broken_shard_is_named() {
    let model = Model::new(&[("a", "1.safetensors")], &[]);
    fs::write(model.path("1.safetensors"), b"short").unwrap();
    let error = model.error();
    assert_eq!(error.in_file(), Some(model.path("1.safetensors").as_path()));
    assert!(matches!(error.kind(), Kind::Truncated { .. }));
    fs::remove_file(model.path("1.safetensors")).unwrap();
    fs::create_dir(model.path("1.safetensors")).unwrap();
    assert!(matches!(model.error().kind(), Kind::NotAFile));
}

#[test]
fn text_that_is_no_index() {
    let parse = |text: &str| safetensors::parse_index(text.as_bytes(), Path::new(INDEX));
    assert_defect!(parse("{}"), Kind::Incomplete { what: "weight_map" }, None, None);
    assert_defect!(parse(r#"{"weight_map":{"a":"#), Kind::Json { .. }, None, Some(18));
    assert_defect!(parse(r#"{"weight_map":{"a":1}}"#), Kind::Json { .. }, tensor("a"), Some(19));
    assert_defect!(parse(r#"{"weight_map":{"a":"x","a":"x"}}"#), Kind::Duplicate, tensor("a"), Some(27));
    let result = safetensors::parse_index(b"{\"weight\xff_map\":{}}", Path::new(INDEX));
    assert_defect!(result, Kind::Utf8 { .. }, None, Some(8));
}
