//! Checkpoints become what llama.cpp's converter makes of them, or one clear error.

mod defects;
#[path = "../support/described.rs"]
mod described;
mod golden;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tempfile::TempDir;
use weightmill::arch::{Choices, IdentifyError, identify};
use weightmill::checkpoint::Checkpoint;
use weightmill::model::Model;

/// A copy of `tests/fixtures/tiny-llama` to be spoilt.
struct Folder {
    choices: Choices,
    _scratch: TempDir,
    path: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("tiny-llama");
        fs::create_dir(&path).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
        }
        Self { choices: Choices::default(), _scratch: scratch, path }
    }

    fn write(&self, file: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path.join(file)).unwrap();
    }

    fn json(&self, file: &str) -> Json {
        serde_json::from_slice(&fs::read(self.path.join(file)).unwrap()).unwrap()
    }

    /// Sets what `pointer` points to, or removes it; files that are not there stay so.
    fn edit(&self, file: &str, pointer: &str, value: Option<Json>) {
        if !self.path.join(file).exists() {
            return;
        }
        let mut root = self.json(file);
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = root.pointer_mut(parent).unwrap();
        match (parent, value) {
            (Json::Array(items), Some(value)) => items[key.parse::<usize>().unwrap()] = value,
            (Json::Object(entries), Some(value)) => drop(entries.insert(key.to_owned(), value)),
            (Json::Object(entries), None) => drop(entries.shift_remove(key)),
            _ => panic!("{file} has nothing at {pointer}"),
        }
        self.write(file, root.to_string());
    }

    /// Writes a checkpoint of zeros with these tensors: name, type, shape.
    fn write_tensors(&self, tensors: &[Json]) {
        let mut header = serde_json::Map::new();
        let mut end = 0;
        for tensor in tensors {
            let width = match tensor[1].as_str().unwrap() {
                "F64" => 8,
                "F32" => 4,
                "I8" => 1,
                _ => 2,
            };
            let shape = tensor[2].as_array().unwrap();
            let begin = end;
            end += shape.iter().map(|n| n.as_u64().unwrap()).product::<u64>() * width;
            let entry = json!({"dtype": tensor[1], "shape": shape, "data_offsets": [begin, end]});
            header.insert(tensor[0].as_str().unwrap().to_owned(), entry);
        }
        let mut header = Json::Object(header).to_string();
        header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + end as usize, 0);
        self.write("model.safetensors", bytes);
    }

    fn identify(&self) -> Result<Model, IdentifyError> {
        let checkpoint = Checkpoint::beside(&self.path)?;
        let source = weightmill_formats::open(checkpoint.weights()).unwrap();
        identify(&checkpoint, source, &self.choices).map(|(_, model)| model)
    }
}
