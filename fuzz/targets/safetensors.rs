//! What the reader accepts lies inside the file, and the safetensors crate accepts what is laid out from it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weightmill_formats::{TensorSpec, safetensors};

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz.safetensors");
    let Ok(header) = safetensors::parse(bytes, path) else { return };
    for tensor in &header.tensors {
        assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
        assert_eq!(tensor.dtype.byte_size(tensor.weights()), Some(tensor.bytes));
    }
    let spec = |t: &weightmill_formats::TensorInfo| TensorSpec {
        name: t.name.clone(),
        shape: t.shape.clone(),
        dtype: t.dtype,
    };
    let specs: Vec<_> = header.tensors.iter().map(spec).collect();
    let mut layout = safetensors::layout(&header.metadata, &specs).unwrap();
    layout.header.resize(layout.length as usize, 0);
    assert_eq!(safetensors::parse(&layout.header, path).unwrap().tensors.len(), specs.len());
});
