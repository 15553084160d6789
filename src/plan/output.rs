//! Planning one output: which way it is made, which types its tensors get, whether all of that can be done.

use std::collections::HashMap;

use weightmill_formats::Metadata;
use weightmill_formats::gguf::trimmed;
use weightmill_kernels::Dtype;

use super::error::list;
use super::{Input, OutputPlan, PlanError, PlannedTensor, checkpoint, importance, metadata, order, overridden, parts};
use crate::model::{Map, ModelTensor, Piece, TensorData};
use crate::options::{Fallback, Output, Request, Split};
use crate::recipe::{Candidate, Facts, Recipe, choose, stays_f32};
use crate::target::Target;

pub(super) fn plan(input: &Input<'_>, request: &Request, wanted: &Output) -> Result<OutputPlan, PlanError> {
    let recipe = match wanted.target {
        Target::Gguf(recipe) => recipe,
        Target::Checkpoint(_) | Target::Scheme(_) => return checkpoint::plan(input, request, wanted),
    };
    let format = || input.weights.source().format().to_owned();
    if recipe.is_copy() && !input.is_gguf() {
        return Err(PlanError::CopyNeedsGguf { format: format() });
    }
    if request.split == Split::AsInput && !input.is_gguf() {
        return Err(PlanError::KeepSplitNeedsGguf { format: format() });
    }
    let mut output = OutputPlan {
        target: wanted.target,
        path: wanted.path.clone(),
        parts: Vec::new(),
        tensors: Vec::new(),
        assumes_importance: false,
        warnings: Vec::new(),
    };
    let metadata = if is_conversion(input, recipe, request) {
        convert(input, recipe, &mut output)
    } else {
        quantize(input, recipe, request, &mut output)?
    };
    check_codecs(&input.model.tensors.iter().collect::<Vec<_>>(), &output)?;
    parts::lay_out(&mut output, &metadata, request.split, input)?;
    Ok(output)
}

/// True if the output is what llama.cpp's converter alone writes: no quantized type, and no option of llama-quantize
/// that would change such a file.
fn is_conversion(input: &Input<'_>, recipe: &Recipe, request: &Request) -> bool {
    let quantizer_is_needed = input.model.own_names
        || request.types.token_embedding.is_some()
        || request.types.output_tensor.is_some()
        || !request.overrides.is_empty()
        || !request.prune_layers.is_empty();
    !input.is_gguf() && !recipe.default.is_quantized() && !quantizer_is_needed
}

/// Tensors in the model's order, those that hold matrices in the wanted type.
fn convert(input: &Input<'_>, recipe: &Recipe, output: &mut OutputPlan) -> Metadata {
    let tensors = input.model.tensors.iter().enumerate();
    output.tensors = tensors
        .map(|(index, tensor)| {
            let stays = tensor.dtype == Dtype::F32 && stays_f32(&tensor.name, &tensor.shape);
            let from = Stored::of(input, tensor);
            let kept = stays || tensor.dtype.is_quantized();
            let to = if kept { tensor.dtype } else { recipe.default };
            // The converter goes straight from the source's values to the wanted type.
            let via = if from.dtype == to { to } else { Dtype::F32 };
            planned(index, tensor.name.clone(), tensor.shape.clone(), from, (via, to))
        })
        .collect();
    metadata::of_converter(input, recipe)
}

/// What llama-quantize makes of the model.
fn quantize(
    input: &Input<'_>,
    recipe: &'static Recipe,
    request: &Request,
    output: &mut OutputPlan,
) -> Result<Metadata, PlanError> {
    let model = input.model;
    let view = importance::filtered(input, &request.importance);
    let mut listing = match input.model.own_names && request.prune_layers.is_empty() {
        true => order::as_it_is(input),
        false => order::by_block(input, &request.prune_layers)?,
    };
    if request.split == Split::AsInput {
        order::by_place(input, &mut listing);
    }
    let candidates = listing.tensors.iter().map(|(index, name)| Candidate {
        name,
        shape: &model.tensors[*index].shape,
        dtype: model.tensors[*index].dtype,
    });
    let candidates: Vec<Candidate<'_>> = candidates.collect();
    let told = overridden(&model.metadata, request);
    let architecture = told.string("general.architecture").unwrap_or(&model.architecture);
    let facts = Facts { own_names: model.own_names, ..Facts::of(architecture, &told) };
    let mut choices = choose(recipe, &request.types, &facts, view.is_some(), &candidates)?;
    if request.assume_importance && view.is_none() && choices.iter().any(|choice| choice.needs_importance) {
        choices = choose(recipe, &request.types, &facts, true, &candidates)?;
        output.assumes_importance = true;
        output.warnings.push(importance::ASSUMED.to_owned());
    }

    let guess = || guessed_file_type(&candidates);
    let metadata = metadata::of_quantizer(input, recipe, request, view.as_ref(), listing.blocks, guess);
    if request.split == Split::AsInput && input.weights.source().files().len() == 1 {
        output.warnings.push("--keep-split has no effect: the input is one file".to_owned());
    }
    warn_of_idle_options(recipe, request, output, &candidates);
    let tensors = listing.tensors.iter().zip(&choices).map(|((index, name), choice)| {
        let tensor = &model.tensors[*index];
        let from = Stored::of(input, tensor);
        let shape = if model.own_names { &tensor.shape } else { trimmed(&tensor.shape) };
        let planned = planned(*index, name.clone(), shape.to_vec(), from, (tensor.dtype, choice.to));
        PlannedTensor { fallback_from: choice.fallback_from, ..planned }
    });
    output.tensors = tensors.collect();
    check_fallbacks(request.types.fallback, output)?;
    if !request.types.allow_requantize {
        check_requantizing(input, output)?;
    }
    if !output.assumes_importance {
        importance::assign(recipe, view.as_ref(), input, request, &choices, output)?;
    }
    Ok(metadata)
}

pub(super) fn planned(
    index: usize,
    name: String,
    shape: Vec<u64>,
    from: Stored,
    (via, to): (Dtype, Dtype),
) -> PlannedTensor {
    PlannedTensor {
        index,
        name,
        shape,
        from: from.dtype,
        scheme: from.scheme,
        lossless: from.lossless == Some(to),
        via,
        to,
        fallback_from: None,
        importance: None,
        weighing: None,
        coded: None,
        part: 0,
        range: 0..0,
    }
}

/// How the values of a tensor lie in the source.
pub(super) struct Stored {
    /// Type of the values.
    pub dtype: Dtype,
    /// How they are kept, if not simply in that type.
    scheme: Option<String>,
    /// The type whose blocks can hold them exactly, if the source has codes that fit.
    lossless: Option<Dtype>,
}

impl Stored {
    /// True if several tensors hold the values.
    pub fn is_encoded(&self) -> bool {
        self.scheme.is_some()
    }

    pub fn of(input: &Input<'_>, tensor: &ModelTensor) -> Self {
        let pieces = tensor.data.pieces();
        let weight = |piece: &Piece| &input.weights.list()[piece.weight];
        let Some(first) = pieces.first().map(weight) else {
            return Self { dtype: Dtype::F32, scheme: None, lossless: None };
        };
        let lossless = |piece: &Piece| {
            let whole_rows =
                piece.view.columns.stride == 1 && piece.view.columns.length == weight(piece).columns() as u64;
            let kept = whole_rows && piece.map == Map::Same && weight(piece).factors.is_none();
            weight(piece).encoded().filter(|_| kept)?.lossless()
        };
        let found = lossless(&pieces[0]).filter(|dtype| pieces.iter().all(|piece| lossless(piece) == Some(*dtype)));
        Self { dtype: first.dtype, scheme: first.encoded().map(|encoded| encoded.name()), lossless: found }
    }
}

/// File type of the most frequent tensor type; of equally frequent ones that which reaches its number first.
// The constructor of llama_model_loader.
fn guessed_file_type(tensors: &[Candidate<'_>]) -> Option<u32> {
    let mut counts: HashMap<Dtype, usize> = HashMap::new();
    let mut most = (0, Dtype::F32);
    for tensor in tensors {
        let count = counts.entry(tensor.dtype).or_default();
        *count += 1;
        if *count > most.0 {
            most = (*count, tensor.dtype);
        }
    }
    Recipe::find(most.1.name()).ok().map(|recipe| recipe.file_type)
}

fn check_fallbacks(policy: Fallback, output: &mut OutputPlan) -> Result<(), PlanError> {
    let mut groups: Vec<((Dtype, Dtype), Vec<String>)> = Vec::new();
    for tensor in &output.tensors {
        let Some(wanted) = tensor.fallback_from else { continue };
        let name = tensor.name.clone();
        match groups.iter_mut().find(|(types, _)| *types == (wanted, tensor.to)) {
            Some((_, names)) => names.push(name),
            None => groups.push(((wanted, tensor.to), vec![name])),
        }
    }
    if policy == Fallback::Error && !groups.is_empty() {
        let names = groups.into_iter().flat_map(|(_, names)| names).collect();
        return Err(PlanError::Fallback { recipe: output.target.name(), names });
    }
    for ((wanted, to), names) in groups {
        let names = list(&names);
        output.warnings.push(format!("{to} instead of {wanted}, whose blocks the rows do not fill: {names}"));
    }
    Ok(())
}

fn check_requantizing(input: &Input<'_>, output: &OutputPlan) -> Result<(), PlanError> {
    let again = output.tensors.iter().filter(|tensor| {
        let dtype = input.model.tensors[tensor.index].dtype;
        dtype.is_quantized() && tensor.to != dtype
    });
    let names: Vec<String> = again.map(|tensor| tensor.name.clone()).collect();
    if names.is_empty() { Ok(()) } else { Err(PlanError::Requantize { recipe: output.target.name(), names }) }
}

/// Checks that the kernels can do what is planned.
pub(super) fn check_codecs(tensors: &[&ModelTensor], output: &OutputPlan) -> Result<(), PlanError> {
    for &PlannedTensor { index, ref name, from, ref scheme, lossless, via, to, ref coded, .. } in &output.tensors {
        if coded.is_some() || lossless || scheme.is_none() && from == via && via == to {
            continue;
        }
        for encoded in [via, to] {
            if encoded != from && encoded.info().quantize.is_none() {
                return Err(PlanError::CannotEncode { name: name.clone(), to: encoded });
            }
        }
        let decoded = scheme.is_some() || matches!(tensors[index].data, TensorData::Computed(_));
        if let Some(from) = [from, via].into_iter().find(|dtype| !decoded && dtype.info().dequantize.is_none()) {
            return Err(PlanError::CannotDecode { name: name.clone(), from, to });
        }
    }
    Ok(())
}

fn warn_of_idle_options(recipe: &Recipe, request: &Request, output: &mut OutputPlan, tensors: &[Candidate<'_>]) {
    let patterns = &request.types.tensors;
    if !patterns.is_empty() && (recipe.is_copy() || !recipe.default.is_quantized()) {
        output.warnings.push(format!("--tensor-type has no effect with {}", recipe.name));
        return;
    }
    for option in patterns {
        if !tensors.iter().any(|tensor| option.pattern.is_match(tensor.name)) {
            output
                .warnings
                .push(format!("--tensor-type {}={}: no tensor has such a name", option.pattern, option.dtype));
        }
    }
}
