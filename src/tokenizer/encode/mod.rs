//! Text to tokens, by the `tokenizer.*` metadata of GGUF, as llama.cpp tokenizes plain text: tokens that a user defined
//! are recognised, control tokens are not.
//!
//! Byte-level BPE is the crate tokenizers', set up from the restored tokenizer.json; SentencePiece's merges are done
//! here, because their order is that of llama.cpp's queue.

mod sentencepiece;

use tokenizers::Tokenizer;
use weightmill_formats::{Metadata, Value};

use super::RestoreError;
use super::pre::begins_text;
use super::restore::byte_level;
use sentencepiece::SentencePiece;

/// Why text cannot be tokenized.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum EncodeError {
    #[error("the model's tokenizer cannot be used: {0}")]
    Restore(#[from] RestoreError),
    #[error("the model's tokenizer cannot be used: {0}")]
    Tokenizers(String),
    #[error("the metadata key {key} is missing, or not as expected")]
    Key { key: &'static str },
}

/// A model's tokenizer.
pub struct Encoder {
    kind: Kind,
    begin: Option<u32>,
}

enum Kind {
    ByteLevel(Box<Tokenizer>),
    SentencePiece(Box<SentencePiece>),
}

impl Encoder {
    /// The tokenizer that `metadata` describes.
    ///
    /// # Errors
    /// If it is of a kind that is not known, or if keys are missing.
    pub fn of(metadata: &Metadata) -> Result<Self, EncodeError> {
        const BEGIN: &str = "tokenizer.ggml.bos_token_id";
        let model = metadata.string("tokenizer.ggml.model").unwrap_or_default();
        let (kind, begins_by_default) = match model {
            "llama" => (Kind::SentencePiece(Box::new(SentencePiece::of(metadata)?)), true),
            _ => {
                let json = byte_level(metadata)?;
                let failed = |error: tokenizers::Error| EncodeError::Tokenizers(error.to_string());
                let mut tokenizer = Tokenizer::from_bytes(json).map_err(failed)?;
                tokenizer.set_encode_special_tokens(true);
                let pre = metadata.string("tokenizer.ggml.pre").unwrap_or("default");
                (Kind::ByteLevel(Box::new(tokenizer)), begins_text(pre))
            }
        };
        let begins = match metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Value::Bool(begins)) => *begins,
            _ => begins_by_default,
        };
        let token = metadata.unsigned(BEGIN).and_then(|id| u32::try_from(id).ok());
        let token = token.or_else(|| (model == "llama").then_some(1));
        match (begins, token) {
            (true, None) => Err(EncodeError::Key { key: BEGIN }),
            (true, token) => Ok(Self { kind, begin: token }),
            (false, _) => Ok(Self { kind, begin: None }),
        }
    }

    /// The token that begins a text, if one does.
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// The tokens of a text, with the one that begins it.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, EncodeError> {
        let mut tokens: Vec<u32> = self.begin.into_iter().collect();
        match &self.kind {
            Kind::SentencePiece(model) => model.encode(text, &mut tokens),
            Kind::ByteLevel(tokenizer) => {
                let encoding =
                    tokenizer.encode_fast(text, false).map_err(|error| EncodeError::Tokenizers(error.to_string()))?;
                tokens.extend_from_slice(encoding.get_ids());
            }
        }
        Ok(tokens)
    }
}
