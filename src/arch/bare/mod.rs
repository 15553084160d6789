//! Checkpoints that are no language model (diffusion models, tables of embeddings) or are to be taken for none: every
//! tensor is written under its own name, in the order of the files, with its own shape and type.
//!
//! Which of them get the type that is asked for, recipes decide (`recipe/keep.rs`): only 2-D weights.

mod kind;
mod known;

use weightmill_formats::gguf::MAX_DIMENSIONS;
use weightmill_formats::{Metadata, Value};
use weightmill_kernels::Dtype;

use super::{Choices, IdentifyError, general, read_weights};
use crate::checkpoint::Checkpoint;
use crate::model::{Model, ModelTensor, TensorData};
use crate::recipe::own_matrices;
use crate::weights::{Weight, Weights};

pub(super) use kind::reason;
use weightmill_formats::Source;

/// `general.architecture` of what no runtime is known to have a name for.
const UNKNOWN: &str = "unknown";

/// Key under which ComfyUI-GGUF looks for the shape of a tensor that is stored in another one.
const SHAPE_KEY: &str = "comfy.gguf.orig_shape.";

/// The tensors of `source` as they are; `config` is config.json as it stands, `why` says why nothing else is made of them.
///
/// # Errors
/// When a scheme is not understood, or when a tensor is of a type or shape that GGUF does not have.
pub(super) fn identify(
    checkpoint: &Checkpoint,
    source: Box<dyn Source>,
    config: &serde_json::Value,
    choices: &Choices,
    why: &str,
) -> Result<(Weights, Model), IdentifyError> {
    let (weights, mut notes) = read_weights(checkpoint, source, config)?;
    let known = known::find(weights.list().iter().map(|weight| weight.name.as_str()));
    let architecture = known.unwrap_or(UNKNOWN);
    let mut shapes = Metadata::new();
    let mut counts = Counts::default();
    let mut tensors = Vec::with_capacity(weights.list().len());
    for (index, weight) in weights.list().iter().enumerate() {
        if weight.shape.contains(&0) {
            counts.empty += 1;
            continue;
        }
        let dtype = kept_type(weight, choices, &mut counts)?;
        let shape = if choices.folders_only { weight.shape.clone() } else { folded(weight, &mut shapes, &mut counts)? };
        let data = TensorData::stored(index, &shape);
        tensors.push(ModelTensor { name: weight.name.clone(), shape, dtype, data });
    }

    let (mut metadata, card_notes) = general(checkpoint, architecture, config, &tensors)?;
    for (key, value) in shapes.iter() {
        metadata.replace(key, value.clone());
    }
    let found = format!("no language model ({why}): {} tensors under their own names", tensors.len());
    if choices.folders_only {
        notes.insert(0, format!("{found}, not checked against anything"));
    } else {
        let matrices = own_matrices(tensors.iter().map(|tensor| (tensor.name.as_str(), &*tensor.shape, tensor.dtype)));
        notes.insert(
            0,
            format!(
                "{found}, {} of them 2-D and quantized, or whatever type is asked for; all others keep theirs",
                matrices.iter().filter(|is_one| **is_one).count()
            ),
        );
        notes.push(match known {
            Some(name) => format!("general.architecture is {name:?}, by the names of the tensors"),
            None => format!(
                "general.architecture is {UNKNOWN:?}; --override-kv general.architecture=str:NAME sets what a runtime \
                 expects"
            ),
        });
        counts.describe(&mut notes);
    }
    notes.extend(card_notes);
    Ok((weights, Model { architecture: architecture.to_owned(), own_names: true, metadata, tensors, notes }))
}

/// What is not written just as it is stored.
#[derive(Default)]
struct Counts {
    empty: usize,
    scalars: usize,
    folded: usize,
    narrowed: usize,
}

impl Counts {
    fn describe(&self, notes: &mut Vec<String>) {
        for (count, what) in [
            (self.empty, "tensors without elements left out"),
            (self.scalars, "tensors without dimensions are written as vectors of one element"),
            (
                self.folded,
                "tensors of more than four dimensions, of which GGUF has no more: the first ones are written as one, \
                 comfy.gguf.orig_shape.NAME says what they were",
            ),
            (self.narrowed, "tensors of type F64 are written as F32 unless they are quantized"),
        ] {
            if count > 0 {
                notes.push(format!("{count} {what}"));
            }
        }
    }
}

/// The type that a tensor has in a GGUF file if nothing else is asked for: its own. 8-bit floats, which GGUF does not
/// have, fit BF16, and so do decoded weights as everywhere.
fn kept_type(weight: &Weight, choices: &Choices, counts: &mut Counts) -> Result<Dtype, IdentifyError> {
    match weight.dtype {
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => Ok(Dtype::BF16),
        Dtype::F64 => {
            counts.narrowed += 1;
            Ok(Dtype::F32)
        }
        dtype if dtype.info().gguf_id.is_some() || choices.folders_only => Ok(dtype),
        dtype => Err(IdentifyError::NotInGguf { name: weight.name.clone(), dtype }),
    }
}

/// The shape that GGUF can hold, with as few differences as possible.
fn folded(weight: &Weight, shapes: &mut Metadata, counts: &mut Counts) -> Result<Vec<u64>, IdentifyError> {
    let shape = &weight.shape;
    let Some(more) = shape.len().checked_sub(MAX_DIMENSIONS).filter(|more| *more > 0) else {
        counts.scalars += usize::from(shape.is_empty());
        return Ok(if shape.is_empty() { vec![1] } else { shape.clone() });
    };
    let lengths: Result<Vec<i32>, _> = shape.iter().map(|length| i32::try_from(*length)).collect();
    let lengths = lengths.map_err(|_| IdentifyError::Shapeless { name: weight.name.clone(), shape: shape.clone() })?;
    shapes.set(format!("{SHAPE_KEY}{}", weight.name), Value::from(lengths));
    counts.folded += 1;
    let (first, rest) = shape.split_at(more + 1);
    Ok([&[first.iter().product()], rest].concat())
}
