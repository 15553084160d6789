//! Phi-3's vocabulary, and that of Phi-4, whose architecture has the same name.

use serde_json::Value as Json;
use weightmill_formats::Metadata;

use super::{Files, TokenizerError, bpe, sentencepiece};

/// Appends byte-level BPE if the tokenizer is of GPT-2's class, else SentencePiece.
pub fn write(files: Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    if files.tokenizer_setting("tokenizer_class").and_then(Json::as_str) == Some("GPT2Tokenizer") {
        return bpe::write(files, rows, &bpe::COMMON, metadata, notes);
    }
    sentencepiece::write_phi3(&files, rows, metadata, notes)
}
