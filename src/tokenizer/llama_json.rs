//! A `tokenizer.json` that was made from a SentencePiece model, without that model: GGUF's tokenizer model `llama`.
//!
//! Scores are lost in such a file, so every token gets the same one, as `LlamaHfVocab` of gguf-py does.

use weightmill_formats::Metadata;

use super::json::TokenizerJson;
use super::special::{ROLES, SpecialTokens};
use super::{Files, TokenTable, TokenType, TokenizerError, added, check_rows, sentencepiece};
use crate::checkpoint::SideFile;

const SCORE: f32 = -1000.0;

/// BPE that falls back to bytes and is decoded in several steps.
pub fn is_sentencepiece_like(tokenizer: &TokenizerJson) -> bool {
    tokenizer.model.is_bpe() && tokenizer.model.byte_fallback == Some(true) && tokenizer.decoder["type"] == "Sequence"
}

/// Appends tokens, scores, types and special tokens.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let Some(tokenizer) = &files.tokenizer else { return Ok(()) };
    let path = files.checkpoint.path(SideFile::TokenizerJson);
    let assembled = added::assemble(files, tokenizer, SideFile::TokenizerJson, rows, notes)?;
    let mut table = TokenTable::default();
    for (id, token) in assembled.tokens.into_iter().enumerate() {
        let Some(token) = token else {
            return Err(TokenizerError::invalid(path, format!("no token has id {id}")));
        };
        let kind = if id < assembled.base && sentencepiece::byte_token(&token.text).is_some() {
            TokenType::Byte
        } else if assembled.named_special.contains(&token.text) {
            TokenType::Control
        } else if id < assembled.base {
            TokenType::Normal
        } else {
            TokenType::UserDefined
        };
        table.push(token.text, kind);
        table.scores.push(SCORE);
    }
    check_rows(&table, rows, path)?;
    table.write("llama", "default", metadata);
    SpecialTokens::read(files, ROLES, Some(rows.into()))?.write(metadata, notes);
    Ok(())
}
