//! What lies in a Hugging Face folder: which file holds the weights, and the small files beside it.
//!
//! Nothing here interprets a file beyond "is this JSON"; `arch` and `tokenizer` do. Sizes are bounded, because a
//! folder from the network may hold anything under these names.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde::de::DeserializeOwned;
use weightmill_formats::{FORMATS, Pickles};

/// Most bytes of a configuration file. Published ones have a few kilobytes; those with quantization settings per
/// layer reach a few hundred.
const CONFIG_LIMIT: u64 = 16 << 20;
/// Most bytes of a vocabulary. The largest published `tokenizer.json` have 33 MB.
const VOCABULARY_LIMIT: u64 = 128 << 20;
/// Most bytes of a SentencePiece model. The largest published ones have 5 MB.
const SENTENCEPIECE_LIMIT: u64 = 32 << 20;

/// Failures to find or read the files of a checkpoint.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CheckpointError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: not a regular file", path.display())]
    NotAFile { path: PathBuf },
    #[error("{}: larger than {limit} bytes, the most that is read for a file of this name", path.display())]
    TooLarge { path: PathBuf, limit: u64 },
    #[error("{}: not UTF-8 at byte {offset}", path.display())]
    NotUtf8 { path: PathBuf, offset: usize },
    #[error("{}: not as expected: {error}", path.display())]
    Json { path: PathBuf, error: serde_json::Error },
    #[error("{}: no weights: neither model.safetensors.index.json nor a *.safetensors file is there", folder.display())]
    NoWeights { folder: PathBuf },
    #[error(
        "{}: only PyTorch pickles such as {file}; Python runs the code in a pickle when it opens one, so it is not read: \
         look for the model's safetensors files, or add --allow-pickle: tensors are then rebuilt without running \
         anything in it",
        folder.display()
    )]
    OnlyPickles { folder: PathBuf, file: String },
    #[error(
        "{}: a pipeline of diffusers, whose parts are models of their own: name one, as in {}",
        folder.display(),
        parts.iter().map(|part| folder.join(part).display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Pipeline { folder: PathBuf, parts: Vec<String> },
    #[error(
        "{}: several files of weights and no index that says how they belong together: {}; \
         name the one to read",
        folder.display(),
        files.join(", ")
    )]
    SeveralWeights { folder: PathBuf, files: Vec<String> },
}

/// The files that may lie beside the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SideFile {
    Config,
    GenerationConfig,
    HfQuantConfig,
    Modules,
    ModelIndex,
    TokenizerJson,
    TokenizerConfig,
    SentencePiece,
    QwenRanks,
    Vocab,
    Tekken,
    SpecialTokensMap,
    AddedTokens,
    Merges,
    ChatTemplateJinja,
    ChatTemplateJson,
}

impl SideFile {
    /// Name in the folder and the most bytes that are read of it.
    const fn row(self) -> (&'static str, u64) {
        match self {
            SideFile::Config => ("config.json", CONFIG_LIMIT),
            SideFile::GenerationConfig => ("generation_config.json", CONFIG_LIMIT),
            SideFile::HfQuantConfig => ("hf_quant_config.json", CONFIG_LIMIT),
            SideFile::Modules => ("modules.json", CONFIG_LIMIT),
            SideFile::ModelIndex => ("model_index.json", CONFIG_LIMIT),
            SideFile::TokenizerJson => ("tokenizer.json", VOCABULARY_LIMIT),
            SideFile::TokenizerConfig => ("tokenizer_config.json", CONFIG_LIMIT),
            SideFile::SentencePiece => ("tokenizer.model", SENTENCEPIECE_LIMIT),
            SideFile::QwenRanks => ("qwen.tiktoken", SENTENCEPIECE_LIMIT),
            SideFile::Vocab => ("vocab.json", VOCABULARY_LIMIT),
            SideFile::Tekken => ("tekken.json", VOCABULARY_LIMIT),
            SideFile::SpecialTokensMap => ("special_tokens_map.json", CONFIG_LIMIT),
            SideFile::AddedTokens => ("added_tokens.json", CONFIG_LIMIT),
            SideFile::Merges => ("merges.txt", VOCABULARY_LIMIT),
            SideFile::ChatTemplateJinja => ("chat_template.jinja", CONFIG_LIMIT),
            SideFile::ChatTemplateJson => ("chat_template.json", CONFIG_LIMIT),
        }
    }

    /// Name in the folder.
    pub const fn name(self) -> &'static str {
        self.row().0
    }
}

/// A folder as published on Hugging Face, and the file in it that holds or lists the weights.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    weights: PathBuf,
    /// The path was that of the file with the weights.
    is_file: bool,
}

impl Checkpoint {
    /// The checkpoint at `path`: a folder, or a file of weights (or an index of shards) with the rest beside it.
    ///
    /// # Errors
    /// When the path cannot be read, or when a folder does not have exactly one candidate for the weights.
    pub fn beside(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        Self::beside_as(path, Pickles::Refuse)
    }

    /// The checkpoint at `path`, as [`Self::beside`] finds it; where a folder has no safetensors files, PyTorch's, if they
    /// are allowed.
    ///
    /// # Errors
    /// As for [`Self::beside`].
    pub fn beside_as(path: impl AsRef<Path>, pickles: Pickles) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        if path.metadata().map_err(|error| io_error(path, error))?.is_dir() {
            return Ok(Self { folder: path.to_owned(), weights: find_weights(path, pickles)?, is_file: false });
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { folder, weights: path.to_owned(), is_file: true })
    }

    /// The folder in which everything lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file to open as a source of tensors: a `*.safetensors`, a pickle such as `pytorch_model.bin`, or an index of such
    /// files.
    pub fn weights(&self) -> &Path {
        &self.weights
    }

    /// True for a file of weights in a folder that need not be its own: nothing in it says that it belongs to a model.
    pub fn is_lone_file(&self) -> bool {
        self.is_file && !self.has(SideFile::Config) && !self.has(SideFile::ModelIndex)
    }

    /// The folder's own name (of a lone file, its stem), from which `general.name` and its relatives derive.
    pub fn name(&self) -> String {
        let text = |name: &OsStr| name.to_string_lossy().into_owned();
        if let Some(stem) = self.weights.file_stem().filter(|_| self.is_lone_file()) {
            return text(stem);
        }
        match self.folder.file_name() {
            Some(name) => text(name),
            // `.`, `..` and the like
            None => self.folder.canonicalize().ok().and_then(|path| path.file_name().map(text)).unwrap_or_default(),
        }
    }

    /// Where `file` is or would be.
    pub fn path(&self, file: SideFile) -> PathBuf {
        self.folder.join(file.name())
    }

    /// Whether `file` is there.
    pub fn has(&self, file: SideFile) -> bool {
        self.path(file).exists()
    }

    /// The bytes of `file`, if it is there.
    ///
    /// # Errors
    /// When it cannot be read, is no regular file, or is larger than its limit.
    pub fn bytes(&self, file: SideFile) -> Result<Option<Vec<u8>>, CheckpointError> {
        read_bounded(&self.path(file), file.row().1)
    }

    /// The text of `file`, if it is there.
    ///
    /// # Errors
    /// As for [`Self::bytes`], and when it is not UTF-8.
    pub fn text(&self, file: SideFile) -> Result<Option<String>, CheckpointError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        utf8(&self.path(file), bytes).map(Some)
    }

    /// `file` read as JSON, if it is there.
    ///
    /// # Errors
    /// As for [`Self::bytes`], and when it is not JSON of the expected form.
    pub fn json<T: DeserializeOwned>(&self, file: SideFile) -> Result<Option<T>, CheckpointError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        let path = self.path(file);
        serde_json::from_slice(&bytes).map(Some).map_err(|error| CheckpointError::Json { path, error })
    }

    /// `file` in the folder `name` inside this one read as JSON, if it is there. Nothing is read elsewhere: a `name` that
    /// leads out of the folder counts as absent.
    ///
    /// # Errors
    /// As for [`Self::json`].
    pub fn json_below<T: DeserializeOwned>(&self, name: &str, file: SideFile) -> Result<Option<T>, CheckpointError> {
        let mut parts = Path::new(name).components();
        let (Some(Component::Normal(part)), None) = (parts.next(), parts.next()) else { return Ok(None) };
        let inner = Self { folder: self.folder.join(part), weights: self.weights.clone(), is_file: self.is_file };
        inner.json(file)
    }

    /// The templates in `additional_chat_templates/`, name and text, by name.
    ///
    /// # Errors
    /// As for [`Self::text`].
    pub fn additional_chat_templates(&self) -> Result<Vec<(String, String)>, CheckpointError> {
        let folder = self.folder.join("additional_chat_templates");
        if !folder.is_dir() {
            return Ok(Vec::new());
        }
        let mut templates = Vec::new();
        for name in names_in(&folder)? {
            let Some(stem) = name.strip_suffix(".jinja") else { continue };
            let path = folder.join(&name);
            if let Some(bytes) = read_bounded(&path, CONFIG_LIMIT)? {
                templates.push((stem.to_owned(), utf8(&path, bytes)?));
            }
        }
        Ok(templates)
    }
}

impl Checkpoint {
    /// The regular files of the folder for whose names `wanted` is true, by name, with their content.
    ///
    /// # Errors
    /// When one cannot be read, or is larger than any file that belongs beside weights.
    pub fn others(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
        let mut files = Vec::new();
        for name in names_in(&self.folder)?.into_iter().filter(|name| wanted(name)) {
            let path = self.folder.join(&name);
            if path.is_file()
                && let Some(bytes) = read_bounded(&path, VOCABULARY_LIMIT)?
            {
                files.push((name, bytes));
            }
        }
        Ok(files)
    }
}

/// Files that training leaves beside the weights, by the beginnings of their names.
const TRAINING_STATE: [&str; 5] = ["training_args.", "optimizer.", "scheduler.", "scaler.", "rng_state"];

/// Index of shards first, then the usual name, then the only index or file; pickles only where there is nothing else.
fn find_weights(folder: &Path, pickles: Pickles) -> Result<PathBuf, CheckpointError> {
    let usual = |names: [&str; 2]| names.map(|name| folder.join(name)).into_iter().find(|path| path.exists());
    if let Some(path) = usual(["model.safetensors.index.json", "model.safetensors"]) {
        return Ok(path);
    }
    let names = names_in(folder)?;
    let mut indices = names.iter().filter(|name| name.ends_with(".safetensors.index.json"));
    if let (Some(index), None) = (indices.next(), indices.next()) {
        return Ok(folder.join(index));
    }
    let mut files: Vec<&String> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
    // Mistral publishes the same weights a second time under its own names.
    if files.iter().any(|name| !name.starts_with("consolidated")) {
        files.retain(|name| !name.starts_with("consolidated"));
    }
    if files.is_empty() {
        files = names.iter().filter(|name| is_pickle(name)).collect();
        if let (Some(file), Pickles::Refuse) = (files.first(), pickles) {
            return Err(CheckpointError::OnlyPickles { folder: folder.to_owned(), file: file.to_string() });
        }
        if let Some(path) = usual(["pytorch_model.bin.index.json", "pytorch_model.bin"]) {
            return Ok(path);
        }
    }
    match files.as_slice() {
        [file] => Ok(folder.join(file)),
        [] if folder.join(SideFile::ModelIndex.name()).exists() => {
            let has_weights = |name: &String| {
                let names = names_in(&folder.join(name)).unwrap_or_default();
                names.iter().any(|name| name.ends_with(".safetensors"))
            };
            Err(CheckpointError::Pipeline {
                folder: folder.to_owned(),
                parts: names.iter().filter(|name| has_weights(name)).cloned().collect(),
            })
        }
        [] => Err(CheckpointError::NoWeights { folder: folder.to_owned() }),
        _ => Err(CheckpointError::SeveralWeights {
            folder: folder.to_owned(),
            files: files.into_iter().cloned().collect(),
        }),
    }
}

fn is_pickle(name: &str) -> bool {
    let formats = FORMATS.iter().filter(|format| format.pickle);
    formats.flat_map(|format| format.suffixes).any(|suffix| name.ends_with(suffix))
        && !TRAINING_STATE.iter().any(|beginning| name.starts_with(beginning))
}

/// Names in a folder that are UTF-8, in byte order.
fn names_in(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(|error| io_error(folder, error))? {
        let entry = entry.map_err(|error| io_error(folder, error))?;
        names.extend(entry.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}

pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(path, error)),
        // opening a pipe would wait for a writer
        Ok(metadata) if !metadata.is_file() => return Err(CheckpointError::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| io_error(path, error))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| io_error(path, error))?;
    if bytes.len() as u64 > limit {
        return Err(CheckpointError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(Some(bytes))
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, CheckpointError> {
    String::from_utf8(bytes)
        .map_err(|error| CheckpointError::NotUtf8 { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })
}

fn io_error(path: &Path, error: io::Error) -> CheckpointError {
    CheckpointError::Io { path: path.to_owned(), error }
}
