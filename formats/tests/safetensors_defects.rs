//! One broken safetensors header per defect: what is said of it, and where.
#![allow(missing_docs)]

mod bytes;

use std::path::Path;

use bytes::*;
use weightmill_formats::{Kind, Result, safetensors};
use weightmill_kernels::Dtype;

fn parse(bytes: &Bytes) -> Result<safetensors::Header> {
    safetensors::parse(&bytes.0, Path::new("model.safetensors"))
}

/// A file whose header is `header`; offsets in the header begin at byte 8.
fn file(header: &str, data: usize) -> Result<safetensors::Header> {
    parse(&Bytes::safetensors(header, data))
}

const SOUND: &str = r#"{"__metadata__":{"format":"pt","b":"2","a":"1"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[2,26]},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}"#;

#[test]
fn a_sound_file_is_read() {
    let header = file(SOUND, 26).unwrap();
    assert_eq!(header.metadata.iter().map(|(key, _)| key).collect::<Vec<_>>(), ["format", "b", "a"]);
    let [a, b] = header.tensors.as_slice() else { panic!("{header:?}") };
    let data = 8 + SOUND.len() as u64;
    assert_eq!((a.name.as_str(), a.dtype, a.offset, a.bytes, a.shape.len()), ("a", Dtype::BF16, data, 2, 0));
    assert_eq!((b.name.as_str(), b.dtype, b.offset, b.bytes), ("b", Dtype::F32, data + 2, 24));
    assert_eq!(b.shape, [2, 3]);
    assert!(file("{}", 0).unwrap().tensors.is_empty());
    assert!(file(r#"{"__metadata__":null}   "#, 0).unwrap().metadata.is_empty());
}

#[test]
fn every_type_of_the_table_is_recognised() {
    for dtype in Dtype::all() {
        let Some(name) = dtype.info().safetensors else { continue };
        let bytes = dtype.byte_size(3).unwrap();
        let text = format!(r#"{{"t":{{"dtype":"{name}","shape":[3],"data_offsets":[0,{bytes}]}}}}"#);
        assert_eq!(file(&text, bytes as usize).unwrap().tensors[0].dtype, dtype);
    }
}

#[test]
fn tensors_without_weights_are_allowed() {
    let text = r#"{"z":{"dtype":"F32","shape":[0,4],"data_offsets":[4,4]},"y":{"dtype":"F32","shape":[0],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let header = file(text, 4).unwrap();
    assert_eq!(header.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "z", "y"]);
}

#[test]
fn every_truncation_is_an_error() {
    let sound = Bytes::safetensors(SOUND, 26).0;
    for length in 0..sound.len() {
        let error = safetensors::parse(&sound[..length], Path::new("m")).unwrap_err();
        assert!(matches!(error.kind(), Kind::Truncated { .. }), "{length}: {error}");
    }
}

#[test]
fn truncated_inside_a_tensor() {
    let at = 8 + SOUND.len() as u64 + 2;
    assert_defect!(file(SOUND, 25), Kind::Truncated { needed: 24, remaining: 23, .. }, tensor("b"), Some(at));
}

#[test]
fn header_longer_than_the_file_or_the_limit() {
    let bytes = Bytes::default().u64(100).raw(b"{}");
    assert_defect!(parse(&bytes), Kind::Truncated { needed: 100, remaining: 2, .. }, None, Some(8));
    for length in [100_000_001, 1 << 40, u64::MAX] {
        let result = parse(&Bytes::default().u64(length).raw(b"{}"));
        assert_defect!(result, Kind::TooLong { length: l, limit: 100_000_000, .. } if *l == length, None, Some(0));
    }
    assert_defect!(parse(&Bytes::default().raw(b"{}")), Kind::Truncated { needed: 8, .. }, None, Some(0));
}

#[test]
fn text_that_is_no_header() {
    assert_defect!(parse(&Bytes::default().u64(3).raw(b"{\xff}")), Kind::Utf8 { .. }, None, Some(9));
    assert_defect!(file("", 0), Kind::Json { .. }, None, Some(8));
    assert_defect!(file("[]", 0), Kind::Json { .. }, None, Some(8));
    // The place is that of the first byte that does not fit.
    assert_defect!(file(r#"{"a":{"#, 0), Kind::Json { .. }, None, Some(13));
    assert_defect!(file("{\n\n  \"a\" 1}", 0), Kind::Json { .. }, None, Some(17));
    assert_defect!(file("{} x", 0), Kind::Json { .. }, None, Some(11));
    let deep = format!("{{\"a\":{}", "[".repeat(100_000));
    assert!(matches!(file(&deep, 0).unwrap_err().kind(), Kind::Json { .. }));
}

#[test]
fn rows_that_are_no_tensors() {
    let row = |row: &str| format!(r#"{{"a":{row}}}"#);
    for (text, at) in [
        ("1", 13),
        ("{}", 14),
        (r#"{"dtype":"F32","shape":[1]}"#, 39),
        (r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}"#, 38),
        (r#"{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}"#, 39),
        (r#"{"dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4]}"#, 56),
        (r#"{"dtype":"F32","shape":[1],"data_offsets":[0]}"#, 57),
        (r#"{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}"#, 34),
    ] {
        let error = file(&row(text), 4).unwrap_err();
        assert!(matches!(error.kind(), Kind::Json { .. }), "{error}");
        assert_eq!(error.about(), tensor("a").as_ref(), "{error}");
        // serde_json places errors within one byte of the culprit's end.
        assert!(error.offset().unwrap().abs_diff(at) <= 1, "{text}: {error}, not {at}");
    }
}

#[test]
fn repeated_names() {
    let row = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let text = format!(r#"{{"a":{row},"a":{row}}}"#);
    assert_defect!(file(&text, 4), Kind::Duplicate, tensor("a"), Some(8 + 10 + row.len() as u64));
    // The same name, spelled with an escape.
    let text = format!(r#"{{"a":{row},"\u0061":{row}}}"#);
    assert_defect!(file(&text, 4), Kind::Duplicate, tensor("a"), Some(8 + 15 + row.len() as u64));
    let text = r#"{"__metadata__":{},"__metadata__":{}}"#;
    assert_defect!(file(text, 0), Kind::Duplicate, key("__metadata__"), Some(42));
    let text = r#"{"__metadata__":{"x":"1","x":"2"}}"#;
    assert_defect!(file(text, 0), Kind::Duplicate, key("x"), Some(24));
}

#[test]
fn metadata_are_strings() {
    let text = r#"{"__metadata__":{"x":1}}"#;
    let error = file(text, 0).unwrap_err();
    assert!(matches!(error.kind(), Kind::Json { .. }), "{error}");
    assert_eq!(error.about(), key("__metadata__").as_ref());
}

/// A file of one tensor.
fn one(dtype: &str, shape: &str, begin: u64, end: u64, data: usize) -> Result<safetensors::Header> {
    let text = format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#);
    file(&text, data)
}

#[test]
fn unknown_types() {
    for name in ["F33", "f32", "", "F4", "C64"] {
        assert_defect!(one(name, "[2]", 0, 8, 8), Kind::UnknownType { id } if id == name, tensor("a"), Some(13));
    }
}

#[test]
fn ranges_that_do_not_fit_shape_and_type() {
    let result = one("F32", "[2,2]", 0, 15, 15);
    assert_defect!(result, Kind::Size { expected: 16, found: 15 }, tensor("a"), Some(13));
    let result = one("F32", "[]", 0, 0, 0);
    assert_defect!(result, Kind::Size { expected: 4, found: 0 }, tensor("a"), Some(13));
    let result = one("F32", "[2,2]", 16, 0, 16);
    assert_defect!(result, Kind::Reversed { begin: 16, end: 0 }, tensor("a"), Some(13));
}

#[test]
fn overflowing_dimensions() {
    for shape in ["[4294967296,4294967296]", "[18446744073709551615,2]", "[9223372036854775808]"] {
        assert_defect!(one("F32", shape, 0, 8, 8), Kind::Overflow { .. }, tensor("a"), Some(13));
    }
    // A range that ends beyond 2^64 once the header's length is added.
    let result = one("U8", "[18446744073709551615]", 0, u64::MAX, 8);
    assert_defect!(result, Kind::Overflow { .. }, tensor("a"), Some(13));
    // A product that is zero although its parts overflow is refused by the judge, the safetensors crate, and by us.
    let result = one("U8", "[18446744073709551615,2,0]", 0, 0, 0);
    assert_defect!(result, Kind::Overflow { .. }, tensor("a"), Some(13));
}

#[test]
fn overlaps_holes_and_trailing_bytes() {
    let two = |a: (u64, u64), b: (u64, u64), data: usize| {
        let row = |(begin, end): (u64, u64)| {
            format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end - begin)
        };
        let text = format!(r#"{{"a":{},"b":{}}}"#, row(a), row(b));
        (file(&text, data), 8 + text.len() as u64)
    };
    let (result, data) = two((0, 10), (8, 20), 20);
    assert_defect!(result, Kind::Overlap { other, by: 2 } if other == "a", tensor("b"), Some(data + 8));
    let (result, data) = two((0, 10), (0, 10), 10);
    assert_defect!(result, Kind::Overlap { by: 10, .. }, tensor("b"), Some(data));
    let (result, data) = two((0, 10), (11, 20), 20);
    assert_defect!(result, Kind::Gap { by: 1 }, tensor("b"), Some(data + 11));
    let (result, data) = two((4, 10), (10, 20), 20);
    assert_defect!(result, Kind::Gap { by: 4 }, tensor("a"), Some(data + 4));
    let (result, data) = two((0, 10), (10, 20), 23);
    assert_defect!(result, Kind::Trailing { by: 3 }, None, Some(data + 20));
    let (result, data) = two((0, 10), (10, 20), 15);
    assert_defect!(result, Kind::Truncated { needed: 10, remaining: 5, .. }, tensor("b"), Some(data + 10));
}
