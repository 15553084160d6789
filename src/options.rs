//! What a user can ask of the types of an output: plain data, and the parsers of llama-quantize's notations.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use regex::Regex;
use weightmill_formats::Value;
use weightmill_kernels::Dtype;

use crate::recipe::nearest;
use crate::target::Target;

/// Everything that decides what is written, for all outputs of a run.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// One entry per file to write.
    pub outputs: Vec<Output>,
    /// How types are chosen, the same for every output.
    pub types: TypeOptions,
    /// How the weights of quantized checkpoint folders are coded.
    pub schemes: SchemeOptions,
    /// Replacements for metadata values (`--override-kv`), in the order given.
    pub overrides: Vec<Override>,
    /// Blocks to leave out (`--prune-layers`).
    pub prune_layers: BTreeSet<u32>,
    /// Which entries of the importance matrix count.
    pub importance: ImportanceFilter,
    /// Refuse what the matrix has no measured importance for (`--strict-imatrix`), instead of reporting it.
    pub strict_importance: bool,
    /// Plan types that need an importance matrix as if there were one: good for a forecast, not for a run.
    pub assume_importance: bool,
    /// Whether an output is one file or several.
    pub split: Split,
}

/// One file or folder to write.
#[derive(Clone, Debug)]
pub struct Output {
    /// What it is.
    pub target: Target,
    /// Where it goes. When a GGUF file is split, the parts are `NAME-00001-of-0000N.gguf` beside it.
    pub path: PathBuf,
}

/// Options that change the choice of types.
#[derive(Clone, Debug, Default)]
pub struct TypeOptions {
    /// `--pure`: the recipe's own type for every tensor that can be quantized.
    pub pure: bool,
    /// `--leave-output-tensor`: `output.weight` keeps its type.
    pub leave_output_tensor: bool,
    /// `--output-tensor-type`.
    pub output_tensor: Option<Dtype>,
    /// `--token-embedding-type`.
    pub token_embedding: Option<Dtype>,
    /// `--tensor-type` and the entries of `--tensor-type-file`, in the order given; the first match decides.
    pub tensors: Vec<TensorType>,
    /// `--allow-requantize`: quantize again what is already quantized.
    pub allow_requantize: bool,
    /// What to do with rows that do not fill whole blocks of the chosen type.
    pub fallback: Fallback,
}

/// What to do with rows that do not fill whole blocks of the chosen type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    /// Take the type that llama.cpp takes instead.
    #[default]
    Allow,
    /// Refuse before anything is written.
    Error,
}

/// Options of quantized checkpoint folders. What is not given is the scheme's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchemeOptions {
    /// `--group-size`.
    pub group: Option<GroupSize>,
    /// `--asymmetric`: with zero points.
    pub asymmetric: bool,
    /// `--search`.
    pub search: Option<Search>,
}

/// Weights that share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSize {
    /// So many columns of a row.
    Columns(usize),
    /// A whole row.
    Row,
}

impl FromStr for GroupSize {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text {
            "channel" => Ok(GroupSize::Row),
            _ => match text.parse() {
                Ok(columns @ 1..=65536) => Ok(GroupSize::Columns(columns)),
                _ => Err(OptionError::GroupSize { text: text.to_owned() }),
            },
        }
    }
}

impl fmt::Display for GroupSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupSize::Columns(columns) => write!(f, "{columns}"),
            GroupSize::Row => f.write_str("channel"),
        }
    }
}

/// How the scale of a group is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// From its greatest magnitude alone, as the formats' own packages do without calibration.
    AbsMax,
    /// That of those tried which gives the least squared error, weighted by importance where there is some.
    #[default]
    Mse,
    /// The same, where a scale may be negative, so that the level that levels above zero lack can be of use on either side.
    MseSigned,
}

/// Whether an output is one file or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// One file.
    #[default]
    Never,
    /// The same parts as the input (`--keep-split`); an input in one file gives one file.
    AsInput,
    /// Parts of at most so many bytes (`--shard-size`), header included; a tensor is never divided.
    Bytes(u64),
}

/// Which entries of an importance matrix count (`--include-weights`, `--exclude-weights`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportanceFilter {
    /// If not empty, only entries whose name contains one of these.
    pub include: Vec<String>,
    /// No entry whose name contains one of these.
    pub exclude: Vec<String>,
}

impl ImportanceFilter {
    /// True if the entry of this name counts.
    pub fn keeps(&self, name: &str) -> bool {
        let named = |parts: &[String]| parts.iter().any(|part| name.contains(part.as_str()));
        !named(&self.exclude) && (self.include.is_empty() || named(&self.include))
    }
}

/// A text that is not what an option takes.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)]
pub enum OptionError {
    #[error("`{text}` has no `=`: write {expected}")]
    NoEquals { text: String, expected: &'static str },
    #[error("`{text}`: nothing before the `=`; write {expected}")]
    NoName { text: String, expected: &'static str },
    #[error("no tensor type is called `{name}`; known are {known}")]
    UnknownType { name: String, known: String },
    #[error("llama.cpp has no pre-tokenizer called `{name}`; the nearest is `{nearest}`; known are {known}")]
    UnknownPreTokenizer { name: String, nearest: &'static str, known: String },
    #[error("`{pattern}` is not a regular expression: {reason}")]
    Pattern { pattern: String, reason: String },
    #[error("`{text}`: the value must be one of int:N, float:X, bool:true, bool:false, str:TEXT")]
    OverrideKind { text: String },
    #[error("`{text}`: {reason}")]
    OverrideValue { text: String, reason: String },
    #[error("`{text}` is not a size of groups: write a number of columns, as in 128, or channel")]
    GroupSize { text: String },
    #[error("`{text}` is not a list of block numbers, as in 3,4,11")]
    Layers { text: String },
    #[error(
        "`{text}` is not a size: write a number of bytes, or one with K, M, G, T (1000) or KiB, MiB, GiB, TiB (1024)"
    )]
    Size { text: String },
}

/// The tensor type of this name, in any case, if ggml has it.
pub fn parse_dtype(name: &str) -> Result<Dtype, OptionError> {
    let ggml = || Dtype::all().filter(|dtype| dtype.info().gguf_id.is_some());
    ggml().find(|dtype| dtype.name().eq_ignore_ascii_case(name)).ok_or_else(|| OptionError::UnknownType {
        name: name.to_owned(),
        known: nearest(name, ggml().map(Dtype::name)).join(", "),
    })
}

/// `REGEX=TYPE`: tensors whose name the pattern finds get the type.
#[derive(Clone, Debug)]
pub struct TensorType {
    /// Searched for anywhere in a tensor's name. In lower case, as llama-quantize makes it.
    pub pattern: Regex,
    /// The type that matching tensors get.
    pub dtype: Dtype,
}

impl FromStr for TensorType {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (pattern, dtype) = split_assignment(text, "REGEX=TYPE, as in attn_v=q8_0")?;
        let pattern = pattern.to_ascii_lowercase();
        let regex = Regex::new(&pattern)
            .map_err(|error| OptionError::Pattern { pattern: pattern.clone(), reason: error.to_string() })?;
        Ok(TensorType { pattern: regex, dtype: parse_dtype(dtype)? })
    }
}

/// The entries of a `--tensor-type-file`: `REGEX=TYPE` separated by white space.
pub fn parse_tensor_type_file(text: &str) -> Result<Vec<TensorType>, OptionError> {
    text.split_ascii_whitespace().map(str::parse).collect()
}

/// `KEY=TYPE:VALUE`: a metadata value to set in the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// The metadata key.
    pub key: String,
    /// Its new value. An `int` is a `U32`, as llama-quantize writes it whatever the old type was.
    pub value: Value,
}

/// llama-quantize's limits for an override, in bytes.
const OVERRIDE_KEY_MAX: usize = 127;
const OVERRIDE_TEXT_MAX: usize = 127;

impl FromStr for Override {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let (key, typed) = split_assignment(text, "KEY=TYPE:VALUE, as in general.name=str:Llama")?;
        let wrong = |reason: &str| OptionError::OverrideValue { text: text.to_owned(), reason: reason.to_owned() };
        if key.len() > OVERRIDE_KEY_MAX {
            return Err(wrong("the key is longer than 127 bytes"));
        }
        if key.starts_with("split.") {
            return Err(wrong("these keys describe the parts of a split file; use --shard-size or --keep-split"));
        }
        let (kind, value) = typed.split_once(':').unwrap_or((typed, ""));
        if key == "general.architecture" && kind != "str" {
            return Err(wrong("general.architecture is a str"));
        }
        let value = match kind {
            "int" => Value::U32(value.parse().map_err(|_| wrong("an int must lie between 0 and 4294967295"))?),
            "float" => Value::F32(value.parse().map_err(|_| wrong("the value is not a number"))?),
            "bool" => Value::Bool(value.parse().map_err(|_| wrong("a bool is true or false"))?),
            "str" if value.len() > OVERRIDE_TEXT_MAX => return Err(wrong("the text is longer than 127 bytes")),
            "str" => Value::String(value.to_owned()),
            _ => return Err(OptionError::OverrideKind { text: text.to_owned() }),
        };
        Ok(Override { key: key.to_owned(), value })
    }
}

fn split_assignment<'a>(text: &'a str, expected: &'static str) -> Result<(&'a str, &'a str), OptionError> {
    match text.split_once('=') {
        None => Err(OptionError::NoEquals { text: text.to_owned(), expected }),
        Some(("", _)) => Err(OptionError::NoName { text: text.to_owned(), expected }),
        Some(parts) => Ok(parts),
    }
}

/// `L0,L1,...`: block numbers.
pub fn parse_layers(text: &str) -> Result<BTreeSet<u32>, OptionError> {
    let numbers: Result<BTreeSet<u32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.map_err(|_| OptionError::Layers { text: text.to_owned() })
}

/// A size in bytes: `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `K`, `M`, `G`, `T` and `KB` ... of 1000; a bare
/// number is bytes. Case does not matter; fractions as in `1.5GiB` do, and are rounded down to bytes.
pub fn parse_size(text: &str) -> Result<u64, OptionError> {
    let wrong = || OptionError::Size { text: text.to_owned() };
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1000_u64.pow(2),
        "g" | "gb" => 1000_u64.pow(3),
        "t" | "tb" => 1000_u64.pow(4),
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).ok_or_else(wrong);
    }
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * unit as f64;
    if unit > 1 && bytes < u64::MAX as f64 { Ok(bytes as u64) } else { Err(wrong()) }
}
