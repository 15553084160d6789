//! What a run will do, as pure data: for every output its files, and for every tensor its type and place.
//!
//! A plan can be printed, compared, costed and executed. All that can be known before the run is checked here.

mod checkpoint;
mod error;
mod holders;
mod importance;
mod metadata;
mod order;
mod output;
mod parts;
mod report;
mod scheme;
mod table;

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use weightmill_formats::Metadata;
use weightmill_kernels::Dtype;

pub use error::PlanError;
pub(crate) use holders::Holders;
pub(crate) use importance::expected_values;
pub use report::{InputReport, OutputReport, Report, TensorReport};
pub use table::Table;

use crate::model::Model;
use crate::options::Request;
use crate::publish::Published;
use crate::scheme::Coding;
use crate::target::Target;
use crate::weights::Weights;

/// What the plan is made from.
pub struct Input<'a> {
    /// The path that the user gave.
    pub path: &'a Path,
    /// The opened files and the weights in them.
    pub weights: &'a Weights,
    /// What they hold.
    pub model: &'a Model,
    /// The same as a checkpoint folder: needed if one is to be written.
    pub published: Option<&'a Published>,
    /// The importance matrix, if one was given.
    pub importance: Option<&'a ImportanceSummary>,
}

impl Input<'_> {
    /// True for GGUF files: they are what llama-quantize reads. Anything else stands for the GGUF file that llama.cpp's
    /// converter would make of it.
    fn is_gguf(&self) -> bool {
        self.weights.source().format().eq_ignore_ascii_case("gguf")
    }
}

/// What the plan needs to know of an importance matrix. The values stay where they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceSummary {
    /// The file's name, without folders: it is written into the output.
    pub file_name: String,
    /// The texts it was measured on; only the first is written.
    pub datasets: Vec<String>,
    /// Number of chunks it was measured on, if known.
    pub chunks: Option<u32>,
    /// Tensor name to number of values.
    pub entries: BTreeMap<String, usize>,
    /// Values that were not measured, for which 1 stands, by tensor name.
    pub gaps: BTreeMap<String, Vec<Range<usize>>>,
    /// Runs of zeros as long as a block or longer, by tensor name.
    pub zeros: BTreeMap<String, Vec<Range<usize>>>,
}

/// What a run will do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is read.
    pub input: InputFacts,
    /// What is written, in the order of the request.
    pub outputs: Vec<OutputPlan>,
    /// Weights that cannot be encoded with their importance end the run: [`Request::strict_importance`].
    pub strict_importance: bool,
}

/// What is read.
#[derive(Clone, Debug, PartialEq)]
pub struct InputFacts {
    /// The path that the user gave.
    pub path: PathBuf,
    /// Name of the format, as in `safetensors`.
    pub format: String,
    /// `general.architecture`.
    pub architecture: String,
    /// Number of tensors in the source.
    pub tensors: usize,
    /// Number of weights in them.
    pub weights: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// One output: a GGUF file, several parts of one, or the files of a checkpoint folder.
#[derive(Clone, Debug)]
pub struct OutputPlan {
    /// What it is.
    pub target: Target,
    /// The path that was asked for. If there are several parts, none of them bears this name.
    pub path: PathBuf,
    /// The files to write. One, unless a split was asked for; of a folder all that are in it.
    pub parts: Vec<Part>,
    /// Tensors in the order of the files: part by part, ascending offsets.
    pub tensors: Vec<PlannedTensor>,
    /// It was planned as if there were an importance matrix: [`Request::assume_importance`]. Such a plan is not executed.
    pub assumes_importance: bool,
    /// What the user should know: notes on the model, missing importance entries, fallbacks, options without effect.
    pub warnings: Vec<String>,
}

/// One file of an output.
#[derive(Clone, Debug)]
pub struct Part {
    /// Where it goes.
    pub path: PathBuf,
    /// Everything before the first tensor, padding included.
    pub header: Vec<u8>,
    /// Size of the whole file. Bytes between tensors, and after the last, are zero.
    pub bytes: u64,
    /// Which of [`OutputPlan::tensors`] it holds.
    pub tensors: Range<usize>,
}

/// One tensor of an output.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Index into [`Model::tensors`], in a checkpoint folder into [`Published::tensors`].
    pub index: usize,
    /// Name as written. Differs from the model's only when blocks are left out.
    pub name: String,
    /// Row-major shape as written.
    pub shape: Vec<u64>,
    /// Type of the values in the source.
    pub from: Dtype,
    /// How the source keeps them, if not simply in that type.
    pub scheme: Option<String>,
    /// The stored codes become blocks of the type written, without any value changing.
    pub lossless: bool,
    /// Type that the weights are rounded to before they are decoded to f32 and encoded as `to`.
    pub via: Dtype,
    /// Type as written.
    pub to: Dtype,
    /// The type that the recipe wanted, if the shape of the tensor did not allow it.
    pub fallback_from: Option<Dtype>,
    /// The entry of the importance matrix to use: `columns` values, or as many for every matrix of a stack
    /// (`shape[0]` of three dimensions).
    pub importance: Option<String>,
    /// How the columns are weighed, where a matrix was given and the type makes use of it.
    pub weighing: Option<Weighing>,
    /// Which part of which coded weight it is; none if it is a weight by itself.
    pub coded: Option<Coded>,
    /// Index into [`OutputPlan::parts`].
    pub part: usize,
    /// Place of its bytes in that file.
    pub range: Range<u64>,
}

/// Whether the columns of a tensor are weighed by measured importance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weighing {
    /// All of it.
    Measured,
    /// Not in some of its matrices: for these the importance matrix has nothing, nothing that can be, or only zeros.
    Partial,
    /// Nowhere.
    None,
}

/// A tensor that is part of a weight, all of whose tensors have the same [`PlannedTensor::index`].
#[derive(Clone, Debug, PartialEq)]
pub struct Coded {
    /// How the weight is coded.
    pub coding: Coding,
    /// Which of the tensors of such a weight this is; the first holds the codes.
    pub tensor: usize,
    /// Number of the weights of this output that have a divisor of scales in common.
    pub set: usize,
    /// Rows and columns of the weight.
    pub size: [u64; 2],
    /// Of an entry of the importance matrix for several experts, which one is meant; of a stack of several the first.
    pub expert: usize,
    /// The shape did not allow the size of groups that was wanted.
    pub fallback: bool,
}

impl PlannedTensor {
    /// How the source stores it: a scheme's name, or a type's.
    pub fn stored_as(&self) -> &str {
        self.scheme.as_deref().unwrap_or_else(|| self.from.name())
    }

    /// Number of weights; those of a coded one count where the codes are.
    pub fn weights(&self) -> u64 {
        match &self.coded {
            None => self.shape.iter().product(),
            Some(Coded { tensor: 0, size: [rows, columns], .. }) => rows * columns,
            Some(_) => 0,
        }
    }

    /// True if the shape did not allow what was wanted.
    pub fn is_fallback(&self) -> bool {
        self.fallback_from.is_some() || self.coded.as_ref().is_some_and(|coded| coded.fallback)
    }

    /// Bytes as written.
    pub fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

impl OutputPlan {
    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// Bits per weight over all tensors, headers and padding left out, as llama-quantize counts.
    pub fn bits_per_weight(&self) -> f64 {
        let weights: u64 = self.tensors.iter().map(PlannedTensor::weights).sum();
        let bytes: u64 = self.tensors.iter().map(PlannedTensor::bytes).sum();
        if weights == 0 { 0.0 } else { bytes as f64 * 8.0 / weights as f64 }
    }
}

/// Decides types, metadata and places of everything that `request` asks for.
///
/// # Errors
/// If anything that was asked for cannot be done or would be wrong, as far as that can be known without reading weights.
pub fn plan(input: &Input<'_>, request: &Request) -> Result<Plan, PlanError> {
    let outputs: Result<Vec<_>, _> =
        request.outputs.iter().map(|output| output::plan(input, request, output)).collect();
    let mut outputs = outputs?;
    for output in &mut outputs {
        output.warnings.splice(..0, input.model.notes.iter().cloned());
    }
    let mut paths = HashSet::new();
    if let Some(twice) = outputs.iter().flat_map(|output| &output.parts).find(|part| !paths.insert(&part.path)) {
        return Err(PlanError::DuplicateOutput { path: twice.path.clone() });
    }
    let tensors = input.weights.source().tensors();
    let facts = InputFacts {
        path: input.path.to_owned(),
        format: input.weights.source().format().to_owned(),
        architecture: input.model.architecture.clone(),
        tensors: tensors.len(),
        weights: tensors.iter().map(|tensor| tensor.weights()).sum(),
        bytes: tensors.iter().map(|tensor| tensor.bytes).sum(),
    };
    Ok(Plan { input: facts, outputs, strict_importance: request.strict_importance })
}

/// The metadata with the user's replacements, as far as they decide types: of several for one key the first counts.
fn overridden(metadata: &Metadata, request: &Request) -> Metadata {
    let mut metadata = metadata.clone();
    for replacement in request.overrides.iter().rev() {
        metadata.set(&replacement.key, replacement.value.clone());
    }
    metadata
}
