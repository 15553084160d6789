//! Architectures: what a checkpoint's config and tensors become in GGUF. One row of [`ARCHITECTURES`] each.
//!
//! A row names the `architectures` of config.json that it stands for, completes the config with what the family
//! takes for granted, and describes the tensors by rules. The rest is common to all.

mod bare;
mod cohere;
mod config;
mod decoder;
mod deepseek;
mod error;
mod experts;
mod gemma;
mod glm;
mod glm4_moe;
mod gpt_oss;
mod granite;
mod hybrid;
mod hyper;
mod invert;
mod llama;
mod llama4;
mod map;
mod mistral3;
mod mixtral;
mod multimodal;
mod olmo;
mod phi3;
mod pooling;
mod qwen;
mod qwen3_5;
mod qwen3_next;
mod restore;
mod rope;
mod rule;
mod smollm3;
mod starcoder;
mod tensors;

use serde_json::json;
use weightmill_formats::{Metadata, Source, Value};
use weightmill_kernels::Dtype;

use crate::card::{self, ParameterCounts};
use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};
use crate::model::{Model, ModelTensor, TensorData};
use crate::scheme;
use crate::tokenizer::{self, PreTokenizer, Vocabulary};
use crate::weights::Weights;
use config::Config;
use rule::Rule;

pub use config::ConfigError;
pub use error::{IdentifyError, Listing};
pub use invert::InvertError;
pub use map::{ArchMap, ArchMapError};
pub use restore::{RestoreError, Restored, restore, to_json};

/// Version of the block formats that `general.quantization_version` states, GGML_QNT_VERSION in ggml.h.
const QUANTIZATION_VERSION: u32 = 2;

/// Most tokens of a vocabulary; published ones reach a few hundred thousand.
const MAX_VOCABULARY: u32 = 1 << 22;

/// How checkpoints of one family become GGUF.
pub struct Architecture {
    /// Names in `architectures` of config.json that belong to this row.
    pub config_names: &'static [&'static str],
    /// `general.architecture`.
    pub name: &'static str,
    /// Where the vocabulary comes from.
    pub vocabulary: Vocabulary,
    /// Sets what a config may leave out.
    complete: fn(&mut Config) -> Result<(), ConfigError>,
    /// Describes the model by its completed config.
    describe: fn(&Config) -> Result<Description, ConfigError>,
}

/// The table of architectures.
pub const ARCHITECTURES: &[Architecture] = &[
    llama::LLAMA,
    llama::MISTRAL,
    mixtral::MIXTRAL,
    llama4::LLAMA4,
    qwen::QWEN2,
    qwen::QWEN2_MOE,
    qwen::QWEN3,
    qwen::QWEN3_MOE,
    qwen3_next::QWEN3_NEXT,
    qwen3_5::QWEN3_5,
    qwen3_5::QWEN3_5_MOE,
    deepseek::DEEPSEEK_V2,
    deepseek::DEEPSEEK_V3,
    gpt_oss::GPT_OSS,
    starcoder::STARCODER,
    starcoder::STARCODER2,
    gemma::GEMMA,
    gemma::GEMMA_2,
    gemma::GEMMA_3,
    phi3::PHI_3,
    olmo::OLMO_2,
    olmo::OLMO_3,
    glm::GLM,
    glm::GLM_4,
    glm4_moe::GLM_4_MOE,
    granite::GRANITE,
    granite::GRANITE_MOE,
    cohere::COHERE,
    cohere::COHERE_2,
    smollm3::SMOLLM_3,
    mistral3::MISTRAL_3,
];

/// What one config says about a model.
#[derive(Default)]
struct Description {
    layers: u32,
    /// Rows of the embedding table.
    vocabulary_rows: u32,
    /// Other beginnings of tensor names, and what they stand for: the text part of a larger model has its own.
    renames: Vec<(String, String)>,
    rules: Vec<Rule>,
    /// Tensors that the checkpoint does not have: name and values. They are written first.
    computed: Vec<(&'static str, Vec<f32>)>,
    /// What stands right after the name of the architecture; keys as in `hyper_parameters`.
    leading: Vec<(&'static str, Value)>,
    /// What is written in place of the hyper-parameters that most families have, up to `general.file_type`.
    own: Option<Vec<(&'static str, Value)>>,
    /// Models of the family may be published as embedding models.
    embeds: bool,
    /// What is written after the common hyper-parameters; keys less the prefix, but for `tokenizer.` ones.
    hyper_parameters: Vec<(&'static str, Value)>,
    /// The same, from an architecture map.
    declared: Vec<(String, Value)>,
}

/// What a user decides about a checkpoint that its files leave open.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The pre-tokenizer of a byte-level vocabulary (`--pre`).
    pub pre: Option<PreTokenizer>,
    /// Every tensor is taken under its own name, whatever model it belongs to (`--tensors-only`).
    pub tensors_only: bool,
    /// Describes the architecture, in place of the table (`--arch-map`).
    pub arch_map: Option<ArchMap>,
    /// Nothing but checkpoint folders is to be written, for which neither architecture nor tokenizer must be known.
    pub folders_only: bool,
}

/// The 16- or 32-bit GGUF, not yet as bytes, that llama.cpp's converter makes of `checkpoint`, whose tensors
/// are those of `source`; and the weights that it refers to.
///
/// # Errors
/// When files are missing, the architecture is unknown, config.json and the tensors contradict each other, or the
/// tokenizer is not understood. All are found before any output exists.
pub fn identify(
    checkpoint: &Checkpoint,
    source: Box<dyn Source>,
    choices: &Choices,
) -> Result<(Weights, Model), IdentifyError> {
    let config = Config::read(checkpoint)?;
    if let Some(why) = bare::reason(checkpoint, config.as_ref(), source.tensors(), choices)? {
        let as_stored = config.map_or_else(|| json!({}), |config| config.to_json());
        return bare::identify(checkpoint, source, &as_stored, choices, &why);
    }
    let Some(mut config) = config else { return Err(missing(checkpoint)) };
    let as_stored = config.to_json();
    config.lift_text();
    let architecture = if choices.arch_map.is_none() { Some(find(&config)?) } else { None };
    let (weights, scheme_notes) = read_weights(checkpoint, source, &as_stored)?;
    let names = weights.list().iter().map(|weight| weight.name.as_str());
    let predicting_note = config.count_predicting_layers(names);
    let mut by = "config.json".to_owned();
    let (prefix, vocabulary, mut description) = match (architecture, &choices.arch_map) {
        (Some(row), _) => {
            (row.complete)(&mut config)?;
            (row.name.to_owned(), Some(row.vocabulary), (row.describe)(&config)?)
        }
        (None, Some(map)) => {
            by = map.name();
            let map::Mapped { architecture, vocabulary, description } = map.describe(&mut config, &weights)?;
            (architecture, vocabulary, description)
        }
        (None, None) => return Err(missing(checkpoint)),
    };
    let prefix = prefix.as_str();
    if architecture.is_some() && config.get("text_config").is_some() {
        description.renames.extend(multimodal::renames());
        description.rules.extend(multimodal::left_out());
    }

    if description.vocabulary_rows > MAX_VOCABULARY {
        let problem = format!("{}, more than the {MAX_VOCABULARY} that are read", description.vocabulary_rows);
        return Err(config.error("vocab_size", problem).into());
    }

    let mapped = tensors::map(&weights, &description.renames, &description.rules, description.layers, &by)?;
    let mut notes = scheme_notes;
    notes.extend(predicting_note);
    notes.extend(mapped.notes);
    let computed = description.computed.into_iter().map(|(name, values)| ModelTensor {
        name: name.to_owned(),
        shape: vec![values.len() as u64],
        dtype: Dtype::F32,
        data: TensorData::Computed(values),
    });
    // the reference writes tensors whose codes it takes over while it looks for others to compute
    let (mut tensors, others): (Vec<_>, Vec<_>) =
        mapped.tensors.into_iter().partition(|tensor| tensor.dtype.is_quantized());
    let file_type = file_type(tensors.first().map_or(mapped.dtype, |tensor| tensor.dtype));
    tensors.extend(computed.chain(others));

    let mut metadata = Metadata::new();
    metadata.replace("general.architecture", prefix);
    append(&mut metadata, prefix, description.leading);
    let (described, card_notes) = general(checkpoint, prefix, &as_stored, &tensors)?;
    for (key, value) in described.iter() {
        metadata.replace(key, value.clone());
    }
    notes.extend(card_notes);
    match description.own {
        Some(own) => append(&mut metadata, prefix, own),
        None => hyper::write(&config, prefix, &mut metadata, &mut notes)?,
    }
    metadata.replace("general.file_type", file_type);
    append(&mut metadata, prefix, description.hyper_parameters);
    append(&mut metadata, prefix, description.declared);
    if description.embeds {
        notes.extend(pooling::note_on_rerankers(checkpoint));
        let pooling = pooling::pooling_type(checkpoint)?;
        append(&mut metadata, prefix, pooling.map(|number| ("pooling_type", number.into())).into_iter().collect());
    }
    metadata.replace("general.quantization_version", QUANTIZATION_VERSION);
    let rows = description.vocabulary_rows;
    let written = match vocabulary {
        None => {
            metadata.replace("tokenizer.ggml.model", "none");
            Ok(())
        }
        Some(vocabulary) => {
            let pre = choices.pre;
            tokenizer::write_metadata(vocabulary, checkpoint, &as_stored, rows, pre, &mut metadata, &mut notes)
        }
    };
    match written {
        Err(error) if choices.folders_only => notes.push(format!("the tokenizer is taken over as it is: {error}")),
        written => written?,
    }
    if choices.arch_map.is_some() {
        notes.push(format!(
            "{by} describes the architecture; shapes that it does not state are taken as they are stored, and whether a \
             runtime runs the model as {prefix:?}, nothing here can tell"
        ));
    }
    let architecture = prefix.to_owned();
    Ok((weights, Model { architecture, own_names: false, metadata, tensors, notes }))
}

/// The weights of a source, decoded by whatever scheme they are quantized with.
fn read_weights(
    checkpoint: &Checkpoint,
    source: Box<dyn Source>,
    config: &serde_json::Value,
) -> Result<(Weights, Vec<String>), IdentifyError> {
    let beside: Option<serde_json::Value> = checkpoint.json(SideFile::HfQuantConfig)?;
    let settings = scheme::quantization_config(config).or(beside.as_ref());
    Ok(scheme::read(source, settings)?)
}

/// Appends entries of an architecture; those of the tokenizer have no prefix.
fn append(metadata: &mut Metadata, prefix: &str, entries: Vec<(impl AsRef<str>, Value)>) {
    for (key, value) in entries {
        let key = key.as_ref();
        match key.starts_with("tokenizer.") {
            true => metadata.replace(key, value),
            false => metadata.replace(format!("{prefix}.{key}"), value),
        }
    }
}

fn row(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|row| row.config_names.contains(&name))
}

/// Whether the table has a row for this name in `architectures`.
fn is_supported(name: &str) -> bool {
    row(name).is_some()
}

/// The row of the table for the first of the config's `architectures`.
fn find(config: &Config) -> Result<&'static Architecture, IdentifyError> {
    let name = config.architecture().unwrap_or("none");
    row(name).ok_or_else(|| IdentifyError::UnknownArchitecture {
        path: config.path().to_owned(),
        found: name.to_owned(),
        supported: ARCHITECTURES.iter().flat_map(|row| row.config_names).copied().collect(),
    })
}

/// The error about a folder without config.json, which names everything else that is missing too.
fn missing(checkpoint: &Checkpoint) -> IdentifyError {
    let mut files = vec![SideFile::Config.name()];
    if ![SideFile::TokenizerJson, SideFile::SentencePiece].into_iter().any(|file| checkpoint.has(file)) {
        files.push("tokenizer.json or tokenizer.model");
    }
    IdentifyError::Missing { folder: checkpoint.folder().to_owned(), files }
}

/// `general.*`, from the architecture to the languages, and notes on it.
fn general(
    checkpoint: &Checkpoint,
    architecture: &str,
    config: &serde_json::Value,
    tensors: &[ModelTensor],
) -> Result<(Metadata, Vec<String>), IdentifyError> {
    let readme = card::read_card(checkpoint.folder());
    let readme = readme.map_err(|error| CheckpointError::Io { path: checkpoint.folder().join("README.md"), error })?;
    let generation_config: Option<serde_json::Value> = checkpoint.json(SideFile::GenerationConfig)?;
    Ok(card::general(&card::Sources {
        architecture,
        folder_name: &checkpoint.name(),
        readme: readme.as_deref(),
        config,
        generation_config: generation_config.as_ref(),
        counts: ParameterCounts::of(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()))),
    }))
}

/// `general.file_type` of a file whose matrices, or experts in MXFP4, have this type: `llama_ftype` in llama.h.
fn file_type(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F16 => 1,
        Dtype::BF16 => 32,
        Dtype::MXFP4 => 38,
        _ => 0,
    }
}
