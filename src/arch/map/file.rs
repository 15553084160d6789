//! The file of an architecture map, as data. Keys that are not listed here are errors.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::expression::Expression;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `general.architecture`, which the runtime must know.
    pub architecture: Spanned<String>,
    /// Which files the vocabulary is taken from: a name of [`crate::tokenizer::Vocabulary`], or `none`.
    pub vocabulary: Spanned<String>,
    /// The `architectures` of config.json that this is for; any if there are none.
    #[serde(default)]
    pub config_names: Vec<String>,
    /// Number of layers, if config.json does not say so under one of the usual names.
    pub layers: Option<Spanned<Expression>>,
    /// Number of experts, where names of tensors have `{e}`.
    pub experts: Option<Spanned<Expression>>,
    /// Whether the metadata that most text models have is written from the usual settings.
    #[serde(default = "yes")]
    pub usual_metadata: bool,
    /// Columns of a head: Llama 3's divisors of rotary frequencies are written where config.json scales that way.
    pub rope_factors: Option<Spanned<Expression>>,
    /// Settings of config.json that may be missing.
    #[serde(default)]
    pub defaults: Vec<Spanned<Setting>>,
    /// Metadata besides.
    #[serde(default)]
    pub metadata: Vec<Spanned<Entry>>,
    /// Other beginnings of tensor names.
    #[serde(default)]
    pub renames: Vec<Rename>,
    /// Tensors that are left out.
    #[serde(default)]
    pub ignore: Vec<Ignore>,
    /// All others.
    pub tensors: Vec<Spanned<Tensors>>,
}

fn yes() -> bool {
    true
}

/// A setting that may be missing, and its value then.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    pub key: String,
    pub value: Option<toml::Value>,
    pub from: Option<Expression>,
}

/// One key of the metadata, less the architecture.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub key: String,
    /// The value itself.
    pub value: Option<toml::Value>,
    /// What it is reckoned from.
    pub from: Option<Expression>,
    /// Its type: `u32` for what is whole and `f32` for what is not, if nothing is said.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// Numbers for the names that a setting can have.
    #[serde(default)]
    pub names: BTreeMap<String, u32>,
    /// Left out where a setting is missing.
    #[serde(default)]
    pub optional: bool,
}

/// Type of a number in the metadata.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    U32,
    I32,
    U64,
    F32,
    F64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    pub from: String,
    pub to: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    pub prefix: String,
    pub because: String,
}

/// Tensors that belong together: one becomes one or several (rows of a fused matrix), several become one (rows below each
/// other), or, of experts, as many.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tensors {
    /// Names in the checkpoint, with `{}` for the layer and `{e}` for the expert.
    pub from: Several<String>,
    /// Names in GGUF.
    pub to: Several<String>,
    /// Rows of each that is made, where there are several.
    pub rows: Option<Vec<Expression>>,
    /// The rows are those of so many groups, each divided by `rows`.
    pub groups: Option<Expression>,
    /// Of so many heads the two halves are interleaved, as llama.cpp's `llama` wants queries and keys; 0 for none.
    pub interleave_heads: Option<Several<Expression>>,
    /// Rows and columns are exchanged.
    #[serde(default)]
    pub transpose: bool,
    /// Arithmetic on every value.
    pub map: Option<Arithmetic>,
    /// Whether they must be there: a setting of config.json, with `!` its opposite, or simply so.
    pub required: Option<Required>,
    /// The shape of what is taken, to check it.
    pub shape: Option<Vec<Expression>>,
    /// The first layer that has them, and the one behind the last.
    pub first_layer: Option<Expression>,
    pub end_layer: Option<Expression>,
    /// Codes that a type of GGUF holds exactly are kept.
    #[serde(default)]
    pub keep_codes: bool,
}

/// One or several in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "one, or a list of several")]
pub enum Several<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Several<T> {
    pub fn list(&self) -> &[T] {
        match self {
            Several::One(one) => std::slice::from_ref(one),
            Several::Many(many) => many,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arithmetic {
    PlusOne,
    MinusOne,
    MinusExp,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "true, false, or a setting of config.json, perhaps after an exclamation mark")]
pub enum Required {
    Always(bool),
    Setting(String),
}
