//! Tokenizers: from the files of a checkpoint to the `tokenizer.*` metadata of GGUF.
//!
//! A family of models says which [`Vocabulary`] it is published with, see `arch`. The result is that of the
//! `_set_vocab_*` functions in conversion/base.py of llama.cpp, which load the tokenizer with transformers; what
//! transformers changes on the way is reproduced in `added`.

mod added;
mod bpe;
mod chat_template;
mod json;
mod llama_json;
mod pre;
mod sentencepiece;
mod special;

use std::path::PathBuf;

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};
use json::TokenizerJson;
use special::{INFILL_ROLES, SpecialTokens};

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
        "{}: the pre-tokenizer is none that llama.cpp is known to have; the nearest known is {nearest}. \
         Found: {structure}",
        path.display()
    )]
    UnknownPreTokenizer { path: PathBuf, structure: String, nearest: &'static str },
}

impl TokenizerError {
    fn invalid(path: PathBuf, problem: impl Into<String>) -> Self {
        Self::Invalid { path, problem: problem.into() }
    }
}

/// Which files a family of models takes its vocabulary from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// Llama: `tokenizer.model`, else a `tokenizer.json` made from one, else byte-level BPE.
    Llama,
    /// Byte-level BPE in `tokenizer.json`.
    ByteLevel,
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
    tokenizer: Option<TokenizerJson>,
    tokenizer_config: Option<Map<String, Json>>,
}

impl Files<'_> {
    fn invalid(&self, file: SideFile, problem: impl Into<String>) -> TokenizerError {
        TokenizerError::invalid(self.checkpoint.path(file), problem)
    }

    fn tokenizer_setting(&self, key: &str) -> Option<&Json> {
        self.tokenizer_config.as_ref()?.get(key).filter(|value| !value.is_null())
    }
}

/// Appends the `tokenizer.*` entries of a checkpoint to `metadata`. `rows` is the number of tokens that the
/// embedding table has room for; `config` is config.json as it stands.
///
/// # Errors
/// When files are missing or malformed, or the tokenizer is of a kind that is not known.
pub fn write_metadata(
    vocabulary: Vocabulary,
    checkpoint: &Checkpoint,
    config: &Json,
    rows: u32,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    let files = Files {
        checkpoint,
        config,
        tokenizer: checkpoint.json(SideFile::TokenizerJson)?,
        tokenizer_config: checkpoint.json(SideFile::TokenizerConfig)?,
    };
    match vocabulary {
        Vocabulary::Llama => write_llama(files, rows, metadata, notes),
        Vocabulary::ByteLevel => bpe::write(files, rows, metadata, notes),
    }
}

fn write_llama(
    files: Files,
    rows: u32,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    let checkpoint = files.checkpoint;
    let sentencepiece = checkpoint.has(SideFile::SentencePiece);
    if checkpoint.has(SideFile::Tekken) && files.tokenizer.is_none() {
        return Err(files.invalid(
            SideFile::Tekken,
            "this form of tokenizer is not read yet; put the tokenizer.json of the same model beside it",
        ));
    }
    match files.tokenizer_setting("add_prefix_space") {
        None => {}
        Some(Json::Bool(flag)) => metadata.replace("tokenizer.ggml.add_space_prefix", *flag),
        Some(other) => {
            let problem = format!("add_prefix_space is {other}, which is neither true nor false");
            return Err(files.invalid(SideFile::TokenizerConfig, problem));
        }
    }
    // Code Llama's size of vocabulary, see conversion/llama.py
    let infill = match rows {
        32016 => Some(SpecialTokens::read(&files, INFILL_ROLES, None)?),
        _ => None,
    };
    if sentencepiece {
        sentencepiece::write(&files, rows, metadata, notes)?;
    } else if files.tokenizer.as_ref().is_some_and(llama_json::is_sentencepiece_like) {
        llama_json::write(&files, rows, metadata, notes)?;
    } else if files.tokenizer.is_some() {
        bpe::write(files, rows, metadata, notes)?;
    } else {
        let files = [SideFile::SentencePiece, SideFile::TokenizerJson].map(SideFile::name).to_vec();
        return Err(TokenizerError::Missing { folder: checkpoint.folder().to_owned(), files });
    }
    if let Some(mut infill) = infill {
        for (role, id) in INFILL_ROLES.iter().zip(32007..) {
            infill.set_default(role, id);
        }
        infill.write(metadata, notes);
    }
    // the size of vocabulary by which the reference knows small Granite models; others of this size get it too
    if rows == 49152 {
        metadata.replace("tokenizer.ggml.add_bos_token", false);
    }
    Ok(())
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
