//! Layouts against files that llama.cpp's own code wrote (fixtures/make.py) and against the safetensors crate.
#![allow(missing_docs)]

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::View;
use weightmill_formats::{
    Array, Item, Kind, Layout, Metadata, Source, TensorSpec, Value, gguf, open, safetensors as st,
};
use weightmill_kernels::Dtype;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn spec(name: &str, shape: &[u64], dtype: Dtype) -> TensorSpec {
    TensorSpec { name: name.to_owned(), shape: shape.to_vec(), dtype }
}

fn specs(source: &dyn Source, file: usize) -> Vec<TensorSpec> {
    source.tensors().iter().filter(|t| t.file == file).map(|t| spec(&t.name, &t.shape, t.dtype)).collect()
}

/// The layout is that of the file: same header, same places, same length.
fn assert_same(layout: &Layout, path: &Path, source: &dyn Source, file: usize) {
    let bytes = fs::read(path).unwrap();
    assert!(layout.header == bytes[..layout.header.len()], "{path:?}: header differs");
    let places = source.tensors().iter().filter(|t| t.file == file).map(|t| t.offset..t.offset + t.bytes);
    assert_eq!(layout.tensors, places.collect::<Vec<_>>());
    assert_eq!(layout.length, bytes.len() as u64);
}

#[test]
fn files_of_gguf_py_are_laid_out_identically() {
    for (name, alignment) in [("typed.gguf", 32), ("aligned.gguf", 64), ("imatrix.gguf", 32)] {
        let path = fixture(name);
        let source = open(&path).unwrap();
        let layout = gguf::layout(source.metadata(), &specs(&*source, 0)).unwrap();
        assert_same(&layout, &path, &*source, 0);
        assert!(layout.tensors.iter().all(|range| range.start % alignment == 0));
    }
}

#[test]
fn headers_of_ggml_are_laid_out_identically() {
    let source = open(&fixture("typed.gguf")).unwrap();
    let mut specs = specs(&*source, 0);
    assert_eq!(specs[4].shape, [1, 1, 3, 3]);
    specs.iter_mut().for_each(|spec| spec.shape = gguf::trimmed(&spec.shape).to_vec());
    let layout = gguf::layout(source.metadata(), &specs).unwrap();
    assert_eq!(layout.header, fs::read(fixture("typed.ggml")).unwrap());
}

#[test]
fn values_keep_their_types() {
    let source = open(&fixture("typed.gguf")).unwrap();
    let values = [
        ("u8", Value::U8(200), Array::U8(vec![200; 3])),
        ("i8", Value::I8(-100), Array::I8(vec![-100; 3])),
        ("u16", Value::U16(60000), Array::U16(vec![60000; 3])),
        ("i16", Value::I16(-30000), Array::I16(vec![-30000; 3])),
        ("u32", Value::U32(4_000_000_000), Array::U32(vec![4_000_000_000; 3])),
        ("i32", Value::I32(-2_000_000_000), Array::I32(vec![-2_000_000_000; 3])),
        ("f32", Value::F32(0.1), Array::F32(vec![0.1; 3])),
        ("bool", Value::Bool(true), Array::Bool(vec![true; 3])),
        ("str", "Grüße, 世界\n".into(), Array::String(vec!["Grüße, 世界\n".to_owned(); 3])),
        ("u64", Value::U64(1 << 63), Array::U64(vec![1 << 63; 3])),
        ("i64", Value::I64(i64::MIN), Array::I64(vec![i64::MIN; 3])),
        ("f64", Value::F64(0.1), Array::F64(vec![0.1; 3])),
    ];
    assert_eq!(source.metadata().len(), 1 + 2 * values.len());
    for (name, scalar, array) in values {
        assert_eq!(scalar.type_name(), name);
        assert_eq!((array.element_name(), array.len()), (name, 3));
        assert_eq!(source.metadata().get(&format!("scalar.{name}")), Some(&scalar));
        assert_eq!(source.metadata().get(&format!("array.{name}")), Some(&Value::Array(array)));
    }
}

#[test]
fn split_files_of_llama_quantize_are_laid_out_identically() {
    let source = open(&fixture("kept-00001-of-00003.gguf")).unwrap();
    let parts: Vec<_> = (0..3).map(|part| specs(&*source, part)).collect();
    let parts: Vec<_> = parts.iter().map(Vec::as_slice).collect();
    // The keys that tell the parts are set anew, whatever is there.
    let mut metadata = Metadata::new();
    metadata.set("split.count", 9u32);
    source.metadata().iter().for_each(|(key, value)| metadata.set(key, value.clone()));
    metadata.set("split.no", 7u32);
    let layouts = gguf::layout_split(&metadata, &parts).unwrap();
    assert_eq!(layouts.len(), 3);
    for (part, layout) in layouts.iter().enumerate() {
        let name = gguf::part_name("kept", part as u16, 3);
        assert_same(layout, &fixture(&name), &*source, part);
    }
}

#[test]
fn one_part_is_not_split() {
    let mut metadata = Metadata::new();
    metadata.set("general.name", "x");
    let plain = gguf::layout(&metadata, &[]).unwrap();
    metadata.set("split.count", 3u16);
    assert_eq!(gguf::layout_split(&metadata, &[&[]]).unwrap(), [plain]);
}

#[test]
fn what_gguf_cannot_hold_is_refused() {
    let refused = |tensors: &[TensorSpec]| {
        let error = gguf::layout(&Metadata::new(), tensors).unwrap_err();
        assert_eq!(error.about(), Some(&Item::Tensor(tensors[tensors.len() - 1].name.clone())), "{error}");
        error
    };
    let name = "n".repeat(128);
    assert!(matches!(refused(&[spec(&name, &[1], Dtype::F32)]).kind(), Kind::TooLong { length: 128, limit: 127, .. }));
    assert!(gguf::layout(&Metadata::new(), &[spec(&name[1..], &[1], Dtype::F32)]).is_ok());
    assert!(matches!(refused(&[spec("", &[1], Dtype::F32)]).kind(), Kind::Name { .. }));
    let twice = [spec("a", &[1], Dtype::F32), spec("a", &[1], Dtype::F32)];
    assert!(matches!(refused(&twice).kind(), Kind::Duplicate));
    assert!(matches!(refused(&[spec("a", &[1], Dtype::U8)]).kind(), Kind::Unrepresentable { dtype: "U8", .. }));
    assert!(matches!(refused(&[spec("a", &[], Dtype::F32)]).kind(), Kind::Dimensions { .. }));
    assert!(matches!(refused(&[spec("a", &[1; 5], Dtype::F32)]).kind(), Kind::Dimensions { .. }));
    assert!(matches!(refused(&[spec("a", &[3, 0], Dtype::F32)]).kind(), Kind::ZeroDimension { .. }));
    assert!(matches!(refused(&[spec("a", &[2, 33], Dtype::Q8_0)]).kind(), Kind::RowLength { .. }));
    assert!(matches!(refused(&[spec("a", &[1 << 62], Dtype::F32)]).kind(), Kind::Overflow { .. }));
    let huge = |name: &str| spec(name, &[1 << 60], Dtype::F32);
    assert!(matches!(
        gguf::layout(&Metadata::new(), &[huge("a"), huge("b")]).unwrap_err().kind(),
        Kind::Overflow { .. }
    ));
    let many: Vec<_> = (0..5).map(|n| huge(&format!("{n}"))).collect();
    assert!(matches!(gguf::layout(&Metadata::new(), &many).unwrap_err().kind(), Kind::Overflow { .. }));

    let mut metadata = Metadata::new();
    metadata.set("general.alignment", 33u32);
    assert!(matches!(gguf::layout(&metadata, &[]).unwrap_err().kind(), Kind::Alignment { found: 33, .. }));
    metadata.set("general.alignment", 32u64);
    assert!(matches!(gguf::layout(&metadata, &[]).unwrap_err().kind(), Kind::WrongType { .. }));

    let part = [spec("a", &[1], Dtype::F32)];
    let error = gguf::layout_split(&Metadata::new(), &[&part, &part]).unwrap_err();
    assert!(matches!(error.kind(), Kind::Duplicate), "a name in two parts");
    let error = gguf::layout_split(&Metadata::new(), &vec![&part[..]; 65536]).unwrap_err();
    assert!(matches!(error.kind(), Kind::BadCount { found: 65536, .. }));
}

#[test]
fn trimmed_shapes_keep_one_dimension() {
    assert_eq!(gguf::trimmed(&[1, 1, 3, 1, 4]), [3, 1, 4]);
    assert_eq!(gguf::trimmed(&[1, 1]), [1]);
    assert_eq!(gguf::trimmed(&[5]), [5]);
    assert!(gguf::trimmed(&[]).is_empty());
}

/// What the safetensors crate needs to write a tensor.
struct Zeros(safetensors::Dtype, Vec<usize>, Vec<u8>);

impl View for Zeros {
    fn dtype(&self) -> safetensors::Dtype {
        self.0
    }

    fn shape(&self) -> &[usize] {
        &self.1
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.2)
    }

    fn data_len(&self) -> usize {
        self.2.len()
    }
}

#[test]
fn the_safetensors_crate_lays_out_identically() {
    use safetensors::Dtype as T;
    let tensors = [
        ("b", &[3][..], Dtype::U8, T::U8),
        ("a", &[2, 3], Dtype::BF16, T::BF16),
        ("scale \"q\"", &[], Dtype::F32, T::F32),
        ("f8", &[5], Dtype::F8_E4M3, T::F8_E4M3),
        ("f64", &[1], Dtype::F64, T::F64),
        ("i32", &[4, 1], Dtype::I32, T::I32),
        ("empty", &[0, 7], Dtype::F16, T::F16),
        ("c", &[2], Dtype::BF16, T::BF16),
    ];
    let theirs = tensors.map(|(name, shape, dtype, theirs)| {
        let bytes = dtype.byte_size(shape.iter().product()).unwrap();
        (name, Zeros(theirs, shape.iter().map(|&n| n as usize).collect(), vec![0; bytes as usize]))
    });
    let strings = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let expected = safetensors::serialize(theirs, Some(strings)).unwrap();

    let mut metadata = Metadata::new();
    metadata.set("format", "pt");
    let ours = st::layout(&metadata, &tensors.map(|(name, shape, dtype, _)| spec(name, shape, dtype))).unwrap();
    assert_eq!(String::from_utf8_lossy(&ours.header[8..]), String::from_utf8_lossy(&expected[8..ours.header.len()]));
    assert_eq!(ours.header[..8], expected[..8]);
    assert_eq!(ours.length, expected.len() as u64);
    let header = st::parse(&expected, Path::new("m")).unwrap();
    for ((name, ..), range) in tensors.iter().zip(&ours.tensors) {
        let tensor = header.tensors.iter().find(|tensor| tensor.name == *name).unwrap();
        assert_eq!(*range, tensor.offset..tensor.offset + tensor.bytes, "{name}");
    }
}

#[test]
fn safetensors_metadata_keep_their_order() {
    let mut metadata = Metadata::new();
    for key in ["z", "format", "a", "m"] {
        metadata.set(key, format!("value of {key}"));
    }
    let mut layout = st::layout(&metadata, &[spec("t", &[3], Dtype::F32)]).unwrap();
    assert_eq!(layout.header.len() % 8, 0);
    layout.header.resize(layout.length as usize, 0);
    assert_eq!(st::parse(&layout.header, Path::new("m")).unwrap().metadata, metadata);
}

#[test]
fn what_safetensors_cannot_hold_is_refused() {
    let none = Metadata::new();
    let refused = |tensors: &[TensorSpec]| st::layout(&none, tensors).unwrap_err();
    let quantized = refused(&[spec("a", &[32], Dtype::Q8_0)]);
    assert!(matches!(quantized.kind(), Kind::Unrepresentable { dtype: "Q8_0", .. }));
    assert!(matches!(refused(&[spec("__metadata__", &[1], Dtype::F32)]).kind(), Kind::Name { .. }));
    let twice = [spec("a", &[1], Dtype::F32), spec("a", &[1], Dtype::F16)];
    assert!(matches!(refused(&twice).kind(), Kind::Duplicate));
    assert!(matches!(refused(&[spec("a", &[1 << 62], Dtype::F32)]).kind(), Kind::Overflow { .. }));
    let mut metadata = Metadata::new();
    metadata.set("n", 1u32);
    let error = st::layout(&metadata, &[]).unwrap_err();
    assert!(matches!(error.kind(), Kind::WrongType { expected: "str", found: "u32" }));
    assert_eq!(error.about(), Some(&Item::Key("n".to_owned())));
}
