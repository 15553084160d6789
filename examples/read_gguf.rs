//! Lists the metadata and the tensors of a model file with the formats crate: GGUF, safetensors, also split ones.
//!
//! Run with `cargo run --example read_gguf -- model.gguf`.

use std::env;
use std::error::Error;
use std::path::Path;

use weightmill_formats::{Array, Value};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("usage: read_gguf FILE")?;
    // Maps the file and checks its whole header; weights are not read.
    let source = weightmill_formats::open(Path::new(&path))?;

    println!("{}, {} files", source.format(), source.files().len());
    for (key, value) in source.metadata().iter() {
        match value {
            Value::String(text) => println!("{key} = {:?}", text.chars().take(60).collect::<String>()),
            Value::Array(Array::String(texts)) => println!("{key}: {} strings", texts.len()),
            Value::Array(_) => println!("{key}: an array"),
            number => println!("{key} = {number:?}"),
        }
    }
    for tensor in source.tensors() {
        // The bytes as they lie in the file, straight from the map.
        let bytes = source.view(tensor);
        let first = &bytes[..bytes.len().min(4)];
        println!("{} {:?} {}: {} bytes, {first:02x?} ...", tensor.name, tensor.shape, tensor.dtype, bytes.len());
    }
    Ok(())
}
