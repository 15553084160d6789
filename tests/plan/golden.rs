//! Reads the goldens.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use weightmill::options::{Output, Request, Split, parse_dtype, parse_layers};
use weightmill::recipe::Recipe;
use weightmill::target::Target;
use weightmill_formats::{Metadata, Value};
use weightmill_kernels::Dtype;

/// A model and what llama.cpp made of it.
pub struct Golden {
    pub name: String,
    pub metadata: Metadata,
    pub tensors: Vec<Tensor>,
    /// Tensors per file, if the model lies in several.
    pub split: Option<usize>,
    pub cases: Vec<Case>,
}

pub struct Tensor {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: Dtype,
}

/// One run of llama.cpp.
pub struct Case {
    /// Type and options as in the file.
    pub line: String,
    pub recipe: &'static Recipe,
    pub options: Vec<String>,
    pub importance: bool,
    /// SHA-256 of everything before the first tensor and size, for every file.
    pub files: Vec<(String, u64)>,
    /// Types of tensors of more than one dimension, by name.
    pub types: BTreeMap<String, String>,
}

impl Golden {
    pub fn all() -> Vec<Golden> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/recipes");
        let files = fs::read_dir(folder).expect("folder of goldens").map(|entry| entry.expect("entry").path());
        let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
        files.sort();
        assert!(files.len() > 20, "goldens are missing");
        files.iter().map(|path| Golden::read(path)).collect()
    }

    /// The model of one golden.
    pub fn named(name: &str) -> Golden {
        Golden::all().into_iter().find(|golden| golden.name == name).expect("a golden of this name")
    }

    fn read(path: &Path) -> Golden {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut golden =
            Golden { name, metadata: Metadata::new(), tensors: Vec::new(), split: None, cases: Vec::new() };
        for line in fs::read_to_string(path).expect("text").lines() {
            golden.line(line);
        }
        golden
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["#", ..] => {}
            ["kv", key, kind, value] => self.metadata.set(*key, parse_value(kind, value)),
            ["tensor", dtype, shape, name, blocks @ ..] => {
                let shape: Vec<u64> = shape.split('x').map(|n| n.parse().expect("length")).collect();
                let dtype = Dtype::from_name(dtype).expect("type");
                let names = expand(name, blocks);
                self.tensors.extend(names.into_iter().map(|name| Tensor { name, shape: shape.clone(), dtype }));
            }
            ["split", count] => self.split = Some(count.parse().expect("number")),
            ["case", recipe, options @ ..] => self.cases.push(Case {
                line: line.to_owned(),
                recipe: Recipe::find(recipe).expect("recipe"),
                options: options.iter().filter(|option| **option != "--imatrix").map(|&word| word.to_owned()).collect(),
                importance: options.contains(&"--imatrix"),
                files: Vec::new(),
                types: BTreeMap::new(),
            }),
            ["", "", "header", header, bytes] => {
                let file = (header.to_string(), bytes.parse().expect("size"));
                self.cases.last_mut().expect("a case").files.push(file);
            }
            ["", "", dtype, name, blocks @ ..] => {
                let types = expand(name, blocks).into_iter().map(|name| (name, dtype.to_string()));
                self.cases.last_mut().expect("a case").types.extend(types);
            }
            _ => panic!("{}: {line}", self.name),
        }
    }
}

impl Case {
    pub fn request(&self) -> Request {
        let mut request = Request {
            outputs: vec![Output { target: Target::Gguf(self.recipe), path: "out.gguf".into() }],
            ..Request::default()
        };
        let mut words = self.options.iter().map(String::as_str);
        while let Some(option) = words.next() {
            let mut value = || words.next().expect("a value");
            match option {
                "--keep-split" => request.split = Split::AsInput,
                "--pure" => request.types.pure = true,
                "--leave-output-tensor" => request.types.leave_output_tensor = true,
                "--output-tensor-type" => request.types.output_tensor = Some(parse_dtype(value()).expect("type")),
                "--token-embedding-type" => request.types.token_embedding = Some(parse_dtype(value()).expect("type")),
                "--tensor-type" => request.types.tensors.push(value().parse().expect("pattern and type")),
                "--override-kv" => request.overrides.push(value().parse().expect("key and value")),
                "--prune-layers" => request.prune_layers = parse_layers(value()).expect("layers"),
                _ => panic!("{option}"),
            }
        }
        request
    }
}

fn parse_value(kind: &str, text: &str) -> Value {
    match kind {
        "str" => text.into(),
        "u32" => text.parse::<u32>().expect("number").into(),
        "f32" => text.parse::<f32>().expect("number").into(),
        // gguf-py writes lists of integers as INT32.
        "u32s" => text.split(',').map(|n| n.parse::<i32>().expect("number")).collect::<Vec<_>>().into(),
        _ => panic!("{kind}"),
    }
}

/// `blk.*.x` and `0-2,5` to the names of four tensors.
fn expand(name: &str, blocks: &[&str]) -> Vec<String> {
    let [blocks] = blocks else { return vec![name.to_owned()] };
    let numbers = blocks.split(',').flat_map(|run| {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        first.parse::<u32>().expect("block")..=last.parse().expect("block")
    });
    numbers.map(|block| name.replacen('*', &block.to_string(), 1)).collect()
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
