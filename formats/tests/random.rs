//! Whatever the bytes: no reader panics, and what a reader accepts lies inside the file.
#![allow(missing_docs)]

mod bytes;

use std::path::Path;

use bytes::*;
use proptest::prelude::*;
use weightmill_formats::{TensorInfo, TensorSpec, gguf, imatrix, pickle, safetensors};

/// Reads `bytes` as every format. Errors are fine; what is accepted must hold together.
fn read_all(bytes: &[u8]) {
    let path = Path::new("random");
    if let Ok(header) = gguf::parse(bytes, path) {
        assert_inside(&header.tensors, bytes);
        let specs: Vec<_> = header.tensors.iter().map(spec).collect();
        // Names may be longer than we write; otherwise what was read can be written, and reads back the same.
        if let Ok(mut layout) = gguf::layout(&header.metadata, &specs) {
            layout.header.resize(layout.length as usize, 0);
            let again = gguf::parse(&layout.header, path).unwrap();
            assert_eq!(again.tensors, header.tensors);
            // NaN is not equal to itself, but prints the same.
            assert_eq!(format!("{:?}", again.metadata), format!("{:?}", header.metadata));
        }
    }
    if let Ok(header) = safetensors::parse(bytes, path) {
        assert_inside(&header.tensors, bytes);
        let specs: Vec<_> = header.tensors.iter().map(spec).collect();
        let mut layout = safetensors::layout(&header.metadata, &specs).unwrap();
        layout.header.resize(layout.length as usize, 0);
        let again = safetensors::parse(&layout.header, path).unwrap();
        assert_eq!((again.tensors.len(), again.metadata), (header.tensors.len(), header.metadata));
    }
    let _ = safetensors::parse_index(bytes, path);
    if let Ok(header) = pickle::parse(bytes, path) {
        assert_inside(&header.tensors, bytes);
    }
    if let Ok(importance) = imatrix::parse(bytes, path) {
        let importance = importance.into_importance();
        assert!(importance.entries.values().flatten().all(|value| value.is_finite() && *value >= 0.0));
    }
}

fn assert_inside(tensors: &[TensorInfo], bytes: &[u8]) {
    for tensor in tensors {
        assert!(tensor.offset.checked_add(tensor.bytes).is_some_and(|end| end <= bytes.len() as u64));
        assert_eq!(tensor.dtype.byte_size(tensor.weights()), Some(tensor.bytes));
    }
}

fn spec(tensor: &TensorInfo) -> TensorSpec {
    TensorSpec { name: tensor.name.clone(), shape: tensor.shape.clone(), dtype: tensor.dtype }
}

/// One sound file of each kind.
fn seeds() -> Vec<Vec<u8>> {
    let fixture =
        |name: &str| std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap();
    let row = r#"{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}"#;
    let header = format!(r#"{{"__metadata__":{{"format":"pt"}},"a":{row},"b":{}}}"#, row.replace("0,8", "8,16"));
    let dat = Bytes::default().i32(1).short_string("b").i32(4).i32(3).floats(&[2.0, 3.0, 0.0]);
    vec![
        fixture("typed.gguf"),
        fixture("imatrix.gguf"),
        fixture("kept-00003-of-00003.gguf"),
        Bytes::safetensors(&header, 16).0,
        br#"{"metadata":{},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}"#.to_vec(),
        dat.i32(7).short_string("text").0,
        fixture("types.pt"),
        fixture("protocol5.pt"),
    ]
}

/// Numbers that break things, written over 1 to 8 bytes.
fn number() -> impl Strategy<Value = u64> {
    let edges = prop::sample::select(vec![0, 1, 2, 3, 13, 24, 31, 33, 127, 255, 1 << 31, 1 << 32, 1 << 62, 1 << 63]);
    prop_oneof![edges, any::<u64>(), (0u64..16).prop_map(|n| u64::MAX - n)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..400), seed in 0usize..8) {
        read_all(&bytes);
        // Noise after a sound beginning.
        let mut begun = seeds()[seed].clone();
        begun.truncate(begun.len().min(24));
        begun.extend_from_slice(&bytes);
        read_all(&begun);
    }

    #[test]
    fn sound_files_with_changes(
        seed in 0usize..8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), number(), 1usize..=8), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = seeds()[seed].clone();
        for (at, number, width) in changes {
            let at = at.index(bytes.len());
            for (byte, new) in bytes[at..].iter_mut().zip(&number.to_le_bytes()[..width]) {
                *byte = *new;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_all(&bytes);
    }
}

#[test]
fn the_seeds_are_sound() {
    let (path, seeds) = (Path::new("seed"), seeds());
    assert!(seeds[..3].iter().all(|bytes| gguf::parse(bytes, path).is_ok()));
    assert!(safetensors::parse(&seeds[3], path).is_ok());
    assert!(safetensors::parse_index(&seeds[4], path).is_ok());
    assert!(imatrix::parse(&seeds[1], path).is_ok() && imatrix::parse(&seeds[5], path).is_ok());
    assert!(seeds[6..].iter().all(|bytes| pickle::parse(bytes, path).is_ok()));
    seeds.iter().for_each(|bytes| read_all(bytes));
}
