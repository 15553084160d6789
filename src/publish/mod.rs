//! The other way: a model as a Hugging Face checkpoint folder, whatever it was read from.
//!
//! From a checkpoint the weights keep their names; quantized ones are decoded, and the files beside them are carried
//! over. From a GGUF file names, row orders, config.json and the tokenizer are restored.

mod card;
mod folder;
mod gguf;

use weightmill_kernels::Dtype;

use crate::model::{Model, ModelTensor};
use crate::scheme::{Arrangement, Experts};

pub use folder::of_checkpoint;
pub use gguf::of_gguf;

/// One kind of checkpoint that can be written.
#[derive(Debug)]
pub struct CheckpointType {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is good for, in one line of help.
    pub description: &'static str,
    /// Type of the weights.
    pub dtype: Dtype,
    /// The type as `config.json` names it.
    pub config_name: &'static str,
}

/// All kinds of checkpoints.
pub static CHECKPOINT_TYPES: &[CheckpointType] = &[
    CheckpointType {
        name: "safetensors-bf16",
        description: "a Hugging Face folder of 16-bit floats with the exponent of F32",
        dtype: Dtype::BF16,
        config_name: "bfloat16",
    },
    CheckpointType {
        name: "safetensors-f16",
        description: "a Hugging Face folder of 16-bit floats, IEEE half precision",
        dtype: Dtype::F16,
        config_name: "float16",
    },
    CheckpointType {
        name: "safetensors-f32",
        description: "a Hugging Face folder of 32-bit floats",
        dtype: Dtype::F32,
        config_name: "float32",
    },
];

/// A type as config.json names it.
pub(crate) fn config_name(dtype: Dtype) -> &'static str {
    CHECKPOINT_TYPES.iter().find(|kind| kind.dtype == dtype).map_or("bfloat16", |kind| kind.config_name)
}

/// JSON as Hugging Face's libraries write it: indented, with a line end.
pub(crate) fn pretty(json: &serde_json::Value) -> Vec<u8> {
    format!("{json:#}\n").into_bytes()
}

/// A model as a checkpoint, not yet as bytes.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Tensors by their Hugging Face names, in the order of the files.
    pub tensors: Vec<ModelTensor>,
    /// How the names of the files with weights begin, if not with `model`.
    pub stem: Option<&'static str>,
    /// config.json without a statement on types, if the model has one.
    pub config: Option<serde_json::Map<String, serde_json::Value>>,
    /// The other files of the folder: name and content.
    pub files: Vec<(String, Vec<u8>)>,
    /// What should be said.
    pub notes: Vec<String>,
    /// Matrices of experts as formats of quantized weights have them.
    pub experts: Experts,
}

impl Published {
    /// With the experts of `model`, which this is, in every arrangement.
    pub fn with_experts(self, model: &Model) -> Self {
        let experts = Experts::of(&self.tensors, model, self.config.as_ref());
        Published { experts, ..self }
    }

    /// All tensors that are written in some arrangement, the published ones first.
    pub fn all(&self) -> impl Iterator<Item = &ModelTensor> {
        self.tensors.iter().chain(self.experts.others())
    }

    /// The tensors in an arrangement (as they are published if there is none), each with its number among [all](Self::all).
    pub(crate) fn arranged(&self, arrangement: Option<Arrangement>) -> Vec<(usize, &ModelTensor)> {
        match arrangement {
            None => self.tensors.iter().enumerate().collect(),
            Some(arrangement) => self.experts.arranged(&self.tensors, arrangement),
        }
    }
}
