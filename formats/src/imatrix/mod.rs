//! Importance matrices: for each tensor, how much every column matters, as llama-imatrix measures it.
//!
//! An [`Imatrix`] is what a file holds: sums of squared activations and how many were added up. [`Importance`] is made from
//! it: the values by which quantizers weigh columns, the same as llama-quantize computes. Both forms of the file are read
//! and written: GGUF, and the older `.dat`.

mod dat;
mod gguf;
mod importance;
mod merge;
mod statistics;

use std::path::Path;

use indexmap::IndexMap;

pub use importance::{Cause, Gap, Importance};
pub use merge::{MergeError, Merger};
pub use statistics::{Statistics, similarity};

use crate::error::Result;
use crate::mmap::Map;

/// Tokens per chunk where nothing says so: the context of llama-imatrix unless it is told another.
pub const DEFAULT_CHUNK_SIZE: u32 = 512;

/// A whole importance matrix, as measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imatrix {
    /// What was measured, by tensor name, in file order. Writers sort it by name, as llama-imatrix does.
    pub entries: IndexMap<String, Entry>,
    /// Names of the texts that were measured, as the file has them (often paths).
    pub datasets: Vec<String>,
    /// Number of chunks of text; 0 if the file does not say.
    pub chunks: u32,
    /// Tokens per chunk. `None` in the older form, which counts chunks, not tokens, and does not say how long they were.
    pub chunk_size: Option<u32>,
    /// Names of tensors in a GGUF file that are neither sums of squares nor counts. They are not kept.
    pub others: Vec<String>,
}

/// What was measured for one tensor: a matrix, or a stack of matrices (experts) of which every one has its own sums.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Sum of the squared activations of every column, matrix after matrix. llama-imatrix writes finite, non-negative ones.
    pub sums: Vec<f32>,
    /// How many activations were added up: tokens, or chunks if [`Imatrix::chunk_size`] is not known. One number for every
    /// matrix, or one for all of them, never none. Divides the number of sums.
    pub counts: Vec<u64>,
}

impl Entry {
    /// Sums that share a count: the columns of one matrix, or of the whole stack if it has but one count.
    pub fn shared(&self) -> usize {
        self.sums.len() / self.counts.len().max(1)
    }

    /// Every count with its sums.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &[f32])> {
        self.counts.iter().copied().zip(self.sums.chunks(self.shared().max(1)))
    }
}

/// How a file holds an importance matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// GGUF, as llama-imatrix writes it today.
    Gguf,
    /// The older `.dat`: one count per tensor, means instead of sums.
    Dat,
}

impl Form {
    /// The form that a file of this name should have: `.dat` is the older one.
    pub fn of(path: &Path) -> Form {
        match path.extension() {
            Some(extension) if extension.eq_ignore_ascii_case("dat") => Form::Dat,
            _ => Form::Gguf,
        }
    }
}

/// Reads an importance matrix of either form. Sums are taken as they are: [`Imatrix::into_importance`] looks at them.
pub fn open(path: &Path) -> Result<Imatrix> {
    let map = Map::open(path)?;
    parse(map.bytes(), path)
}

/// Reads an importance matrix from the bytes of a whole file. `path` appears in errors only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Imatrix> {
    if bytes.starts_with(crate::gguf::MAGIC) { gguf::parse(bytes, path) } else { dat::parse(bytes, path) }
}

impl Imatrix {
    /// Writes the file that llama-imatrix writes, complete or not at all. `force` replaces one that exists.
    ///
    /// Entries are sorted by name. The older form keeps one count and the last text, and has no entry for a tensor that saw
    /// nothing. What holds chunks of unknown length ([`Imatrix::chunk_size`]) becomes GGUF as if they had
    /// [`DEFAULT_CHUNK_SIZE`] tokens.
    pub fn write(&self, path: &Path, form: Form, force: bool) -> Result<()> {
        match form {
            Form::Gguf if self.chunk_size.is_none() => {
                gguf::write(&self.clone().in_tokens(DEFAULT_CHUNK_SIZE), path, force)
            }
            Form::Gguf => gguf::write(self, path, force),
            Form::Dat => dat::write(self, path, force),
        }
    }

    /// The same with counts in tokens: chunks of unknown length become `chunk_size` tokens each, as llama-imatrix takes them.
    pub fn in_tokens(mut self, chunk_size: u32) -> Self {
        if self.chunk_size.is_some() {
            return self;
        }
        for entry in self.entries.values_mut() {
            entry.sums.iter_mut().for_each(|sum| *sum *= chunk_size as f32);
            entry.counts.iter_mut().for_each(|count| *count = count.saturating_mul(chunk_size.into()));
        }
        self.chunk_size = Some(chunk_size);
        self
    }

    /// The greatest count in chunks, rounded down: what the file calls its number of chunks.
    pub fn counted_chunks(&self) -> u32 {
        let most = self.entries.values().flat_map(|entry| &entry.counts).max().copied().unwrap_or(0);
        u32::try_from(most / u64::from(self.chunk_size.unwrap_or(1).max(1))).unwrap_or(u32::MAX)
    }

    /// Entries by name, in byte order.
    fn sorted(&self) -> Vec<(&str, &Entry)> {
        let mut entries: Vec<(&str, &Entry)> =
            self.entries.iter().map(|(name, entry)| (name.as_str(), entry)).collect();
        entries.sort_by_key(|(name, _)| *name);
        entries
    }
}
