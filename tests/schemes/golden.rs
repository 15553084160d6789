//! Small checkpoints of every format against what the packages that define the formats decode them to: see
//! `tests/golden/schemes.py`.

use std::sync::LazyLock;

use half::{bf16, f16};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use weightmill::scheme;
use weightmill::weights::{Encoded, Storage, Weights};
use weightmill_formats::Source as _;
use weightmill_kernels::{Dtype, Level, dequantize};

use crate::memory::Memory;

/// A checkpoint, and what must come out of it.
pub struct Case {
    pub name: String,
    pub config: Json,
    pub source: Memory,
    expected: Json,
}

/// All cases.
pub static CASES: LazyLock<Vec<Case>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    let file = weightmill_formats::open(format!("{folder}/schemes.safetensors").as_ref()).unwrap();
    let text = std::fs::read_to_string(format!("{folder}/schemes.json")).unwrap();
    let Json::Object(cases) = serde_json::from_str(&text).unwrap() else { panic!("not an object") };
    let case = |(name, expected): (String, Json)| {
        let mut source = Memory::default();
        for tensor in file.tensors() {
            if let Some(own) = tensor.name.strip_prefix(&format!("{name}/")) {
                source = source.with(own, tensor.dtype, &tensor.shape, file.view(tensor));
            }
        }
        assert!(!source.tensors().is_empty(), "{name} has tensors");
        Case { name, config: expected["config"].clone(), source, expected }
    };
    cases.into_iter().map(case).collect()
});

impl Case {
    /// The weights of the checkpoint.
    pub fn read(&self) -> Weights {
        let config = scheme::quantization_config(&self.config);
        scheme::read(Box::new(self.source.clone()), config).unwrap_or_else(|error| panic!("{}: {error}", self.name)).0
    }
}

/// The weight that is encoded, decoded as a whole.
pub fn decode(weights: &Weights, level: Level) -> (&dyn Encoded, [usize; 2], Vec<f32>) {
    let weight = weights.list().iter().find(|weight| matches!(weight.storage, Storage::Encoded(_))).expect("a weight");
    let Storage::Encoded(encoded) = &weight.storage else { unreachable!("found as such") };
    let columns = weight.columns();
    let rows = weight.shape.iter().product::<u64>() as usize / columns;
    let mut values = vec![f32::NAN; rows * columns];
    weights.decode(weight, level, 0..rows, 0..columns, &mut values);
    (encoded.as_ref(), [rows, columns], values)
}

fn digest(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn weights_are_those_that_the_formats_packages_decode() {
    for case in CASES.iter() {
        let weights = case.read();
        for level in Level::all() {
            let (encoded, _, values) = decode(&weights, level);
            let weight = weights.list().iter().find(|weight| weight.name == case.expected["weight"]).unwrap();
            assert_eq!(serde_json::to_value(&weight.shape).unwrap(), case.expected["shape"], "{}", case.name);
            assert_eq!(weight.dtype, Dtype::BF16);
            let rounded: Vec<f32> = match case.expected["rounded"].as_str().unwrap() {
                "BF16" => values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect(),
                "F16" => values.iter().map(|value| f16::from_f32(*value).to_f32()).collect(),
                _ => values,
            };
            assert_eq!(
                digest(&rounded),
                case.expected["sha256"],
                "{}: {}, {}",
                case.name,
                encoded.name(),
                level.name()
            );
        }
    }
}

#[test]
fn exact_blocks_decode_to_the_same_weights() {
    for case in CASES.iter() {
        let weights = case.read();
        let (encoded, [rows, columns], mut values) = decode(&weights, Level::detect());
        assert_eq!(encoded.lossless().map(Dtype::name), case.expected["blocks"].as_str(), "{}", case.name);
        let Some(dtype) = encoded.lossless() else { continue };
        let row_bytes = columns / dtype.info().block_len * dtype.info().block_bytes;
        let mut blocks = vec![0xa5; rows * row_bytes];
        encoded.repack(weights.source(), 0..rows, &mut blocks);
        let again = decode_blocks(dtype, &blocks, values.len());
        // ggml's tables of 4-bit floats have no negative zero.
        if matches!(dtype, Dtype::MXFP4 | Dtype::NVFP4) {
            values.iter_mut().for_each(|value| *value += 0.0);
        }
        let expected = case.expected["blocks_sha256"].as_str().map_or_else(|| digest(&values), str::to_owned);
        assert_eq!(digest(&again), expected, "{}", case.name);
        // Any rows alone are the same blocks.
        for first in 0..rows {
            let some = first..rows.min(first + 3);
            let mut part = vec![0; some.len() * row_bytes];
            encoded.repack(weights.source(), some.clone(), &mut part);
            assert_eq!(part, blocks[some.start * row_bytes..some.end * row_bytes], "{}: rows {some:?}", case.name);
        }
    }
}

/// Decodes blocks as ggml does; of the 4-bit floats by what ggml-quants.c says.
fn decode_blocks(dtype: Dtype, blocks: &[u8], weights: usize) -> Vec<f32> {
    const VALUES: [f32; 16] = [0., 1., 2., 3., 4., 6., 8., 12., 0., -1., -2., -3., -4., -6., -8., -12.];
    let nibbles = |d: f32, bytes: &[u8]| -> Vec<f32> {
        let halves = bytes.iter().map(|byte| byte & 15).chain(bytes.iter().map(|byte| byte >> 4));
        halves.map(|code| VALUES[usize::from(code)] * d + 0.0).collect()
    };
    match dtype {
        Dtype::MXFP4 => {
            blocks.chunks(17).flat_map(|b| nibbles(2f64.powi(i32::from(b[0]) - 128) as f32, &b[1..])).collect()
        }
        Dtype::NVFP4 => {
            let scale = |byte: u8| {
                let (exponent, mantissa) = (i32::from(byte >> 3), f32::from(byte & 7));
                let power = if exponent == 0 {
                    mantissa * 2f32.powi(-9)
                } else {
                    (1. + mantissa / 8.) * 2f32.powi(exponent - 7)
                };
                power * 0.5
            };
            let parts = blocks.chunks(36).flat_map(|block| block[..4].iter().zip(block[4..].chunks(8)));
            parts.flat_map(|(byte, codes)| nibbles(scale(*byte), codes)).collect()
        }
        _ => {
            let mut values = vec![f32::NAN; weights];
            dequantize(Level::detect(), dtype, blocks, &mut values);
            values
        }
    }
}
