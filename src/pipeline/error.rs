//! Why a run ended without its outputs.

use std::path::PathBuf;

use weightmill_kernels::Dtype;

/// A row of a tensor in the input. Rows are counted from 0 over all dimensions but the last.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Site {
    pub file: PathBuf,
    pub tensor: String,
    pub row: usize,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: tensor {}, row {}", self.file.display(), self.tensor.escape_debug(), self.row)
    }
}

/// Failures of a run. Nothing is left under the name of an output, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{site}, column {column}: the weight is {value}; a model with such a weight computes nothing useful")]
    NonFinite { site: Site, column: usize, value: f32 },
    #[error(
        "{site}, block {block}: the weights are too large for {dtype}, whose scales end at 65504; choose BF16 or F32 for this tensor with --tensor-type"
    )]
    Overflow { site: Site, block: usize, dtype: Dtype },
    #[error(
        "{site}, group {group}: the weights are too large for the scales of {scheme}; choose one whose scales are of type BF16"
    )]
    ScaleOverflow { site: Site, group: usize, scheme: &'static str },
    #[error("{site}, block {block}: the stored {dtype} block has a scale or weight that is not finite")]
    BadBlock { site: Site, block: usize, dtype: Dtype },
    #[error("tensor {}: {from} cannot be converted to {to} by this program", tensor.escape_debug())]
    NoCodec { tensor: String, from: Dtype, to: Dtype },
    #[error("tensor {}: {dtype} cannot be decoded by this program", tensor.escape_debug())]
    NoDecoder { tensor: String, dtype: Dtype },
    #[error("tensor {} is larger than this computer's address space", tensor.escape_debug())]
    Address { tensor: String },
    #[error(
        "tensor {}: one row per thread ({threads}) takes {needed} bytes of buffers, but --max-memory allows {limit}; \
         give at least {needed}, or fewer --threads",
        tensor.escape_debug()
    )]
    RowTooLong { tensor: String, needed: u64, limit: u64, threads: usize },
    #[error("{}: {file} lies there already and would be taken for a part of the model; choose an empty folder", folder.display())]
    OtherWeights { folder: PathBuf, file: String },
    #[error("{} cannot be written: {} is a file, not a folder", output.display(), path.display())]
    NotAFolder { path: PathBuf, output: PathBuf },
    #[error("cannot make the folder {}: {error}", folder.display())]
    Folder { folder: PathBuf, error: std::io::Error },
    #[error("{} is both input and output; choose another name with -o", path.display())]
    OutputIsInput { path: PathBuf },
    #[error(
        "the outputs in {} need {needed} bytes, and {available} are free there", folder.display()
    )]
    NoSpace { folder: PathBuf, needed: u64, available: u64 },
    #[error("{}: planned without the importance matrix that the type needs; give one with --imatrix", path.display())]
    AssumedImportance { path: PathBuf },
    #[error(transparent)]
    File(#[from] weightmill_formats::Error),
    #[error("{source}; these outputs were finished before and are complete: {}", list(finished))]
    PartlyCommitted { finished: Vec<PathBuf>, source: weightmill_formats::Error },
    #[error("{}: what was rounded cannot be read: {error}", path.display())]
    Chosen { path: PathBuf, error: std::io::Error },
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("interrupted; nothing was written")]
    Cancelled,
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
