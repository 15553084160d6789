//! What the reader accepts lies inside the file, and laid out again reads back the same.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weightmill_formats::{TensorSpec, gguf};

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzz.gguf");
    let Ok(header) = gguf::parse(bytes, path) else { return };
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
    // Names may be longer than what is written.
    let Ok(mut layout) = gguf::layout(&header.metadata, &specs) else { return };
    layout.header.resize(layout.length as usize, 0);
    assert_eq!(gguf::parse(&layout.header, path).unwrap().tensors, header.tensors);
});
