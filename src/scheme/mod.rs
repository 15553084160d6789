//! Quantized safetensors checkpoints: which tensors make up a weight, and how its values follow from them.
//!
//! The tensors' names, types and shapes decide, since config.json is wrong at times and says nothing of single weights; what
//! they leave open, config.json says. Every scheme comes down to codes, scales and offsets of groups of weights
//! (`grouped`), so a further one is a file that finds these and a row of [`SCHEMES`].
//!
//! Shapes, counts and indices come from the files. All are checked here, before any weight is decoded.

mod apply;
mod arithmetic;
mod awq;
mod bitsandbytes;
mod codes;
mod coding;
mod configure;
mod encode;
mod error;
mod experts;
mod fit;
mod fp4;
mod fp8;
mod given;
mod gptq;
mod grouped;
mod int8;
mod layout;
mod lossless;
mod mlx;
mod module;
mod numbers;
mod output;
mod pack;
mod packed;
mod select;
mod settings;
mod shared;
mod tensors;
mod unpack;

use std::collections::HashMap;

use rayon::prelude::*;
use serde_json::Value as Json;
use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::{Dtype, Level};

pub(crate) use configure::{Outcome, Statement};
pub(crate) use encode::{Chunk, Coder, Scratch, ScratchSize, Stop};
pub use error::{Fault, Place, SchemeError};
pub use experts::Experts;
pub(crate) use experts::{Arrangement, is_of_experts};
pub(crate) use fit::divisor;
pub(crate) use given::{Given, Numbers};
pub use output::{Coding, OUTPUT_SCHEMES, OutputScheme};
pub(crate) use select::{fused, is_chosen, is_outside, module as module_of, stacked};
pub use settings::quantization_config;

use crate::weights::{Storage, Weight, Weights};
use module::{Found, Module};
use settings::Settings;
use tensors::Tensors;

/// A way to keep a weight in several tensors: one row of [`SCHEMES`].
pub struct Scheme {
    /// Its name.
    pub name: &'static str,
    /// How the name of the tensor with the codes ends: with these last parts, or, if that begins with `_` or is empty, with
    /// these characters.
    pub codes: &'static str,
    /// Types that this tensor can have; empty for any.
    pub dtypes: &'static [Dtype],
    /// What else is there, instead of `codes` at the end of the name: one of these, unless there is none to choose from.
    pub beside: &'static [&'static str],
    /// Finds the weight; `None` if the shapes are those of another scheme.
    find: fn(&mut Module<'_, '_>) -> Result<Option<Found>, SchemeError>,
}

use Dtype::{F8_E4M3, F8_E5M2, I8, I32, U8, U32};

/// All schemes. Of several whose tensors are there, the first is taken.
#[rustfmt::skip]
pub static SCHEMES: &[Scheme] = &[
    Scheme { name: "FP8", codes: "", dtypes: &[F8_E4M3, F8_E5M2], beside: &["_scale_inv", "_scale"], find: fp8::find },
    Scheme { name: "FP8, DeepSeek V4, Mistral and ComfyUI", codes: "weight", dtypes: &[F8_E4M3, F8_E5M2], beside: &["scale", "qscale_weight", "scale_weight"], find: fp8::find },
    Scheme { name: "compressed-tensors pack-quantized", codes: "weight_packed", dtypes: &[I32], beside: &[], find: packed::find },
    Scheme { name: "compressed-tensors NVFP4, MXFP4, MXFP6", codes: "weight_packed", dtypes: &[U8], beside: &[], find: fp4::find_compressed },
    Scheme { name: "compressed-tensors int-quantized", codes: "weight", dtypes: &[I8], beside: &["weight_scale"], find: int8::find },
    Scheme { name: "GPTQ", codes: "qweight", dtypes: &[], beside: &[], find: gptq::find },
    Scheme { name: "AWQ", codes: "qweight", dtypes: &[], beside: &[], find: awq::find },
    Scheme { name: "MLX", codes: "weight", dtypes: &[U32], beside: &["scales"], find: mlx::find },
    Scheme { name: "ModelOpt NVFP4", codes: "weight", dtypes: &[U8], beside: &["weight_scale_2"], find: fp4::find_modelopt },
    Scheme { name: "ModelOpt MXFP4, DeepSeek V4", codes: "weight", dtypes: &[U8, I8], beside: &["weight_scale", "scale"], find: fp4::find_mxfp4 },
    Scheme { name: "gpt-oss MXFP4", codes: "_blocks", dtypes: &[U8], beside: &["_scales"], find: fp4::find_blocks },
    Scheme { name: "bitsandbytes 4-bit", codes: "weight", dtypes: &[], beside: &["weight.absmax"], find: bitsandbytes::find_4bit },
    Scheme { name: "bitsandbytes int8", codes: "weight", dtypes: &[I8], beside: &["SCB"], find: bitsandbytes::find_int8 },
];

/// Tensors of a quantized checkpoint that say nothing about weights: scales of activations and of the cache.
const AUXILIARY: &[&str] = &[
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "input_scale_ub",
    "_input_scale",
    "_input_global_scale",
    "output_scale",
    "activation_scale",
    "_activation_scale",
    "qscale_act",
    "q_scale",
    "k_scale",
    "v_scale",
    "kv_scale",
    "prob_scale",
    "k_zero_point",
    "v_zero_point",
    "weight_format",
    // ComfyUI: of activations, and the mark of a file with scales
    "scale_input",
    "scaled_fp8",
];

/// Parts of weights, which nothing else is called in a quantized checkpoint: left over, they are a defect.
const PARTS: &[&str] = &[
    "weight_packed",
    "weight_shape",
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_global_scale",
    "weight_zero_point",
    "weight_g_idx",
    "qweight",
    "qzeros",
    "scales",
    "g_idx",
    "SCB",
    "weight.absmax",
    "weight.quant_map",
    "weight.nested_absmax",
    "weight.nested_quant_map",
    "_scale_inv",
    "scale_weight",
];

/// Tensors by which a scheme is known whose weights are not read, and what it is.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "pre_quant_scale",
        "a factor for the activations (AWQ of ModelOpt)",
        "export the model with the factors folded into the layers before",
    ),
    ("_svdquant_lora_a", "a low-rank part (SVDQuant)", UNQUANTIZED),
    ("weight._data", "weights of quanto", UNQUANTIZED),
    ("qbiases", "weights of transformers' metal kernels", UNQUANTIZED),
    ("W_q", "weights of HQQ", UNQUANTIZED),
    ("comfy_quant", "weights of ComfyUI's newer form, which may have their scales in another order", UNQUANTIZED),
    ("_weight_qdata", "weights of torchao", UNQUANTIZED),
];

const UNQUANTIZED: &str = "convert the unquantized checkpoint that it was made from";

/// The weights of `source`, a checkpoint: those that one of [`SCHEMES`] keeps in several tensors, and every other tensor as it is, in the
/// order of the source. `config` are the settings that [`quantization_config`] finds in config.json, or the content of
/// hf_quant_config.json. The notes say what a user should know.
///
/// A source of plain tensors without settings gives these tensors.
///
/// # Errors
/// When a weight is incomplete, has impossible shapes or values, or is kept in a way that is not read.
pub fn read(source: Box<dyn Source>, config: Option<&Json>) -> Result<(Weights, Vec<String>), SchemeError> {
    let settings = Settings::new(config)?;
    let (list, notes) = find_all(source.as_ref(), &settings)?;
    Ok((Weights::new(source, list), notes))
}

fn find_all(source: &dyn Source, settings: &Settings<'_>) -> Result<(Vec<Weight>, Vec<String>), SchemeError> {
    let mut tensors = Tensors::new(source)?;
    let mut found = find_encoded(&mut tensors, settings)?;
    let quantized = settings.is_some() || !found.is_empty();
    let level = Level::detect();
    found.par_iter_mut().for_each(|(_, found)| found.weight.lossless = lossless::find(&found.weight, source, level));
    let notes = compounding(&found).into_iter().collect();

    let mut weights = Vec::with_capacity(found.len());
    let mut found = found.into_iter().peekable();
    let mut holders = HashMap::new();
    for (index, tensor) in source.tensors().iter().enumerate() {
        let weight = match found.next_if(|(main, _)| *main == index) {
            Some((_, Found { name, shape, weight })) => {
                Weight { name, shape, dtype: Dtype::BF16, storage: Storage::Encoded(Box::new(weight)), factors: None }
            }
            None if tensors.is_taken(index) => continue,
            None if quantized && !is_weight(&tensors, index)? => continue,
            None => Weight::plain(index, tensor),
        };
        if let Some(other) = holders.insert(weight.name.clone(), index) {
            let other = source.tensors()[other].name.clone();
            return Err(tensors.fault(index, Fault::Duplicate { weight: weight.name, other }));
        }
        weights.push(weight);
    }
    Ok((weights, notes))
}

/// The weights that schemes keep in several tensors, in the order of the tensors with their codes.
fn find_encoded(tensors: &mut Tensors<'_>, settings: &Settings<'_>) -> Result<Vec<(usize, Found)>, SchemeError> {
    let mut all = Vec::new();
    for (index, tensor) in tensors.source.tensors().iter().enumerate() {
        let mut schemes = SCHEMES.iter().filter_map(|scheme| Some((scheme, scheme.prefix(tensor)?))).peekable();
        let mut is_candidate = false;
        let mut found = None;
        while let Some((scheme, prefix)) = schemes.next_if(|_| found.is_none()) {
            let beside = |name: &&str| tensors.has(&format!("{prefix}{name}"));
            if scheme.beside.is_empty() || scheme.beside.iter().any(beside) {
                is_candidate = true;
                let main = tensors.take_index(index)?;
                found = (scheme.find)(&mut Module::new(tensors, settings, main, prefix))?;
            }
        }
        match found {
            Some(found) => all.push((index, found)),
            None if is_candidate => return Err(tensors.fault(index, Fault::Uncoded { dtype: tensor.dtype })),
            None => {}
        }
    }
    Ok(all)
}

/// Whether a tensor that belongs to no encoded weight of a quantized checkpoint is a weight itself.
///
/// # Errors
/// When it is a part of a weight that is not there, or part of a scheme that is not read.
fn is_weight(tensors: &Tensors<'_>, index: usize) -> Result<bool, SchemeError> {
    let tensor = &tensors.source.tensors()[index];
    let ends = |end: &str| without_end(&tensor.name, end).is_some();
    if let Some((_, what, remedy)) = REFUSED.iter().find(|(end, ..)| ends(end)) {
        return Err(SchemeError::Refused { what: format!("{:?}, {what},", tensor.name), remedy });
    }
    if AUXILIARY.iter().any(|end| ends(end)) {
        return Ok(false);
    }
    if PARTS.iter().any(|end| ends(end)) {
        return Err(tensors.fault(index, Fault::Orphan));
    }
    let is_code = matches!(tensor.dtype, F8_E4M3 | F8_E5M2 | I8 | U8 | I32 | U32);
    if is_code && ends("weight") {
        return Err(tensors.fault(index, Fault::Uncoded { dtype: tensor.dtype }));
    }
    Ok(true)
}

/// What to know about weights of few bits.
fn compounding(found: &[(usize, Found)]) -> Option<String> {
    let weights: Vec<_> = found.iter().map(|(_, found)| &found.weight).filter(|weight| weight.bits() <= 4).collect();
    let first = weights.first()?;
    let mut exact: Vec<_> = weights.iter().filter_map(|weight| weight.lossless).map(Dtype::name).collect();
    exact.sort_unstable();
    exact.dedup();
    let exact = match exact.as_slice() {
        [] => String::new(),
        types => format!(", or {}, which can hold them exactly", types.join(" and ")),
    };
    Some(format!(
        "{} weights are stored with 4 bits or fewer ({}): another type of few bits adds its own error to that; \
         prefer 8 bits{exact}",
        weights.len(),
        first.name,
    ))
}

impl Scheme {
    /// The tensor's name up to what ends the names of codes of this scheme, if it can hold such.
    fn prefix<'a>(&self, tensor: &'a TensorInfo) -> Option<&'a str> {
        let prefix = without_end(&tensor.name, self.codes)?;
        (self.dtypes.is_empty() || self.dtypes.contains(&tensor.dtype)).then_some(prefix)
    }
}

/// The name without this end, which is made of whole parts between points unless it begins with `_` or is empty.
fn without_end<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let prefix = name.strip_suffix(end)?;
    let whole = prefix.is_empty() || prefix.ends_with('.') || end.is_empty() || end.starts_with('_');
    whole.then_some(prefix)
}
