//! PyTorch's own files: what torch wrote is read, and its tensors lie where the pickle says.
#![allow(missing_docs)]

mod bytes;
mod checkpoint;

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{entry, tensor};
use checkpoint::*;
use serde_json::Value as Json;
use tempfile::TempDir;
use weightmill_formats::pickle::{Defect, Header};
use weightmill_formats::{Kind, Pickles, Result, Source, Value, open, open_as};
use weightmill_kernels::Dtype;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn open_fixture(name: &str) -> Result<Box<dyn Source>> {
    open_as(&fixture(name), Pickles::Allow)
}

fn error(name: &str) -> Result<()> {
    open_fixture(name).map(|_| ())
}

#[test]
fn what_torch_writes_is_read() {
    let source = open_fixture("types.pt").unwrap();
    assert_eq!(source.format(), "pickle");
    let text = fs::read_to_string(fixture("types.json")).unwrap();
    // By position: the order is that of the dictionary.
    let expected: serde_json::Map<String, Json> = serde_json::from_str(&text).unwrap();
    assert_eq!(source.tensors().len(), expected.len());
    for tensor in source.tensors() {
        let [dtype, shape, hex] = expected[&tensor.name].as_array().unwrap().as_slice() else { panic!("three") };
        assert_eq!(torch_name(tensor.dtype), dtype.as_str().unwrap(), "{}", tensor.name);
        assert_eq!(serde_json::to_value(&tensor.shape).unwrap(), *shape, "{}", tensor.name);
        let found: String = source.view(tensor).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex.as_str().unwrap(), "{}", tensor.name);
    }
    let names: Vec<&str> = source.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    let lines: Vec<&str> = text.lines().filter_map(|line| line.split('"').nth(1)).collect();
    assert_eq!(names, lines);
    let place = |name: &str| source.tensors().iter().find(|tensor| tensor.name == name).unwrap().offset;
    assert_eq!(place("up.weight"), place("down.weight"), "tied weights share their bytes");

    let metadata: Vec<(&str, &Value)> = source.metadata().iter().collect();
    let value = [Value::I64(7), Value::F64(0.25), Value::Bool(true), Value::String("Grüße".to_owned())];
    assert_eq!(metadata, ["epoch", "loss", "tied", "note"].into_iter().zip(&value).collect::<Vec<_>>());
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::BF16 => "bfloat16",
        Dtype::F32 => "float32",
        Dtype::F16 => "float16",
        Dtype::F64 => "float64",
        Dtype::I64 => "int64",
        Dtype::I32 => "int32",
        Dtype::I16 => "int16",
        Dtype::I8 => "int8",
        Dtype::U8 => "uint8",
        Dtype::U16 => "uint16",
        Dtype::U32 => "uint32",
        Dtype::U64 => "uint64",
        Dtype::BOOL => "bool",
        Dtype::F8_E4M3 => "float8_e4m3fn",
        Dtype::F8_E5M2 => "float8_e5m2",
        Dtype::F8_E8M0 => "float8_e8m0fnu",
        other => panic!("{other}"),
    }
}

#[test]
fn a_later_protocol_is_read() {
    let source = open_fixture("protocol5.pt").unwrap();
    let tensors: Vec<_> = source.tensors().iter().map(|t| (t.name.as_str(), t.dtype, source.view(t))).collect();
    let floats: Vec<u8> = [0f32, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let integers: Vec<u8> = [0i64, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(tensors, [("a", Dtype::F32, &floats[..]), ("b", Dtype::I64, &integers[..])]);
}

#[test]
fn pickles_are_refused_unless_allowed() {
    for name in ["types.pt", "old.pt", "evil.pt"] {
        let result = open(&fixture(name)).map(|_| ());
        let message = assert_defect!(result, Kind::Pickle(Defect::Refused), None, None);
        assert!(message.contains("safetensors") && message.contains("--allow-pickle"), "{message}");
    }
    // The content decides, and where it is unknown the name.
    let folder = TempDir::new().unwrap();
    for (name, bytes) in
        [("x.safetensors", &fs::read(fixture("types.pt")).unwrap()[..]), ("x.bin", b"?"), ("x.PTH", b"")]
    {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = open(&path).err().unwrap();
        assert!(matches!(error.kind(), Kind::Pickle(Defect::Refused)), "{error}");
    }
    let error = open_as(&folder.path().join("x.bin"), Pickles::Allow).err().unwrap();
    assert!(matches!(error.kind(), Kind::Magic { .. }), "{error}");
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused_without_running_it() {
    let witness = Path::new("weightmill-was-here");
    let message = assert_defect!(
        error("evil.pt"), Kind::Pickle(Defect::Global { name }) if name == "posix.system", None, Some(233));
    assert!(message.contains("posix.system") && message.contains("nothing was run"), "{message}");
    assert!(!witness.exists());
}

#[test]
fn tensors_lie_inside_their_storages() {
    let shape = |result: Result<Header>| result.map(|header| header.tensors[0].shape.clone());
    assert_eq!(shape(one(|p| p.tensor(FLOATS, 0, &[2, 2], &[2, 1]))).unwrap(), [2, 2]);
    assert_eq!(shape(one(|p| p.tensor(FLOATS, 1, &[3], &[1]))).unwrap(), [3]);
    assert_eq!(shape(one(|p| p.tensor(FLOATS, 4, &[0, 9], &[7, 7]))).unwrap(), [0, 9]);
    // How far a dimension of length one strides does not matter.
    assert_eq!(shape(one(|p| p.tensor(FLOATS, 0, &[2, 1, 2], &[2, 99, 1]))).unwrap(), [2, 1, 2]);
    for (offset, dims, end) in [(1, vec![4], 20), (0, vec![5], 20), (4, vec![1], 20), (5, vec![0], 20)] {
        let result = one(|p| p.tensor(FLOATS, offset, &dims, &strides(&dims)));
        let kind = result.unwrap_err();
        let Kind::Pickle(Defect::OutsideStorage { end: e, length: 16 }) = kind.kind() else { panic!("{kind}") };
        assert_eq!(*e, end);
    }
    for (offset, dims) in [
        (-1, vec![1]),
        (i64::MAX, vec![1]),
        (0, vec![-1]),
        (0, vec![1 << 31, 1 << 31, 4]),
        (0, vec![i64::MAX, i64::MAX]),
        (1 << 62, vec![0]),
    ] {
        let error = one(|p| p.tensor(FLOATS, offset, &dims, &vec![1; dims.len()])).unwrap_err();
        assert!(matches!(error.kind(), Kind::Pickle(Defect::Program(_))), "{offset} {dims:?}: {error}");
    }
    // The pickle says eight elements, the entry has four.
    let result = one(|p| p.tensor(("FloatStorage", "0", 8), 0, &[8], &[1]));
    assert_placed!(result, Kind::Pickle(Defect::OutsideStorage { end: 32, length: 16 }), tensor("t"));
    let result = one(|p| p.tensor(("FloatStorage", "../0", 4), 0, &[4], &[1]));
    assert_defect!(result, Kind::Pickle(Defect::NoEntry { name }) if name == "data/../0", tensor("t"), None);
}

#[test]
fn tensors_whose_rows_are_apart_are_refused() {
    for (dims, strides) in [(&[2, 2], &[1, 2]), (&[2, 2], &[0, 1]), (&[2, 1], &[2, 1]), (&[2, 2], &[-2, 1])] {
        let error = one(|p| p.tensor(FLOATS, 0, dims, strides)).unwrap_err();
        assert!(matches!(error.kind(), Kind::Pickle(Defect::Strided { .. })), "{dims:?} {strides:?}: {error}");
    }
    let message = assert_placed!(error("transposed.pt"), Kind::Pickle(Defect::Strided { .. }), None);
    assert!(message.contains("[3, 2]") && message.contains("contiguous()"), "{message}");
}

#[test]
fn the_old_form_says_what_to_do() {
    let message = assert_defect!(error("old.pt"), Kind::Pickle(Defect::Old), None, None);
    assert!(message.contains("1.6") && message.contains("safetensors"), "{message}");
}

#[test]
fn what_is_no_dictionary_of_tensors_is_refused() {
    let tensor_in = |before: Pickle, key: &str| before.text(key).tensor(FLOATS, 0, &[4], &[1]);
    for pickle in [
        Pickle::new().raw(b"N"),
        Pickle::new().raw(b"}"),
        Pickle::new().raw(b"]"),
        Pickle::new().tensor(FLOATS, 0, &[4], &[1]),
        tensor_in(Pickle::new().raw(b"}").text("optimizer").raw(b"}"), "a").raw(b"ss"),
    ] {
        assert_defect!(with_pickle(pickle), Kind::Pickle(Defect::NoTensors), None, None);
    }
    // As training programs write it.
    for key in ["state_dict", "model"] {
        let outer = Pickle::new().raw(b"}").text("epoch").integer(3).raw(b"s").text("optimizer").raw(b"}s");
        let header = with_pickle(tensor_in(outer.text(key).raw(b"}"), "a").raw(b"ss")).unwrap();
        assert_eq!(header.tensors[0].name, "a");
    }
    let sound = || tensor_in(Pickle::new().raw(b"}"), "a").raw(b"s");
    for (value, found) in [
        (Pickle(Vec::new()).raw(b"]"), "list"),
        (Pickle(Vec::new()).raw(b"}"), "dictionary"),
        (Pickle(Vec::new()).raw(b")"), "tuple"),
        (Pickle(Vec::new()).storage("FloatStorage", "0", 4), "storage"),
        (Pickle(Vec::new()).global("torch", "float32"), "class"),
    ] {
        let result = with_pickle(sound().text("x").raw(&value.0).raw(b"s"));
        assert_defect!(result, Kind::Pickle(Defect::NotTensor { found: f }) if *f == found, entry("x"), None);
    }
    assert_defect!(with_pickle(tensor_in(sound(), "a").raw(b"s")), Kind::Duplicate, tensor("a"), None);
    let error = with_pickle(sound().raw(b"NNs")).unwrap_err();
    assert!(matches!(error.kind(), Kind::Pickle(Defect::Program(_))), "{error}");
}

#[test]
fn shards_are_found_through_their_index() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("pytorch_model-00001-of-00002.bin", &state_dict(&[("b", "FloatStorage", 4, vec![1], &[1; 4])]));
    let two: &[(_, _, _, _, &[u8])] =
        &[("c", "HalfStorage", 2, vec![1, 2], &[2; 4]), ("a", "BFloat16Storage", 2, vec![], &[3; 2])];
    write("pytorch_model-00002-of-00002.bin", &state_dict(two));
    let map = r#"{"weight_map":{"a":"pytorch_model-00002-of-00002.bin","b":"pytorch_model-00001-of-00002.bin",
        "c":"pytorch_model-00002-of-00002.bin"}}"#;
    write("pytorch_model.bin.index.json", map.as_bytes());
    let index = folder.path().join("pytorch_model.bin.index.json");
    let source = open_as(&index, Pickles::Allow).unwrap();
    let tensors: Vec<_> = source.tensors().iter().map(|t| (t.name.as_str(), t.file, source.view(t))).collect();
    assert_eq!(tensors, [("b", 0, &[1u8; 4][..]), ("c", 1, &[2; 4]), ("a", 1, &[3; 2])]);
    assert!(matches!(open(&index).err().unwrap().kind(), Kind::Pickle(Defect::Refused)));

    write("pytorch_model.bin.index.json", map.replace("\"c\"", "\"d\"").as_bytes());
    let error = open_as(&index, Pickles::Allow).err().unwrap();
    assert!(matches!(error.kind(), Kind::Unlisted) && error.to_string().contains("00002"), "{error}");
}
