//! Tokenizers: from the files of a checkpoint to the `tokenizer.*` metadata of GGUF.
//!
//! A family of models says which [`Vocabulary`] it is published with, see `arch`. The result is that of the
//! `_set_vocab_*` functions in conversion/base.py of llama.cpp, which load the tokenizer with transformers; what
//! transformers changes on the way is reproduced in `added`.

mod added;
mod alphabet;
mod bpe;
mod chat_template;
mod class;
mod encode;
mod gemma;
mod json;
mod llama;
mod llama_json;
mod older;
mod phi3;
mod pre;
mod qwen;
mod ranks;
mod restore;
mod sentencepiece;
mod special;
mod tekken;

use std::path::PathBuf;

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

pub use encode::{EncodeError, Encoder};
pub use restore::{RestoreError, restore};

use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};
use json::TokenizerJson;

pub use pre::PreTokenizer;

/// Why a tokenizer cannot be converted.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenizerError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("{}: no tokenizer: one of {} is needed", folder.display(), files.join(", "))]
    Missing { folder: PathBuf, files: Vec<&'static str> },
    #[error("{}: {problem}", path.display())]
    Invalid { path: PathBuf, problem: String },
    #[error(
        "{}: the pre-tokenizer is none that llama.cpp is known to have; the nearest known is {nearest}. Found: \
         {structure}. If llama.cpp knows this way to cut text, name it with --pre NAME, as in --pre {nearest}",
        path.display()
    )]
    UnknownPreTokenizer { path: PathBuf, structure: String, nearest: &'static str },
    #[error("{}: --pre {pre} has no effect: SentencePiece vocabularies have no pre-tokenizer; leave it out", folder.display())]
    NoPreTokenizer { folder: PathBuf, pre: PreTokenizer },
}

impl TokenizerError {
    fn invalid(path: PathBuf, problem: impl Into<String>) -> Self {
        Self::Invalid { path, problem: problem.into() }
    }
}

/// Which files a family of models takes its vocabulary from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Llama: `tekken.json` if there is no `tokenizer.json`, else `tokenizer.model`, else a `tokenizer.json` made from
    /// one, else byte-level BPE.
    Llama,
    /// Byte-level BPE in `tokenizer.json`, or in an older form.
    ByteLevel,
    /// The first Qwen: `qwen.tiktoken`.
    Qwen,
    /// Qwen 2 and 3 without experts, the first DeepSeek: `tokenizer.model`, else byte-level BPE.
    Qwen2,
    /// DeepSeek V2 and V3: byte-level BPE, texts begin with a token if `tokenizer_config.json` says so.
    DeepSeek,
    /// The first Gemma: `tokenizer.model`.
    Gemma,
    /// Gemma 2: `tokenizer.model`.
    Gemma2,
    /// Gemma 3: `tokenizer.model`, else byte-level BPE.
    Gemma3,
    /// Phi-3: `tokenizer.model`, or byte-level BPE for those whose tokenizer is GPT-2's, as Phi-4's is.
    Phi3,
    /// ChatGLM and GLM of 2024: byte-level BPE, some roles of special tokens are given.
    Glm,
    /// GLM-4-0414: as [`Self::Glm`], with a token that begins a text.
    Glm4,
    /// GLM-4.5 and later, with experts: byte-level BPE, other roles are given.
    Glm4Moe,
}

impl Vocabulary {
    /// Its name in architecture maps, as in `byte_level`.
    pub fn name(self) -> String {
        let mut name = String::new();
        for c in format!("{self:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    }

    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Llama,
        Self::ByteLevel,
        Self::Qwen,
        Self::Qwen2,
        Self::DeepSeek,
        Self::Gemma,
        Self::Gemma2,
        Self::Gemma3,
        Self::Phi3,
        Self::Glm,
        Self::Glm4,
        Self::Glm4Moe,
    ];
}

/// Type of a token, as in llama.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenType {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// Tokens by id, with the columns that go with them.
#[derive(Default)]
struct TokenTable {
    tokens: Vec<String>,
    /// Left empty for models without scores.
    scores: Vec<f32>,
    types: Vec<i32>,
}

impl TokenTable {
    fn push(&mut self, token: String, kind: TokenType) {
        self.tokens.push(token);
        self.types.push(kind as i32);
    }

    fn write(self, model: &str, pre: &str, metadata: &mut Metadata) {
        metadata.replace("tokenizer.ggml.model", model);
        metadata.replace("tokenizer.ggml.pre", pre);
        metadata.replace("tokenizer.ggml.tokens", self.tokens);
        if !self.scores.is_empty() {
            metadata.replace("tokenizer.ggml.scores", self.scores);
        }
        metadata.replace("tokenizer.ggml.token_type", self.types);
    }
}

/// The files of a checkpoint from which several parts of the tokenizer are read.
struct Files<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Json,
    /// The pre-tokenizer, if the user names it.
    pre: Option<PreTokenizer>,
    tokenizer: Option<TokenizerJson>,
    tokenizer_config: Option<Map<String, Json>>,
}

impl Files<'_> {
    fn invalid(&self, file: SideFile, problem: impl Into<String>) -> TokenizerError {
        TokenizerError::invalid(self.checkpoint.path(file), problem)
    }

    /// The error that none of the files that would do is there.
    fn missing(&self, files: &[SideFile]) -> TokenizerError {
        let files = files.iter().map(|file| file.name()).collect();
        TokenizerError::Missing { folder: self.checkpoint.folder().to_owned(), files }
    }

    fn unknown_pre_tokenizer(&self, file: SideFile, unknown: pre::Unknown) -> TokenizerError {
        let pre::Unknown { structure, nearest } = unknown;
        TokenizerError::UnknownPreTokenizer { path: self.checkpoint.path(file), structure, nearest }
    }

    /// Whether there is a SentencePiece model, not another vocabulary under its name.
    fn has_sentencepiece(&self) -> Result<bool, TokenizerError> {
        let bytes = self.checkpoint.bytes(SideFile::SentencePiece)?;
        Ok(bytes.is_some_and(|bytes| !ranks::is_ranks(&bytes)))
    }

    fn tokenizer_setting(&self, key: &str) -> Option<&Json> {
        self.tokenizer_config.as_ref()?.get(key).filter(|value| !value.is_null())
    }
}

/// Appends the `tokenizer.*` entries of a checkpoint to `metadata`. `rows` is the number of tokens that the
/// embedding table has room for; `config` is config.json as it stands; `pre` is written in place of the pre-tokenizer
/// that the files tell.
///
/// # Errors
/// When files are missing or malformed, when the tokenizer is of a kind that is not known, or when there is a `pre`
/// for a vocabulary that has no pre-tokenizer.
pub fn write_metadata(
    vocabulary: Vocabulary,
    checkpoint: &Checkpoint,
    config: &Json,
    rows: u32,
    pre: Option<PreTokenizer>,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    let files = Files {
        checkpoint,
        config,
        pre,
        tokenizer: checkpoint.json(SideFile::TokenizerJson)?,
        tokenizer_config: checkpoint.json(SideFile::TokenizerConfig)?,
    };
    match vocabulary {
        Vocabulary::Llama => llama::write(files, rows, metadata, notes),
        Vocabulary::ByteLevel => bpe::write(files, rows, &bpe::COMMON, metadata, notes),
        Vocabulary::DeepSeek => bpe::write(files, rows, &bpe::DEEPSEEK, metadata, notes),
        Vocabulary::Qwen => qwen::write(&files, rows, metadata, notes),
        Vocabulary::Qwen2 if files.has_sentencepiece()? => sentencepiece::write(&files, rows, metadata, notes),
        Vocabulary::Qwen2 => bpe::write(files, rows, &bpe::COMMON, metadata, notes),
        Vocabulary::Gemma => gemma::write_first(&files, rows, metadata, notes),
        Vocabulary::Gemma3 if !files.has_sentencepiece()? => bpe::write(files, rows, &bpe::COMMON, metadata, notes),
        Vocabulary::Gemma2 | Vocabulary::Gemma3 => gemma::write(&files, rows, metadata, notes),
        Vocabulary::Phi3 => phi3::write(files, rows, metadata, notes),
        Vocabulary::Glm => bpe::write(files, rows, &bpe::GLM, metadata, notes),
        Vocabulary::Glm4 => bpe::write(files, rows, &bpe::GLM_4, metadata, notes),
        Vocabulary::Glm4Moe => bpe::write(files, rows, &bpe::GLM_4_MOE, metadata, notes),
    }?;
    match pre {
        Some(pre) if metadata.string("tokenizer.ggml.model") != Some("gpt2") => {
            Err(TokenizerError::NoPreTokenizer { folder: checkpoint.folder().to_owned(), pre })
        }
        _ => Ok(()),
    }
}

/// Refuses a table that does not match the embeddings: llama.cpp would not load the file.
fn check_rows(table: &TokenTable, rows: u32, path: PathBuf) -> Result<(), TokenizerError> {
    if table.tokens.len() as u64 == u64::from(rows) {
        return Ok(());
    }
    let problem = format!("{} tokens, but the embeddings have {rows} rows", table.tokens.len());
    Err(TokenizerError::invalid(path, problem))
}

/// Whether a token looks like a control token although it is not declared special, as some models have it.
fn looks_special(token: &str) -> bool {
    const NAMED: &[&str] = &["<pad>", "<mask>", "<2mass>", "[@BOS@]"];
    const BRACKETS: &[(&str, &str)] = &[("<|", "|>"), ("<\u{ff5c}", "\u{ff5c}>"), ("<unused", ">")];
    NAMED.contains(&token) || BRACKETS.iter().any(|(open, close)| token.starts_with(open) && token.ends_with(close))
}
