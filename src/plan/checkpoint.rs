//! Planning a checkpoint folder: the types of its tensors, its shards, and the small files beside them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use weightmill_formats::{Metadata, TensorSpec, safetensors};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

use super::output::{Stored, check_codecs, planned};
use super::{Coded, Input, OutputPlan, Part, PlanError, PlannedTensor, scheme};
use crate::model::ModelTensor;
use crate::options::{Output, Request, Split};
use crate::publish::{Published, config_name, pretty};
use crate::scheme::{Statement, module_of};
use crate::target::Target;
use crate::weights::Weights;

/// Bytes of a shard, if nothing else is said: what Hugging Face's libraries take.
const SHARD_BYTES: u64 = 5_000_000_000;

/// Most shards: their number has five digits.
const MAX_SHARDS: usize = 99_999;

pub(super) fn plan(input: &Input<'_>, request: &Request, wanted: &Output) -> Result<OutputPlan, PlanError> {
    let published = input.published.ok_or(PlanError::NotPublished)?;
    let mut output = OutputPlan {
        target: wanted.target,
        path: wanted.path.clone(),
        parts: Vec::new(),
        tensors: Vec::new(),
        assumes_importance: false,
        warnings: published.notes.clone(),
    };
    let chosen = match wanted.target {
        Target::Scheme(kind) => Some(scheme::choose(input, request, kind, published, &mut output.warnings)?),
        _ => None,
    };
    let (dtype, statement) = match (wanted.target, &chosen) {
        (_, Some(chosen)) => (chosen.float, Some(&chosen.statement)),
        (Target::Checkpoint(kind), None) => (kind.dtype, None),
        _ => return Err(PlanError::NotPublished),
    };
    let narrower = |tensor: &ModelTensor| match input.is_gguf() {
        true => tensor.dtype != Dtype::F32,
        false => matches!(tensor.dtype, Dtype::BF16 | Dtype::F16),
    };
    let mixed = published.tensors.iter().any(narrower);
    let arrangement = wanted.target.scheme().map(|scheme| scheme.experts);
    for (number, (index, tensor)) in published.arranged(arrangement).into_iter().enumerate() {
        let weight = chosen.as_ref().and_then(|chosen| chosen.weights[number].as_ref());
        if let Some(weight) = weight {
            output.tensors.extend(coded(input, index, tensor, weight)?);
            continue;
        }
        let from = Stored::of(input, tensor);
        let stays_wide = tensor.shape.len() < 2 || chosen.is_some() && !input.is_gguf();
        let to = match from.dtype {
            // What a publisher keeps wider than the rest, such as the biases of a router, stays so. GGUF widens all
            // vectors: those that are narrower than they look become so again.
            Dtype::F32 if mixed && stays_wide && !(input.is_gguf() && is_exact(input.weights, tensor, dtype)) => {
                Dtype::F32
            }
            stored if stored.info().dequantize.is_none() => stored,
            _ => dtype,
        };
        let via = if from.dtype == to { to } else { Dtype::F32 };
        output.tensors.push(planned(index, tensor.name.clone(), tensor.shape.clone(), from, (via, to)));
    }
    warn_of_idle_options(request, &mut output);
    check_codecs(&published.all().collect::<Vec<_>>(), &output)?;
    let shard_bytes = match request.split {
        Split::Bytes(bytes) => bytes,
        Split::Never | Split::AsInput => SHARD_BYTES,
    };
    let stem = published.stem.unwrap_or("model");
    // The only way to tell MLX's files from others' is what their headers say.
    let format = statement.filter(|statement| statement.keys.contains_key("quantization")).map_or("pt", |_| "mlx");
    lay_out(&mut output, stem, format, shard_bytes)?;
    add_files(&mut output, stem, published, dtype, statement);
    Ok(output)
}

/// The tensors that a coded weight becomes.
fn coded(
    input: &Input<'_>,
    index: usize,
    tensor: &ModelTensor,
    weight: &scheme::Weight,
) -> Result<Vec<PlannedTensor>, PlanError> {
    let size = scheme::size(tensor);
    let too_large = || PlanError::Address { name: tensor.name.clone() };
    let layout = match size.map(usize::try_from) {
        [Ok(rows), Ok(columns)] => weight.coding.layout([rows, columns]),
        _ => return Err(too_large()),
    };
    let module = module_of(&tensor.name).unwrap_or(&tensor.name);
    let parts = layout.tensors.iter().enumerate().map(|(number, part)| {
        let mut shape: Vec<u64> = part.shape.iter().map(|&length| length as u64).collect();
        // formats that have stacks have a row of every tensor for each row of the weight
        if let [matrices, rows, _] = tensor.shape[..] {
            shape.splice(..1, [matrices, rows]);
        }
        let name = format!("{module}.{}", part.name);
        let planned = planned(index, name, shape, Stored::of(input, tensor), (Dtype::F32, part.dtype));
        let coding = weight.coding;
        let (entry, expert) = weight.importance.clone().unzip();
        let (set, fallback, expert) = (weight.set, weight.fallback, expert.unwrap_or(0));
        let coded = Coded { coding, tensor: number, set, size, expert, fallback };
        // of the codes alone: numbers are not weighed
        let weighing = weight.weighing.filter(|_| number == 0);
        PlannedTensor { coded: Some(coded), importance: entry, weighing, lossless: false, ..planned }
    });
    Ok(parts.collect())
}

/// Whether the values of a vector, rounded to `dtype`, become those that are stored again.
fn is_exact(weights: &Weights, tensor: &ModelTensor, dtype: Dtype) -> bool {
    let level = Level::detect();
    tensor.data.pieces().iter().all(|piece| {
        let weight = &weights.list()[piece.weight];
        // which of the values does not matter
        let mut stored = vec![0.0f32; weight.columns()];
        (0..weight.elements() as usize / stored.len().max(1)).all(|row| {
            weights.decode(weight, level, row..row + 1, 0..stored.len(), &mut stored);
            let mut values = stored.clone();
            piece.map.apply(&mut values);
            let mut bytes = vec![0u8; dtype.byte_size(values.len() as u64).unwrap_or(0) as usize];
            quantize(level, dtype, &values, values.len(), None, &mut bytes);
            dequantize(level, dtype, &bytes, &mut values);
            piece.map.inverse().apply(&mut values);
            values.iter().zip(&stored).all(|(value, stored)| value.to_bits() == stored.to_bits())
        })
    })
}

/// Divides the tensors into shards in their order, and places them.
fn lay_out(output: &mut OutputPlan, stem: &str, format: &str, shard_bytes: u64) -> Result<(), PlanError> {
    let specs: Vec<TensorSpec> = output
        .tensors
        .iter()
        .map(|tensor| TensorSpec { name: tensor.name.clone(), shape: tensor.shape.clone(), dtype: tensor.to })
        .collect();
    let mut begins = vec![0];
    let mut size = 0u64;
    let mut index = 0;
    // The tensors of one weight stay together.
    for weight in output.tensors.chunk_by(|a, b| a.index == b.index) {
        let bytes_of = |spec: &TensorSpec| spec.dtype.byte_size(spec.shape.iter().product()).unwrap_or(0);
        let bytes = specs[index..index + weight.len()].iter().map(bytes_of).fold(0, u64::saturating_add);
        if size > 0 && size.saturating_add(bytes) > shard_bytes {
            begins.push(index);
            size = 0;
        }
        size = size.saturating_add(bytes);
        index += weight.len();
    }
    let count = begins.len();
    if count > MAX_SHARDS {
        return Err(PlanError::TooManyShards { count, limit: MAX_SHARDS });
    }
    let mut metadata = Metadata::new();
    metadata.set("format", format);
    let ends: Vec<usize> = begins[1..].iter().copied().chain([specs.len()]).collect();
    for (number, (begin, end)) in begins.into_iter().zip(ends).enumerate() {
        let path = output.path.join(shard_name(stem, number, count));
        let layout = safetensors::layout(&metadata, &specs[begin..end])
            .map_err(|source| PlanError::Layout { path: path.clone(), source })?;
        for (tensor, range) in output.tensors[begin..end].iter_mut().zip(layout.tensors) {
            (tensor.part, tensor.range) = (number, range);
        }
        output.parts.push(Part { path, header: layout.header, bytes: layout.length, tensors: begin..end });
    }
    // Ascending offsets inside every part, as everything that writes them expects.
    let mut tensors = std::mem::take(&mut output.tensors);
    tensors.sort_by_key(|tensor| (tensor.part, tensor.range.start));
    output.tensors = tensors;
    Ok(())
}

/// As Hugging Face's libraries name them.
fn shard_name(stem: &str, number: usize, count: usize) -> String {
    match count {
        1 => format!("{stem}.safetensors"),
        _ => format!("{stem}-{:05}-of-{count:05}.safetensors", number + 1),
    }
}

/// The small files, the configuration last: without it nothing takes the folder for a model.
fn add_files(output: &mut OutputPlan, stem: &str, published: &Published, dtype: Dtype, statement: Option<&Statement>) {
    let shards = output.parts.len();
    let mut files: Vec<(String, Vec<u8>)> = published.files.clone();
    if shards > 1 {
        files.push((format!("{stem}.safetensors.index.json"), index(&output.tensors, stem, shards)));
    }
    files.extend(statement.into_iter().flat_map(|statement| statement.files.iter().cloned()));
    if let Some(config) = &published.config {
        let mut config = config.clone();
        let key = if config.contains_key("torch_dtype") { "torch_dtype" } else { "dtype" };
        config.insert(key.to_owned(), Json::from(config_name(dtype)));
        let keys = statement.into_iter().flat_map(|statement| &statement.keys);
        keys.for_each(|(key, value)| drop(config.insert(key.clone(), value.clone())));
        files.push(("config.json".to_owned(), pretty(&Json::Object(config))));
    }
    let end = output.tensors.len();
    for (name, bytes) in files {
        let length = bytes.len() as u64;
        output.parts.push(Part { path: output.path.join(name), header: bytes, bytes: length, tensors: end..end });
    }
}

fn index(tensors: &[PlannedTensor], stem: &str, shards: usize) -> Vec<u8> {
    let total: u64 = tensors.iter().map(PlannedTensor::bytes).sum();
    let map: BTreeMap<&str, String> =
        tensors.iter().map(|tensor| (tensor.name.as_str(), shard_name(stem, tensor.part, shards))).collect();
    pretty(&json!({"metadata": {"total_size": total}, "weight_map": map}))
}

/// Options that speak of GGUF files only.
fn warn_of_idle_options(request: &Request, output: &mut OutputPlan) {
    let types = &request.types;
    let idle = [
        ("--pure", types.pure),
        ("--leave-output-tensor", types.leave_output_tensor),
        ("--output-tensor-type", types.output_tensor.is_some()),
        ("--token-embedding-type", types.token_embedding.is_some()),
        ("--tensor-type", !types.tensors.is_empty()),
        ("--override-kv", !request.overrides.is_empty()),
        ("--prune-layers", !request.prune_layers.is_empty()),
        ("--keep-split", request.split == Split::AsInput),
    ];
    for (option, _) in idle.into_iter().filter(|(_, given)| *given) {
        output.warnings.push(format!("{option} has no effect on a checkpoint folder"));
    }
}
