//! From the path that a user gives to the opened tensors and the model that they are.

use std::path::{Path, PathBuf};

use weightmill_formats::gguf::{self, PartName};
use weightmill_formats::{FORMATS, Metadata, Pickles, Source};

use crate::arch::{self, ArchMap, Choices, IdentifyError, RestoreError};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::license::License;
use crate::model::{Model, ModelTensor, TensorData};
use crate::publish::{self, Published};
use crate::tokenizer::PreTokenizer;
use crate::weights::Weights;

/// An opened input.
pub struct Input {
    /// The path as it was given.
    pub path: PathBuf,
    /// The mapped files and the weights in them.
    pub weights: Weights,
    /// The model that they are.
    pub model: Model,
    /// The folder around a checkpoint; none for GGUF.
    checkpoint: Option<Checkpoint>,
    /// The name of the file that describes the architecture, if it is not a built-in one.
    described_by: Option<String>,
}

/// Why there is no model at a path.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum InputError {
    #[error("{}: there is no such file or folder", path.display())]
    Missing { path: PathBuf },
    #[error("{}: a folder of GGUF files; name the file to read, as in {}", folder.display(), file.display())]
    GgufFolder { folder: PathBuf, file: PathBuf },
    #[error("{}: the key general.architecture is missing, so this is no model", path.display())]
    NoArchitecture { path: PathBuf },
    #[error(
        "{}: --pre {pre} is for checkpoints; a GGUF file has its own pre-tokenizer, which --override-kv \
         tokenizer.ggml.pre=str:{pre} replaces",
        path.display()
    )]
    PreOfGguf { path: PathBuf, pre: PreTokenizer },
    #[error("{}: --tensors-only is for checkpoints; tensors of a GGUF file keep their names anyway", path.display())]
    TensorsOfGguf { path: PathBuf },
    #[error("{}: --arch-map is for checkpoints; a GGUF file says itself of what architecture it is", path.display())]
    MapOfGguf { path: PathBuf },
    #[error("{}: {error}", path.display())]
    NotRestorable { path: PathBuf, error: RestoreError },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Identify(#[from] IdentifyError),
    #[error(transparent)]
    File(#[from] weightmill_formats::Error),
}

/// What lies at a path, before anything is made of its contents.
pub struct Found {
    /// The mapped files.
    pub source: Box<dyn Source>,
    /// The folder around a checkpoint; none for GGUF, which carries everything itself.
    pub checkpoint: Option<Checkpoint>,
}

/// Opens the files at `path`: a `*.safetensors`, a `*.safetensors.index.json`, a checkpoint folder, or a `*.gguf`, of a
/// split one any part; and, if that is allowed, a `*.bin`, `*.pt` or `*.bin.index.json` of PyTorch.
///
/// # Errors
/// If there is nothing, nothing that can be read, or if a file has a defect.
pub fn find(path: &Path, pickles: Pickles) -> Result<Found, InputError> {
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(InputError::Missing { path: path.to_owned() });
        }
        Ok(metadata) if metadata.is_dir() => {
            let checkpoint = Checkpoint::beside_as(path, pickles).map_err(|error| match (error, first_gguf(path)) {
                (CheckpointError::NoWeights { folder }, Some(file)) => InputError::GgufFolder { folder, file },
                (error, _) => error.into(),
            })?;
            let source = weightmill_formats::open_as(checkpoint.weights(), pickles)?;
            return Ok(Found { source, checkpoint: Some(checkpoint) });
        }
        _ => {}
    }
    let source = weightmill_formats::open_as(path, pickles)?;
    let checkpoint = if source.format() == "gguf" { None } else { Some(Checkpoint::beside(path)?) };
    Ok(Found { source, checkpoint })
}

impl Input {
    /// Opens the model at `path`: see [`find`]. Beside safetensors files lie config.json and the tokenizer.
    ///
    /// # Errors
    /// As [`find`], and if the files are no model that this program knows, or leave no choice where one is made.
    pub fn open(path: &Path, pickles: Pickles, choices: &Choices) -> Result<Input, InputError> {
        let Found { source, checkpoint } = find(path, pickles)?;
        let (weights, model) = match &checkpoint {
            Some(checkpoint) => arch::identify(checkpoint, source, choices)?,
            None => {
                if let Some(pre) = choices.pre {
                    return Err(InputError::PreOfGguf { path: path.to_owned(), pre });
                }
                if choices.arch_map.is_some() {
                    return Err(InputError::MapOfGguf { path: path.to_owned() });
                }
                if choices.tensors_only {
                    return Err(InputError::TensorsOfGguf { path: path.to_owned() });
                }
                gguf::check_declared(source.metadata(), source.tensors()).map_err(|error| error.file(path))?;
                let model = stored_model(source.as_ref(), path)?;
                (Weights::plain(source), model)
            }
        };
        let described_by = choices.arch_map.as_ref().map(ArchMap::name);
        Ok(Input { path: path.to_owned(), weights, model, checkpoint, described_by })
    }

    /// What says which tensors there must be.
    pub fn checked_against(&self) -> &str {
        match &self.described_by {
            _ if self.model.own_names => "nothing",
            Some(map) => map,
            None if self.is_checkpoint() => "config.json",
            None => "metadata",
        }
    }

    /// True for a checkpoint, false for GGUF, which carries everything itself.
    pub fn is_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// The licence that the model states.
    pub fn license(&self) -> License {
        match &self.checkpoint {
            Some(checkpoint) => License::of_checkpoint(&self.model, checkpoint.folder()),
            None => License::of_gguf(&self.model, &self.path),
        }
    }

    /// The model as a checkpoint folder.
    ///
    /// # Errors
    /// If a file beside the weights cannot be read, or if a GGUF file's model cannot be restored.
    pub fn publish(&self) -> Result<Published, InputError> {
        let published = match &self.checkpoint {
            Some(checkpoint) => publish::of_checkpoint(checkpoint, &self.weights, self.model.own_names)?,
            None => publish::of_gguf(&self.model, &self.weights)
                .map_err(|error| InputError::NotRestorable { path: self.path.clone(), error })?,
        };
        Ok(published.with_experts(&self.model))
    }

    /// What output files are named after: the folder's own name, a single file's stem, or a GGUF file's stem without
    /// its type and part.
    pub fn name(&self) -> String {
        let path = &self.path;
        if path.is_dir() {
            return own_name(path);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if self.weights.source().format() == "gguf" {
            let stem = PartName::of(path).map_or_else(|| name.trim_end_matches(".gguf").to_owned(), |part| part.stem);
            return without_type(&stem).to_owned();
        }
        let suffixes = FORMATS.iter().flat_map(|format| format.suffixes).filter(|suffix| !suffix.ends_with(".json"));
        match suffixes.into_iter().find_map(|suffix| name.strip_suffix(suffix)) {
            Some(stem) => stem.to_owned(),
            // An index stands for the whole folder.
            None => own_name(path.parent().unwrap_or(Path::new(""))),
        }
    }
}

/// A GGUF file as a model: everything is as stored.
fn stored_model(source: &dyn Source, path: &Path) -> Result<Model, InputError> {
    let metadata: Metadata = source.metadata().clone();
    let architecture = metadata.string("general.architecture").map(str::to_owned);
    let architecture = architecture.ok_or_else(|| InputError::NoArchitecture { path: path.to_owned() })?;
    let tensor = |(index, info): (usize, &weightmill_formats::TensorInfo)| ModelTensor {
        name: info.name.clone(),
        shape: info.shape.clone(),
        dtype: info.dtype,
        data: TensorData::stored(index, &info.shape),
    };
    let tensors = source.tensors().iter().enumerate().map(tensor).collect();
    let mut notes = Vec::new();
    let key = format!("{architecture}.block_count");
    if metadata.get(&key).is_none() {
        notes.push(format!(
            "{}: the key {key} is missing, so llama.cpp does not know this model; types that depend on a layer's \
             place are chosen as if it had none",
            path.display()
        ));
    }
    Ok(Model { architecture, own_names: false, metadata, tensors, notes })
}

/// The name of a folder, also where the path is `.`, empty or ends in `..`.
fn own_name(folder: &Path) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let absolute = folder.canonicalize();
    let folder = match folder.file_name() {
        Some(_) => folder,
        None => absolute.as_deref().unwrap_or(folder),
    };
    folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Drops the type of an unquantized GGUF file from its stem, in any case.
fn without_type(stem: &str) -> &str {
    let shorter = ["-bf16", "-f16", "-f32"].iter().find_map(|suffix| {
        let at = stem.len().checked_sub(suffix.len())?;
        let (rest, end) = stem.split_at_checked(at)?;
        end.eq_ignore_ascii_case(suffix).then_some(rest)
    });
    shorter.filter(|rest| !rest.is_empty()).unwrap_or(stem)
}

fn first_gguf(folder: &Path) -> Option<PathBuf> {
    let files = folder.read_dir().ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    files.filter(|path| path.extension().is_some_and(|extension| extension == "gguf")).min()
}
