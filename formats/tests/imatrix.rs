//! Reading importance matrices of both forms, sound and broken.
#![allow(missing_docs)]

mod bytes;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::*;
use weightmill_formats::imatrix::{Cause, Gap, Imatrix};
use weightmill_formats::{Importance, Kind, Result, imatrix};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn parse(bytes: &Bytes) -> Result<Importance> {
    imatrix::parse(&bytes.0, Path::new("imatrix")).map(Imatrix::into_importance)
}

/// Against the values that the reference takes from the same file (fixtures/make.py).
#[test]
fn gguf_form_gives_the_references_values() {
    let importance = imatrix::open(&fixture("imatrix.gguf")).unwrap().into_importance();
    assert_eq!(importance.datasets, ["text/calibration.txt", "second.txt"]);
    assert_eq!(importance.chunks, 12);
    let names: Vec<_> = importance.entries.keys().map(String::as_str).collect();
    assert_eq!(names, ["blk.1.ffn_down.weight", "blk.0.ffn_up_exps.weight"]);
    let mut by_name: Vec<_> = importance.entries.iter().collect();
    by_name.sort_by_key(|(name, _)| *name);
    let values = by_name.into_iter().flat_map(|(_, values)| values).flat_map(|value| value.to_le_bytes());
    assert_eq!(values.collect::<Vec<_>>(), fs::read(fixture("imatrix.f32")).unwrap());
    // The expert that saw nothing.
    assert_eq!(importance.get("blk.0.ffn_up_exps.weight").unwrap()[6..12], [1.0; 6]);
    assert_eq!(importance.gaps, [gap("blk.0.ffn_up_exps.weight", 6..12, Cause::Unseen)]);
}

fn gap(entry: &str, values: Range<usize>, cause: Cause) -> Gap {
    Gap { entry: entry.to_owned(), values, cause }
}

const DATASETS: &str = "imatrix.datasets";

/// Metadata and tensor table of the GGUF form.
fn header(tensors: u64) -> Bytes {
    let bytes = Bytes::gguf(3, tensors, 3).key(DATASETS, ARRAY).u32(STRING).u64(1).string("t");
    bytes.key("imatrix.chunk_count", U32).u32(2).key("imatrix.chunk_size", U32).u32(512)
}

/// One entry `x` of two experts and two columns, with these sums and counts.
fn entry_of(sums: [f32; 4], counts: [f32; 2]) -> Bytes {
    let table = header(2).tensor("x.in_sum2", &[2, 2], F32, 0).tensor("x.counts", &[1, 2], F32, 32);
    table.pad(32).floats(&sums).pad(32).floats(&counts).pad(32)
}

#[test]
fn gguf_form_divides_by_rounded_counts() {
    let values = |counts| parse(&entry_of([1.0, 2.0, 3.0, 8.0], counts)).unwrap().entries["x"].clone();
    assert_eq!(values([2.0, 4.0]), [0.5, 1.0, 0.75, 2.0]);
    assert_eq!(values([0.0, 1.0]), [1.0, 1.0, 3.0, 8.0]);
    // As lround: halves away from zero.
    assert_eq!(values([0.4, 2.5]), [1.0, 1.0, 1.0, 8.0 / 3.0]);
}

#[test]
fn gguf_form_with_bad_numbers() {
    let at = |needle: u64| Some(entry_of([0.0; 4], [0.0; 2]).at() - needle);
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        // A gap of that matrix alone.
        let importance = parse(&entry_of([2.0, 4.0, bad, 1.0], [2.0, 1.0])).unwrap();
        assert_eq!(importance.entries["x"], [1.0, 2.0, 1.0, 1.0]);
        let [Gap { values, cause: Cause::BadValue { index: 2, found }, .. }] = &importance.gaps[..] else {
            panic!("{:?}", importance.gaps)
        };
        assert_eq!(*values, 2..4);
        assert_eq!(found.to_bits(), bad.to_bits());
        let result = parse(&entry_of([1.0; 4], [1.0, bad]));
        assert_defect!(result, Kind::BadValue { index: 1, .. }, tensor("x.counts"), at(28));
    }
    let result = parse(&entry_of([1.0; 4], [1e30, 1.0]));
    assert_defect!(result, Kind::BadValue { index: 0, .. }, tensor("x.counts"), at(32));
    // Sums that are wrong but unused are not looked at.
    let importance = parse(&entry_of([f32::NAN, 1.0, 1.0, 1.0], [0.0, 1.0])).unwrap();
    assert_eq!(importance.gaps, [gap("x", 0..2, Cause::Unseen)]);
}

#[test]
fn gguf_form_without_its_keys_is_none() {
    let bytes = Bytes::gguf(3, 0, 1).key("general.architecture", STRING).string("llama");
    assert_defect!(parse(&bytes), Kind::WrongType { found: "missing", .. }, key(DATASETS), None);
    let bytes = Bytes::gguf(3, 0, 1).key(DATASETS, STRING).string("t");
    assert_defect!(parse(&bytes), Kind::WrongType { found: "str", .. }, key(DATASETS), None);
    let datasets = |entries| Bytes::gguf(3, 0, entries).key(DATASETS, ARRAY).u32(STRING).u64(0);
    let bytes = datasets(1);
    assert_defect!(parse(&bytes), Kind::WrongType { found: "missing", .. }, key("imatrix.chunk_count"), None);
    let bytes = datasets(2).key("imatrix.chunk_count", 10).u64(3);
    assert_defect!(parse(&bytes), Kind::WrongType { found: "u64", .. }, key("imatrix.chunk_count"), None);
    let bytes = datasets(2).key("imatrix.chunk_count", U32).u32(3);
    assert_defect!(parse(&bytes), Kind::WrongType { found: "missing", .. }, key("imatrix.chunk_size"), None);
    assert_defect!(parse(&header(0)), Kind::Incomplete { what: "entries" }, None, None);
}

#[test]
fn gguf_form_with_half_an_entry() {
    let bytes = header(1).tensor("x.counts", &[1], F32, 0).pad(32).floats(&[1.0]);
    assert_defect!(parse(&bytes), Kind::Incomplete { what: "sums (.in_sum2)" }, entry("x"), None);
    let bytes = header(1).tensor("x.in_sum2", &[1], F32, 0).pad(32).floats(&[1.0]);
    assert_defect!(parse(&bytes), Kind::Incomplete { what: "counts (.counts)" }, entry("x"), None);
    let table = header(2).tensor("x.in_sum2", &[3], F32, 0).tensor("x.counts", &[2], F32, 32);
    let bytes = table.pad(32).floats(&[1.0; 8]).floats(&[1.0; 2]);
    assert_defect!(parse(&bytes), Kind::Counts { sums: 3, counts: 2 }, entry("x"), Some(bytes.at() - 40));
    let table = header(2).tensor("x.in_sum2", &[1], F32, 0).tensor("x.counts", &[1], 1, 32);
    let bytes = table.pad(32).zeros(34);
    assert_defect!(parse(&bytes), Kind::WrongType { found: "F16", .. }, tensor("x.counts"), Some(bytes.at() - 2));
}

/// The older form, up to where the number of chunks may follow.
fn dat() -> Bytes {
    let bytes = Bytes::default().i32(2).short_string("b").i32(4).i32(3).floats(&[2.0, 3.0, 0.0]);
    bytes.short_string("a").i32(0).i32(1).floats(&[0.75])
}

#[test]
fn dat_form_divides_by_calls() {
    let importance = parse(&dat()).unwrap();
    let entries: Vec<_> = importance.entries.iter().map(|(name, values)| (name.as_str(), values.as_slice())).collect();
    assert_eq!(entries, [("b", &[0.5, 0.75, 0.0][..]), ("a", &[0.75])]);
    assert_eq!((importance.chunks, importance.datasets.len()), (0, 0));

    let importance = parse(&dat().i32(7)).unwrap();
    assert_eq!((importance.chunks, importance.datasets.len()), (7, 0));
    let importance = parse(&dat().i32(7).short_string("")).unwrap();
    assert_eq!((importance.chunks, importance.datasets.len()), (7, 0));
    let importance = parse(&dat().i32(7).short_string("wiki.raw")).unwrap();
    assert_eq!((importance.chunks, importance.datasets), (7, vec!["wiki.raw".to_owned()]));
}

#[test]
fn dat_form_truncated() {
    let sound = dat().i32(7).short_string("wiki.raw").0;
    let ends = [dat().0.len(), dat().0.len() + 4];
    for length in (0..sound.len()).filter(|length| !ends.contains(length)) {
        let error = imatrix::parse(&sound[..length], Path::new("i")).unwrap_err();
        assert!(matches!(error.kind(), Kind::Truncated { .. } | Kind::Count { .. }), "{length}: {error}");
    }
    let result = parse(&dat().i32(7).short_string("wiki.raw").u8(0));
    assert_defect!(result, Kind::Trailing { by: 1 }, None, Some(sound.len() as u64));
}

#[test]
fn dat_form_with_bad_counts() {
    for found in [0, -1, i32::MIN] {
        let bad = |at: u64, item, bytes: &Bytes| {
            assert_defect!(parse(bytes), Kind::BadCount { found: f, .. } if *f == i64::from(found), item, Some(at));
        };
        bad(0, None, &Bytes::default().i32(found).zeros(100));
        bad(4, None, &Bytes::default().i32(1).i32(found).zeros(100));
        bad(13, entry("b"), &Bytes::default().i32(1).short_string("b").i32(1).i32(found).zeros(100));
    }
    let at = dat().at();
    assert_defect!(parse(&dat().i32(-1)), Kind::BadCount { found: -1, .. }, None, Some(at));
    assert_defect!(parse(&dat().i32(1).i32(-5)), Kind::BadCount { found: -5, .. }, None, Some(at + 4));
    let result = parse(&Bytes::default().i32(i32::MAX).zeros(100));
    assert_defect!(result, Kind::Count { each: 17, remaining: 100, .. }, None, Some(0));
    let result = parse(&Bytes::default().i32(1).i32(i32::MAX).zeros(100));
    assert_defect!(result, Kind::TooLong { .. }, None, Some(4));
    let result = parse(&Bytes::default().i32(1).short_string("b").i32(1).i32(1 << 30).zeros(100));
    assert_defect!(result, Kind::Count { each: 4, remaining: 100, .. }, entry("b"), Some(13));
}

#[test]
fn dat_form_with_bad_entries() {
    let one = |name: &str, values: &[f32]| {
        let bytes = Bytes::default().i32(2).short_string(name).i32(1).i32(values.len() as i32).floats(values);
        bytes.short_string("z").i32(1).i32(1).floats(&[1.0])
    };
    for bad in [-1e-30, f32::NAN, f32::NEG_INFINITY] {
        let importance = parse(&one("b", &[1.0, 2.0, bad])).unwrap();
        // Where experts begin this form does not say.
        assert_eq!(importance.entries["b"], [1.0; 3]);
        assert!(matches!(
            importance.gaps[..],
            [Gap { values: Range { start: 0, end: 3 }, cause: Cause::BadValue { index: 2, .. }, .. }]
        ));
    }
    assert_defect!(parse(&one("z", &[1.0])), Kind::Duplicate, entry("z"), Some(21));
    let bytes = Bytes::default().i32(1).i32(2).raw(b"a\xff").zeros(40);
    assert_defect!(parse(&bytes), Kind::Utf8 { .. }, None, Some(9));
}
