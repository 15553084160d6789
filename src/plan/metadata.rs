//! The metadata of an output.

use weightmill_formats::{Metadata, Value};

use super::Input;
use super::importance::ImportanceView;
use crate::options::Request;
use crate::recipe::Recipe;

const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION_VERSION: &str = "general.quantization_version";

/// `GGML_QNT_VERSION`: the version of the layouts of quantized blocks.
const CURRENT_QUANTIZATION_VERSION: u32 = 2;

/// Added to a file type that was guessed from the tensors (`LLAMA_FTYPE_GUESSED`).
const GUESSED: u32 = 1024;

/// Where llama-quantize cuts texts that it adds, in bytes.
const TEXT_MAX: usize = 127;

/// What the converter writes with `--outtype`: the model's metadata in its order, with its own file type, unless codes of
/// the checkpoint are taken over.
pub(super) fn of_converter(input: &Input<'_>, recipe: &Recipe) -> Metadata {
    let mut metadata = Metadata::new();
    let plain = !input.model.tensors.iter().any(|tensor| tensor.dtype.is_quantized());
    for (key, value) in input.model.metadata.iter() {
        metadata.set(key, if plain && key == FILE_TYPE { Value::U32(recipe.file_type) } else { value.clone() });
    }
    metadata
}

/// What llama-quantize writes: the input's metadata less that of a split, then quantization version, file type,
/// replacements by the user, the importance matrix, and the number of blocks if some were left out.
pub(super) fn of_quantizer(
    input: &Input<'_>,
    recipe: &Recipe,
    request: &Request,
    importance: Option<&ImportanceView<'_>>,
    blocks: Option<u32>,
    file_type_of_copy: impl FnOnce() -> Option<u32>,
) -> Metadata {
    let mut metadata = input.model.metadata.clone();
    let file_type =
        if recipe.is_copy() { copied_file_type(input, request, file_type_of_copy) } else { recipe.file_type };
    metadata.set(QUANTIZATION_VERSION, CURRENT_QUANTIZATION_VERSION);
    metadata.set(FILE_TYPE, file_type);
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    for replacement in &request.overrides {
        metadata.set(&replacement.key, replacement.value.clone());
    }
    if let Some(ImportanceView { summary, entries }) = importance {
        metadata.set("quantize.imatrix.file", cut(&summary.file_name));
        if let Some(dataset) = summary.datasets.first() {
            metadata.set("quantize.imatrix.dataset", cut(dataset));
        }
        metadata.set("quantize.imatrix.entries_count", u32::try_from(entries.len()).unwrap_or(u32::MAX));
        if let Some(chunks) = summary.chunks.filter(|&chunks| chunks > 0) {
            metadata.set("quantize.imatrix.chunks_count", chunks);
        }
    }
    if let Some(blocks) = blocks {
        metadata.set(format!("{}.block_count", input.model.architecture), blocks);
    }
    metadata
}

/// The input's file type; without one, that of its most frequent tensor type, marked as guessed.
fn copied_file_type(input: &Input<'_>, request: &Request, guess: impl FnOnce() -> Option<u32>) -> u32 {
    let told = super::overridden(&input.model.metadata, request).unsigned(FILE_TYPE);
    match told.and_then(|number| u32::try_from(number).ok()) {
        Some(file_type) => file_type,
        None => guess().unwrap_or(0) | GUESSED,
    }
}

/// The text up to llama-quantize's limit, without half characters.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(TEXT_MAX)).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}
