//! One broken GGUF header per defect: what is said of it, and where.
#![allow(missing_docs)]

mod bytes;

use std::path::Path;

use bytes::*;
use weightmill_formats::{Array, Kind, Result, Value, gguf};

fn parse(bytes: &Bytes) -> Result<gguf::Header> {
    gguf::parse(&bytes.0, Path::new("model.gguf"))
}

/// Two tensors of 40 and 8 bytes, the first padded to 64.
fn sound() -> Bytes {
    let table = Bytes::gguf(3, 2, 1).key("general.name", STRING).string("x");
    table.tensor("a", &[5, 2], F32, 0).tensor("b", &[2], F32, 64).pad(32).zeros(72)
}

/// One tensor with this row after an empty metadata section; the row begins at byte 24.
fn one(name: &str, dimensions: &[u64], kind: u32, offset: u64, data: usize) -> Bytes {
    Bytes::gguf(3, 1, 0).tensor(name, dimensions, kind, offset).pad(32).zeros(data)
}

#[test]
fn a_sound_file_is_read() {
    for version in [2, 3] {
        let mut bytes = sound();
        bytes.0[4] = version;
        let header = parse(&bytes).unwrap();
        assert_eq!((header.version, header.alignment), (version.into(), 32));
        assert_eq!(header.metadata.string("general.name"), Some("x"));
        let [a, b] = header.tensors.as_slice() else { panic!("{header:?}") };
        assert_eq!((a.shape.as_slice(), a.offset, a.bytes), (&[2, 5][..], header.data, 40));
        assert_eq!((b.shape.as_slice(), b.offset, b.bytes), (&[2][..], header.data + 64, 8));
    }
}

#[test]
fn last_padding_may_lack_and_bytes_may_follow() {
    assert_eq!(parse(&sound()).unwrap(), parse(&sound().zeros(24 + 1000)).unwrap());
}

#[test]
fn every_truncation_is_an_error() {
    let sound = sound().0;
    for length in 0..sound.len() {
        let error = gguf::parse(&sound[..length], Path::new("model.gguf")).unwrap_err();
        let cut = matches!(error.kind(), Kind::Truncated { .. } | Kind::Count { .. } | Kind::Magic { .. });
        assert!(cut, "{length}: {error}");
        assert!(error.offset().unwrap() <= sound.len() as u64, "{length}: {error}");
    }
}

#[test]
fn truncated_inside_a_tensor() {
    let mut bytes = sound();
    let data = parse(&bytes).unwrap().data;
    bytes.0.truncate(bytes.0.len() - 3);
    let kind =
        assert_defect!(parse(&bytes), Kind::Truncated { needed: 8, remaining: 5, .. }, tensor("b"), Some(data + 64));
    assert!(kind.contains("fetch it again"), "{kind}");
}

#[test]
fn bad_magic() {
    let bytes = Bytes::default().raw(b"GGML").zeros(40);
    assert_defect!(parse(&bytes), Kind::Magic { found, .. } if found == b"GGML", None, Some(0));
    assert_defect!(parse(&Bytes::default()), Kind::Magic { found, .. } if found.is_empty(), None, Some(0));
}

#[test]
fn big_endian_and_foreign_versions() {
    for version in [2u32, 3] {
        let bytes = Bytes::gguf(version.swap_bytes(), 0, 0);
        let message = assert_defect!(parse(&bytes), Kind::BigEndian, None, Some(4));
        assert!(message.contains("little-endian"), "{message}");
    }
    for version in [0, 1, 4] {
        let bytes = Bytes::gguf(version, 0, 0);
        assert_defect!(parse(&bytes), Kind::Version { found } if *found == version, None, Some(4));
    }
}

#[test]
fn counts_larger_than_the_file() {
    for count in [4, 1 << 40, u64::MAX] {
        let bytes = Bytes::gguf(3, 0, count).zeros(39);
        assert_defect!(parse(&bytes), Kind::Count { each: 13, remaining: 39, .. }, None, Some(16));
        let bytes = Bytes::gguf(3, count, 0).zeros(71);
        assert_defect!(parse(&bytes), Kind::Count { each: 24, remaining: 71, .. }, None, Some(8));
    }
    // Room for the tensors before the metadata were read, but not after.
    let bytes = Bytes::gguf(3, 2, 1).key("k", STRING).string(&"x".repeat(60));
    let at = bytes.at();
    assert_defect!(parse(&bytes), Kind::Count { count: 2, each: 24, remaining: 0, .. }, None, Some(at));
}

#[test]
fn strings_longer_than_the_file_or_the_limit() {
    let bytes = Bytes::gguf(3, 0, 1).u64(100).zeros(20);
    assert_defect!(parse(&bytes), Kind::Truncated { needed: 100, remaining: 20, .. }, None, Some(32));
    let bytes = Bytes::gguf(3, 0, 1).u64(u64::MAX).zeros(20);
    assert_defect!(parse(&bytes), Kind::TooLong { length: u64::MAX, .. }, None, Some(24));
    let bytes = Bytes::gguf(3, 0, 1).key("k", STRING).u64(5).raw(b"abcd");
    assert_defect!(parse(&bytes), Kind::Truncated { needed: 5, remaining: 4, .. }, key("k"), Some(45));
    let bytes = Bytes::gguf(3, 0, 1).key("k", STRING).u64((64 << 20) + 1).raw(b"abcd");
    assert_defect!(parse(&bytes), Kind::TooLong { limit: 0x400_0000, .. }, key("k"), Some(37));
    let bytes = Bytes::gguf(3, 1, 0).u64(1 << 62).zeros(64);
    assert_defect!(parse(&bytes), Kind::TooLong { .. }, None, Some(24));
}

#[test]
fn text_that_is_not_utf8() {
    let bytes = Bytes::gguf(3, 0, 1).u64(2).raw(b"a\xff").zeros(13);
    assert_defect!(parse(&bytes), Kind::Utf8 { .. }, None, Some(33));
    let bytes = Bytes::gguf(3, 0, 1).key("k", STRING).u64(3).raw(b"ab\xc3");
    assert_defect!(parse(&bytes), Kind::Utf8 { .. }, key("k"), Some(47));
    let bytes = Bytes::gguf(3, 1, 0).u64(1).raw(b"\x80").zeros(64);
    assert_defect!(parse(&bytes), Kind::Utf8 { .. }, None, Some(32));
}

#[test]
fn empty_and_repeated_keys() {
    let bytes = Bytes::gguf(3, 0, 1).key("", U32).u32(1);
    assert_defect!(parse(&bytes), Kind::Name { .. }, None, Some(24));
    let bytes = Bytes::gguf(3, 0, 2).key("k", U32).u32(1);
    let at = bytes.at();
    assert_defect!(parse(&bytes.key("k", U8).u8(1)), Kind::Duplicate, key("k"), Some(at));
}

#[test]
fn unknown_metadata_types() {
    for id in [13, 0xffff_ffff] {
        let bytes = Bytes::gguf(3, 0, 1).key("k", id).u64(0);
        assert_defect!(parse(&bytes), Kind::UnknownValueType { id: found } if *found == id, key("k"), Some(33));
        let bytes = Bytes::gguf(3, 0, 1).key("k", ARRAY).u32(id).u64(0);
        assert_defect!(parse(&bytes), Kind::UnknownValueType { id: found } if *found == id, key("k"), Some(37));
    }
}

#[test]
fn bools_are_zero_or_one() {
    let bytes = Bytes::gguf(3, 0, 1).key("k", BOOL).u8(2);
    assert_defect!(parse(&bytes), Kind::Bool { found: 2 }, key("k"), Some(37));
    let bytes = Bytes::gguf(3, 0, 1).key("k", ARRAY).u32(BOOL).u64(3).raw(&[1, 0, 255]);
    assert_defect!(parse(&bytes), Kind::Bool { found: 255 }, key("k"), Some(51));
}

#[test]
fn arrays_longer_than_the_file() {
    for (kind, each) in [(U8, 1), (U16, 2), (U32, 4), (10, 8), (BOOL, 1), (STRING, 8), (ARRAY, 12)] {
        for count in [25 / each + 1, 1 << 40, u64::MAX] {
            let bytes = Bytes::gguf(3, 0, 1).key("k", ARRAY).u32(kind).u64(count).zeros(25);
            let found = Some(41);
            assert_defect!(parse(&bytes), Kind::Count { each: e, remaining: 25, .. } if *e == each, key("k"), found);
        }
    }
    let bytes = Bytes::gguf(3, 0, 1).key("k", ARRAY).u32(STRING).u64(2).string("x").u64(9).raw(b"12345678");
    assert_defect!(parse(&bytes), Kind::Truncated { needed: 9, .. }, key("k"), Some(66));
}

#[test]
fn arrays_nest_up_to_the_limit() {
    let nested = |depth: usize| {
        let bytes = Bytes::gguf(3, 0, 1).key("k", ARRAY);
        (1..depth).fold(bytes, |bytes, _| bytes.u32(ARRAY).u64(1)).u32(U8).u64(2).raw(&[7, 8])
    };
    let mut expected = Array::U8(vec![7, 8]);
    for _ in 1..gguf::MAX_ARRAY_DEPTH {
        expected = Array::Array(vec![expected]);
    }
    let header = parse(&nested(gguf::MAX_ARRAY_DEPTH)).unwrap();
    assert_eq!(header.metadata.get("k"), Some(&Value::Array(expected)));
    for depth in [gguf::MAX_ARRAY_DEPTH + 1, 100_000] {
        let at = 37 + 12 * gguf::MAX_ARRAY_DEPTH as u64;
        assert_defect!(parse(&nested(depth)), Kind::Nesting { .. }, key("k"), Some(at));
    }
}

#[test]
fn alignment_is_a_power_of_two() {
    let with = |kind: u32| Bytes::gguf(3, 0, 1).key("general.alignment", kind);
    let at = Some(with(U32).at());
    for found in [0, 3, 33, 1 << 21, u32::MAX] {
        let result = parse(&with(U32).u32(found));
        assert_defect!(result, Kind::Alignment { found: f, .. } if *f == found, key("general.alignment"), at);
    }
    let wrong = parse(&with(10).u64(32));
    assert_defect!(wrong, Kind::WrongType { found: "u64", .. }, key("general.alignment"), at);
    assert_eq!(parse(&with(U32).u32(1 << 20)).unwrap().alignment, 1 << 20);
}

#[test]
fn empty_repeated_and_long_tensor_names() {
    assert_defect!(parse(&one("", &[1], F32, 0, 4)), Kind::Name { .. }, None, Some(24));
    let bytes = Bytes::gguf(3, 2, 0).tensor("a", &[8], F32, 0);
    let at = bytes.at();
    let bytes = bytes.tensor("a", &[8], F32, 32).pad(32).zeros(64);
    assert_defect!(parse(&bytes), Kind::Duplicate, tensor("a"), Some(at));
    // Longer than llama.cpp reads, but other tools write them.
    assert!(parse(&one(&"n".repeat(100), &[1], F32, 0, 4)).is_ok());
}

#[test]
fn one_to_four_dimensions_none_zero() {
    let none = parse(&one("a", &[], F32, 0, 4));
    assert_defect!(none, Kind::Dimensions { found: 0, limit: 4 }, tensor("a"), Some(33));
    let five = parse(&one("a", &[1, 1, 1, 1, 1], F32, 0, 4));
    assert_defect!(five, Kind::Dimensions { found: 5, limit: 4 }, tensor("a"), Some(33));
    let many = Bytes::gguf(3, 1, 0).string("a").u32(u32::MAX).zeros(64);
    assert_defect!(parse(&many), Kind::Dimensions { found: 0xffff_ffff, .. }, tensor("a"), Some(33));
    for shape in [&[0][..], &[4, 0], &[0, 4], &[1, 1, 0, 1]] {
        let result = parse(&one("a", shape, F32, 0, 64));
        assert_defect!(result, Kind::ZeroDimension { .. }, tensor("a"), Some(33));
    }
}

#[test]
fn overflowing_dimensions() {
    // CVE-2026-33298: a byte size that wraps to something small.
    let wrapping = [(1 << 42) + 1, 1 << 22];
    for shape in [&[u64::MAX][..], &[1 << 63, 2], &[1 << 32, 1 << 32], &[1 << 61, 1, 1, 1], &wrapping] {
        let result = parse(&one("a", shape, F32, 0, 64));
        assert_defect!(result, Kind::Overflow { .. }, tensor("a"), Some(33));
    }
    // Fits in a number, but not in the file.
    let result = parse(&one("a", &[1 << 60], F32, 0, 64));
    assert_defect!(result, Kind::Truncated { needed: 0x4000_0000_0000_0000, .. }, tensor("a"), Some(64));
}

#[test]
fn rows_are_whole_blocks() {
    let result = parse(&one("a", &[33, 32], Q8_0, 0, 4096));
    assert_defect!(result, Kind::RowLength { columns: 33, block: 32, dtype: "Q8_0" }, tensor("a"), Some(33));
}

#[test]
fn unknown_tensor_types() {
    // 4 and 5 were Q4_2 and Q4_3, 31 to 33 and 36 to 38 repacked forms; all removed.
    for id in [4, 5, 31, 33, 36, 38, 43, 0x8000_0000] {
        let message =
            assert_defect!(parse(&one("a", &[256], id, 0, 64)), Kind::UnknownType { .. }, tensor("a"), Some(45));
        assert!(message.contains(&id.to_string()), "{message}");
    }
}

#[test]
fn tensors_follow_one_another() {
    let two = |first: u64, second: u64| {
        let bytes = Bytes::gguf(3, 2, 0).tensor("a", &[10], F32, first);
        let at = bytes.at() - 8;
        (bytes.tensor("b", &[10], F32, second).pad(32).zeros(4096), Some(at))
    };
    let (bytes, at) = two(32, 96);
    assert_defect!(parse(&bytes), Kind::Gap { by: 32 }, tensor("a"), at);
    let (bytes, at) = two(u64::MAX, 0);
    assert_defect!(parse(&bytes), Kind::Gap { .. }, tensor("a"), at);
    // The first tensor has 40 bytes, padded 64. A published file reserved less than its type needs.
    for (second, by) in [(0, 64), (32, 32), (40, 24)] {
        let (bytes, at) = two(0, second);
        let result = parse(&bytes);
        let at = at.map(|at| at + 33);
        assert_defect!(result, Kind::Overlap { other, by: b } if other == "a" && *b == by, tensor("b"), at);
    }
    for (second, by) in [(65, 1), (96, 32), (1 << 63, (1 << 63) - 64)] {
        let (bytes, at) = two(0, second);
        let result = parse(&bytes);
        assert_defect!(result, Kind::Gap { by: b } if *b == by, tensor("b"), at.map(|at| at + 33));
    }
    assert!(parse(&two(0, 64).0).is_ok());
}

#[test]
fn a_tensor_beyond_the_end() {
    let result = parse(&one("a", &[100], F32, 0, 399));
    assert_defect!(result, Kind::Truncated { needed: 400, remaining: 399, .. }, tensor("a"), Some(64));
    // The data would begin beyond the end.
    let bytes = Bytes::gguf(3, 1, 1).key("general.alignment", U32).u32(1 << 20).tensor("a", &[1], F32, 0);
    assert_defect!(parse(&bytes), Kind::Truncated { remaining: 0, .. }, tensor("a"), Some(1 << 20));
}

/// A header of 280,000 strings, as large vocabularies have, is read in one pass.
#[test]
fn large_vocabularies_are_quick() {
    let count = 280_000;
    let bytes = Bytes::gguf(3, 0, 1).key("tokens", ARRAY).u32(STRING).u64(count);
    let bytes = (0..count).fold(bytes, |bytes, n| bytes.string(&n.to_string()));
    let begin = std::time::Instant::now();
    let header = parse(&bytes).unwrap();
    let Some(Value::Array(Array::String(tokens))) = header.metadata.get("tokens") else { panic!() };
    assert_eq!(tokens.last().map(String::as_str), Some("279999"));
    // Milliseconds; the bound only tells linear from quadratic, on any machine.
    assert!(begin.elapsed().as_secs() < 5, "{:?}", begin.elapsed());
}
