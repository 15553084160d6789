//! The checkpoints of `golden/families.py`, made here from the same integers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use crate::described::base64;

/// A checkpoint in a folder of the case's name.
pub struct Checkpoint {
    _scratch: TempDir,
    pub path: PathBuf,
}

impl Checkpoint {
    /// What a golden file says was converted.
    pub fn make(name: &str, golden: &Json) -> Self {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join(name);
        fs::create_dir(&path).unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            fs::copy(fixture.join(file), path.join(file)).unwrap();
        }
        for (file, content) in golden["files"].as_object().unwrap() {
            fs::create_dir_all(path.join(file).parent().unwrap()).unwrap();
            match content {
                Json::Null => fs::remove_file(path.join(file)),
                Json::String(text) => fs::write(path.join(file), text),
                encoded => fs::write(path.join(file), base64(encoded["base64"].as_str().unwrap())),
            }
            .unwrap();
        }
        fs::write(path.join("config.json"), golden["config"].to_string()).unwrap();
        let checkpoint = Self { _scratch: scratch, path };
        checkpoint.write_weights(golden["shards"].as_array().unwrap());
        checkpoint
    }

    /// Writes files with these tensors (name, shape, type), and their index if there are several.
    pub fn write_weights(&self, shards: &[Json]) {
        let mut index = Map::new();
        for (number, shard) in shards.iter().enumerate() {
            let file = match shards.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            let tensors = shard.as_array().unwrap();
            index.extend(tensors.iter().map(|tensor| (tensor[0].as_str().unwrap().to_owned(), json!(file))));
            fs::write(self.path.join(file), safetensors(tensors)).unwrap();
        }
        if shards.len() > 1 {
            let index = json!({"metadata": {}, "weight_map": index});
            fs::write(self.path.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
    }
}

fn safetensors(tensors: &[Json]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for tensor in tensors {
        let (name, dtype) = (tensor[0].as_str().unwrap(), tensor[2].as_str().unwrap());
        let shape: Vec<u64> = tensor[1].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        let begin = data.len();
        data.extend(stored(name, shape.iter().product(), dtype));
        header.insert(name.to_owned(), json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]}));
    }
    let mut header = Json::Object(header).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Bytes of a tensor of this name, as `stored` of families.py computes them.
fn stored(name: &str, count: u64, dtype: &str) -> Vec<u8> {
    let seed = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |seed: u64, byte| (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let scales = name.ends_with("scale_inv");
    let exponents = name.ends_with("_scales");
    let value = |index: u64| {
        let x = seed.wrapping_add(index);
        let x = (x ^ x >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ x >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = x ^ x >> 29;
        let bf16 = (x & 1) << 15 | (115 + (x >> 1 & 7)) << 7 | x >> 57;
        let byte = (x >> 48) as u8;
        match dtype {
            "BF16" => (bf16 as u16).to_le_bytes().to_vec(),
            "F16" => (((x & 1) << 15 | (3 + (x >> 1 & 7)) << 10 | x >> 54) as u16).to_le_bytes().to_vec(),
            "F32" => {
                let bits = (bf16 << 16 | x >> 8 & 0xffff) as u32;
                (if scales { bits & 0x7fff_ffff } else { bits }).to_le_bytes().to_vec()
            }
            "F8_E4M3" => vec![if byte & 127 == 127 { byte - 1 } else { byte }],
            "U8" => vec![if exponents { 100 + byte % 40 } else { byte }],
            other => panic!("no weights of type {other}"),
        }
    };
    (0..count).flat_map(value).collect()
}
