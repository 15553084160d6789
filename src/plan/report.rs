//! The JSON document of a run: what `--json` prints, before the run as a forecast and after it as a record.

use std::path::Path;

use serde::Serialize;

use super::{OutputPlan, Plan, PlannedTensor, Weighing};

/// The document. Fields appear in this order.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    /// What is read.
    pub input: InputReport<'a>,
    /// What is written.
    pub outputs: Vec<OutputReport<'a>>,
    /// Duration of the run.
    pub seconds: f64,
    /// Memory that buffers take, or took at most.
    pub memory_bytes: u64,
}

/// What is read.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct InputReport<'a> {
    pub path: String,
    pub format: &'a str,
    pub architecture: &'a str,
    pub tensors: usize,
    pub weights: u64,
    /// Of the tensors, headers left out.
    pub bytes: u64,
}

/// One output.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct OutputReport<'a> {
    #[serde(rename = "type")]
    pub recipe: &'a str,
    pub path: String,
    /// Of the whole file, or of all parts.
    pub bytes: u64,
    /// Of the tensors, headers left out; rounded to four decimals.
    pub bits_per_weight: f64,
    /// Paths of the parts; left out unless there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// True for a forecast of a type that needs an importance matrix, where none was given; left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub assumes_importance: bool,
    pub tensors: Vec<TensorReport<'a>>,
    pub warnings: &'a [String],
}

/// One tensor of an output.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct TensorReport<'a> {
    pub name: &'a str,
    /// Row-major.
    pub shape: &'a [u64],
    /// Type in the source, or the scheme by which it is stored.
    pub from: &'a str,
    pub to: &'static str,
    pub bytes: u64,
    /// True if the shape did not allow the type that the recipe wanted.
    pub fallback: bool,
    /// Whether columns are weighed by measured importance; left out where there is no matrix, or it makes no difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub importance: Option<Weighing>,
    /// True if stored codes are taken over without any value changing; left out otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lossless: bool,
}

impl Plan {
    /// The document for this plan.
    pub fn report(&self, seconds: f64, memory_bytes: u64) -> Report<'_> {
        let input = InputReport {
            path: text(&self.input.path),
            format: &self.input.format,
            architecture: &self.input.architecture,
            tensors: self.input.tensors,
            weights: self.input.weights,
            bytes: self.input.bytes,
        };
        Report { input, outputs: self.outputs.iter().map(OutputReport::of).collect(), seconds, memory_bytes }
    }
}

impl<'a> OutputReport<'a> {
    fn of(output: &'a OutputPlan) -> Self {
        let parts = if output.parts.len() > 1 { output.parts.as_slice() } else { &[] };
        OutputReport {
            recipe: output.target.name(),
            path: text(&output.path),
            bytes: output.bytes(),
            bits_per_weight: (output.bits_per_weight() * 1e4).round() / 1e4,
            parts: parts.iter().map(|part| text(&part.path)).collect(),
            assumes_importance: output.assumes_importance,
            tensors: output.tensors.iter().map(TensorReport::of).collect(),
            warnings: &output.warnings,
        }
    }
}

impl<'a> TensorReport<'a> {
    fn of(tensor: &'a PlannedTensor) -> Self {
        TensorReport {
            name: &tensor.name,
            shape: &tensor.shape,
            from: tensor.stored_as(),
            to: tensor.to.name(),
            bytes: tensor.bytes(),
            fallback: tensor.is_fallback(),
            importance: tensor.weighing,
            lossless: tensor.lossless,
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
