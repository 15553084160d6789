//! Decodes every weight of a quantized checkpoint, as FP8, GPTQ, AWQ, MLX and others publish them, to f32.
//!
//! Run with `cargo run --release --example decode -- CHECKPOINT OUT.safetensors`. Where a type of GGUF can hold a weight
//! exactly, `OUT.safetensors` also has its blocks, as the bytes of `NAME#TYPE`.

use std::env;
use std::error::Error;
use std::path::Path;

use weightmill::checkpoint::{Checkpoint, SideFile};
use weightmill::scheme;
use weightmill::weights::Storage;
use weightmill_formats::{Metadata, TensorSpec, safetensors};
use weightmill_kernels::{Dtype, Level};

fn main() -> Result<(), Box<dyn Error>> {
    let [checkpoint, out] =
        env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: decode CHECKPOINT OUT")?;
    let checkpoint = Checkpoint::beside(&checkpoint)?;
    let config = checkpoint.json(SideFile::Config)?;
    let source = weightmill_formats::open(checkpoint.weights())?;
    let (weights, notes) = scheme::read(source, config.as_ref().and_then(scheme::quantization_config))?;
    notes.iter().for_each(|note| eprintln!("{note}"));

    let level = Level::detect();
    let (mut specs, mut contents) = (Vec::new(), Vec::new());
    for weight in weights.list() {
        let elements = weight.shape.iter().product::<u64>() as usize;
        let columns = weight.columns();
        let rows = elements / columns.max(1);
        println!("{} {:?} {}", weight.name, weight.shape, weight.stored_as());
        let encoded = match &weight.storage {
            Storage::Encoded(encoded) => Some(encoded),
            Storage::Plain(_) if weight.dtype.info().dequantize.is_some() => None,
            Storage::Plain(_) => continue,
        };
        let mut decoded = vec![0.0; elements];
        weights.decode(weight, level, 0..rows, 0..columns, &mut decoded);
        let bytes: Vec<u8> = decoded.iter().flat_map(|value| value.to_le_bytes()).collect();
        specs.push(TensorSpec { name: weight.name.clone(), shape: weight.shape.clone(), dtype: Dtype::F32 });
        contents.push(bytes);
        if let Some((encoded, dtype)) = encoded.and_then(|encoded| Some((encoded, encoded.lossless()?))) {
            let mut blocks = vec![0; elements / dtype.info().block_len * dtype.info().block_bytes];
            encoded.repack(weights.source(), 0..rows, &mut blocks);
            let name = format!("{}#{dtype}", weight.name);
            specs.push(TensorSpec { name, shape: vec![blocks.len() as u64], dtype: Dtype::U8 });
            contents.push(blocks);
        }
    }
    let layout = safetensors::layout(&Metadata::new(), &specs)?;
    let mut file = vec![0; layout.length as usize];
    file[..layout.header.len()].copy_from_slice(&layout.header);
    for (range, bytes) in layout.tensors.iter().zip(&contents) {
        file[range.start as usize..range.end as usize].copy_from_slice(bytes);
    }
    std::fs::write(Path::new(&out), file)?;
    Ok(())
}
