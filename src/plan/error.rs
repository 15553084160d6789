//! Why there is no plan.

use std::path::PathBuf;

use weightmill_kernels::Dtype;

use crate::options::GroupSize;
use crate::recipe::ChooseError;

/// Why there is no plan. Nothing has been written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum PlanError {
    #[error("two outputs would be written to {}; give each type a path of its own, or a folder", path.display())]
    DuplicateOutput { path: PathBuf },
    #[error("COPY copies GGUF files; the input is {format}. Take F32, F16 or BF16 to convert it without quantizing")]
    CopyNeedsGguf { format: String },
    #[error("--keep-split keeps the parts of a GGUF file; the input is {format}. --shard-size splits by size")]
    KeepSplitNeedsGguf { format: String },
    #[error(transparent)]
    Choose(#[from] ChooseError),
    #[error(
        "{recipe}: the rows of {} do not fill blocks of the wanted type, and --fallback error forbids another: {}",
        tensors(names),
        list(names)
    )]
    Fallback { recipe: &'static str, names: Vec<String> },
    #[error("tensor {} cannot be written as {to}: this program cannot encode that type yet", name.escape_debug())]
    CannotEncode { name: String, to: Dtype },
    #[error("tensor {} cannot be converted from {from} to {to}: this program cannot decode {from}", name.escape_debug())]
    CannotDecode { name: String, from: Dtype, to: Dtype },
    #[error(
        "{recipe}: {} already quantized: {}. Quantizing again loses quality: start from F32, F16 or BF16, or \
        add --allow-requantize",
        are(names),
        list(names)
    )]
    Requantize { recipe: &'static str, names: Vec<String> },
    #[error(
        "{recipe} needs an importance matrix (--imatrix), without which {} would be noise: {}",
        tensors(names),
        list(names)
    )]
    NeedsImportance { recipe: &'static str, names: Vec<String> },
    #[error(
        "{recipe}: the importance matrix has nothing for {} that would be noise without: {}",
        tensors(names),
        list(names)
    )]
    MissingImportance { recipe: &'static str, names: Vec<String> },
    #[error(
        "{recipe}: the importance matrix has gaps, which --strict-imatrix forbids: {} without measured importance: {}",
        are(names),
        list(names)
    )]
    ImportanceGaps { recipe: &'static str, names: Vec<String> },
    #[error(
        "the importance matrix has {found} values for tensor {}, which needs {expected}: it was made from another model",
        name.escape_debug()
    )]
    ImportanceSize { name: String, found: usize, expected: u64 },
    #[error("the names of {} are longer than the {limit} bytes that {readers} read: {}", tensors(names), list(names))]
    LongNames { names: Vec<String>, limit: usize, readers: &'static str },
    #[error("--prune-layers {layer}: no tensor lies in block {layer}")]
    NoSuchLayer { layer: u32 },
    #[error("--shard-size: {size} bytes are too few, the header alone takes {header}")]
    ShardTooSmall { size: u64, header: u64 },
    #[error("{scheme} has no groups of {group}; choose one of {known}")]
    NoSuchGroups { scheme: &'static str, group: GroupSize, known: String },
    #[error("{scheme}: no matrix lies in a numbered decoder block (layers, h or blocks) and has rows that fill groups")]
    NothingToCode { scheme: &'static str },
    #[error(
        "{scheme}: {} is of an expert, and how mlx-lm wants those of this model_type is not known here; take another scheme",
        name.escape_debug()
    )]
    Experts { scheme: &'static str, name: String },
    #[error("tensor {} is larger than this computer's address space", name.escape_debug())]
    Address { name: String },
    #[error("this model was not prepared to be written as a checkpoint folder")]
    NotPublished,
    #[error("{count} shards, more than {limit}: give a larger --shard-size")]
    TooManyShards { count: usize, limit: usize },
    #[error("cannot lay out {}", path.display())]
    Layout { path: PathBuf, source: weightmill_formats::Error },
}

/// How many names a message lists.
const LISTED: usize = 4;

/// `a, b and 3 more`.
pub(super) fn list(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| name.escape_debug().to_string()).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `1 tensor`, `2 tensors`.
pub(super) fn tensors(names: &[String]) -> String {
    if names.len() == 1 { "1 tensor".to_owned() } else { format!("{} tensors", names.len()) }
}

fn are(names: &[String]) -> String {
    format!("{} {}", tensors(names), if names.len() == 1 { "is" } else { "are" })
}
