//! Telling formats apart, and what the maps do.
#![allow(missing_docs)]

mod bytes;

use std::fs;
use std::path::PathBuf;

use bytes::*;
use tempfile::TempDir;
use weightmill_formats::mmap::{Access, Map};
use weightmill_formats::{FORMATS, Kind, open};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn gguf() -> Bytes {
    Bytes::gguf(3, 1, 0).tensor("a", &[3], F32, 0).pad(32).floats(&[1.0, 2.0, 3.0])
}

fn safetensors() -> Bytes {
    Bytes::safetensors(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}"#, 0).floats(&[1.0, 2.0, 3.0])
}

#[test]
fn content_tells_the_format_whatever_the_name() {
    let folder = Folder::new();
    for name in ["x.gguf", "x.safetensors", "x", "X.BIN"] {
        for (bytes, format) in [(gguf(), "gguf"), (safetensors(), "safetensors")] {
            let path = folder.write(name, &bytes.0);
            let source = open(&path).unwrap();
            assert_eq!(source.format(), format);
            assert_eq!(source.files(), [path.as_path()]);
            assert_eq!(source.view(&source.tensors()[0]), Bytes::default().floats(&[1.0, 2.0, 3.0]).0);
        }
    }
}

#[test]
fn a_damaged_file_is_judged_by_its_name() {
    let folder = Folder::new();
    for (name, bytes) in [("a.gguf", &b"GG"[..]), ("b.GGUF", b""), ("c.gguf", b"<html>")] {
        let error = open(&folder.write(name, bytes)).err().unwrap();
        assert!(matches!(error.kind(), Kind::Magic { .. }), "{name}: {error}");
    }
    let error = open(&folder.write("x.safetensors", b"short")).err().unwrap();
    assert!(matches!(error.kind(), Kind::Truncated { .. }), "{error}");
    let error = open(&folder.write("model.safetensors.index.json", b"short")).err().unwrap();
    assert!(matches!(error.kind(), Kind::Json { .. }), "{error}");
}

#[test]
fn a_pointer_is_not_the_file() {
    let folder = Folder::new();
    for name in ["x.gguf", "x.safetensors", "x.safetensors.index.json"] {
        let path = folder.write(name, b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n");
        let error = open(&path).err().unwrap();
        assert!(matches!(error.kind(), Kind::LfsPointer), "{error}");
        assert!(error.to_string().contains("git lfs pull"), "{error}");
    }
}

#[test]
fn what_is_no_model() {
    let folder = Folder::new();
    let path = folder.write("model.dat", b"neither this nor that");
    let error = open(&path).err().unwrap();
    assert!(matches!(error.kind(), Kind::UnknownFormat), "{error}");
    assert_eq!(error.in_file(), Some(path.as_path()));
    let error = open(folder.0.path()).err().unwrap();
    assert!(matches!(error.kind(), Kind::NotAFile), "{error}");
    assert!(error.to_string().contains("name a file"), "{error}");
    let missing = folder.0.path().join("nothing.gguf");
    let error = open(&missing).err().unwrap();
    assert!(matches!(error.kind(), Kind::Io { action: "open", .. }), "{error}");
    assert_eq!(error.in_file(), Some(missing.as_path()));
}

#[test]
fn rows_of_the_table_are_distinct() {
    for (n, format) in FORMATS.iter().enumerate() {
        for other in &FORMATS[n + 1..] {
            assert!(format.name != other.name && format.suffixes.iter().all(|suffix| !other.suffixes.contains(suffix)));
        }
    }
}

#[test]
fn an_empty_file_maps_to_nothing() {
    let folder = Folder::new();
    let map = Map::open(&folder.write("empty", b"")).unwrap();
    assert!(map.bytes().is_empty());
    map.release(0..10);
    map.advise(Access::Sequential, 0..u64::MAX);
}

/// Released pages leave memory and come back with the same content.
#[test]
fn released_ranges_keep_their_content() {
    let folder = Folder::new();
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let map = Map::open(&folder.write("data", &content)).unwrap();
    map.advise(Access::WillNeed, 0..content.len() as u64);
    assert!(map.bytes() == content);
    let before = resident(&map);
    for begin in (0..content.len() as u64).step_by(100_001) {
        map.release(begin..begin + 100_001);
    }
    if let (Some(before), Some(after)) = (before, resident(&map)) {
        assert!(before >= content.len() as u64, "{before} of {} bytes were resident", content.len());
        assert_eq!(after, 0);
    }
    map.release(5..5);
    map.release(u64::MAX - 1..u64::MAX);
    assert!(map.bytes() == content);
}

/// Resident bytes of a map, where the system tells.
fn resident(map: &Map) -> Option<u64> {
    let name = map.path().canonicalize().unwrap();
    let smaps = fs::read_to_string("/proc/self/smaps").ok()?;
    let mut lines = smaps.lines().skip_while(|line| !line.ends_with(name.to_str().unwrap()));
    let rss = lines.find_map(|line| line.strip_prefix("Rss:")).expect("the map is listed");
    Some(rss.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024)
}

#[test]
fn a_file_that_changes_is_noticed() {
    let folder = Folder::new();
    let path = folder.write("x.gguf", &gguf().0);
    let source = open(&path).unwrap();
    source.check_unchanged().unwrap();
    let tensor = &source.tensors()[0];
    source.prefetch(tensor, 0..1 << 40);
    source.release(tensor, 0..u64::MAX);
    fs::write(&path, gguf().zeros(1).0).unwrap();
    let error = source.check_unchanged().unwrap_err();
    assert!(matches!(error.kind(), Kind::Changed), "{error}");
    assert_eq!(error.in_file(), Some(path.as_path()));
}
