//! SentencePiece models, `tokenizer.model`: GGUF's tokenizer model `llama`.

use prost::Message;
use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::special::{ROLES, SpecialTokens};
use super::{Files, TokenTable, TokenType, TokenizerError, looks_special};
use crate::checkpoint::SideFile;

/// Score of ids that no file gives a token.
const UNUSED_SCORE: f32 = -10000.0;
/// Score of tokens that files beside the model add.
const ADDED_SCORE: f32 = -1000.0;

/// `ModelProto` of sentencepiece_model.proto, as far as GGUF needs it.
#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
}

/// `ModelProto.SentencePiece`.
#[derive(Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

/// Appends tokens, scores, types and special tokens; the table has `rows` entries.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let mut table = TokenTable::default();
    for id in 0..rows {
        table.push(format!("[PAD{id}]"), TokenType::Unused);
        table.scores.push(UNUSED_SCORE);
    }
    let mut ignored = pieces(files, &mut table)?;
    ignored += added_tokens(files, &mut table)?;
    ignored += added_tokens_decoder(files, &mut table)?;
    if ignored > 0 {
        notes.push(format!("{ignored} tokens left out: their ids are beyond the {rows} rows of the embeddings"));
    }
    table.write("llama", "default", metadata);
    SpecialTokens::read(files, ROLES, Some(rows.into()))?.write(metadata, notes);
    Ok(())
}

/// The byte that a token such as `<0x0A>` stands for.
pub fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    // from_str_radix alone would take a sign
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// Sets a row of the table; false if the table has no such row.
fn set(table: &mut TokenTable, id: u64, token: String, score: f32, kind: TokenType) -> bool {
    let Ok(id) = usize::try_from(id) else { return false };
    let (Some(text), Some(s), Some(t)) = (table.tokens.get_mut(id), table.scores.get_mut(id), table.types.get_mut(id))
    else {
        return false;
    };
    (*text, *s, *t) = (token, score, kind as i32);
    true
}

/// The pieces of the model. Returns how many had no row.
fn pieces(files: &Files, table: &mut TokenTable) -> Result<usize, TokenizerError> {
    let invalid = |problem: String| files.invalid(SideFile::SentencePiece, problem);
    let bytes = files.checkpoint.bytes(SideFile::SentencePiece)?.unwrap_or_default();
    if is_tiktoken(&bytes) {
        return Err(invalid(
            "a tiktoken vocabulary, which is not read yet; put its tokenizer.json in its place".to_owned(),
        ));
    }
    let model = ModelProto::decode(bytes.as_slice());
    let model = model.map_err(|error| invalid(format!("not a SentencePiece model: {error}")))?;
    if model.pieces.is_empty() {
        return Err(invalid("a SentencePiece model without pieces".to_owned()));
    }
    let mut ignored = 0;
    for (id, piece) in (0..).zip(model.pieces) {
        let text = piece.piece.unwrap_or_default();
        // `Type` of sentencepiece_model.proto; user-defined pieces count as normal ones in the reference
        let kind = match piece.kind.unwrap_or(1) {
            1 | 4 => TokenType::Normal,
            2 => TokenType::Unknown,
            3 => TokenType::Control,
            5 => TokenType::Unused,
            6 => TokenType::Byte,
            other => return Err(invalid(format!("piece {id} ({text:?}) has the unknown type {other}"))),
        };
        if text.is_empty() {
            return Err(invalid(format!("piece {id} is empty")));
        }
        if kind == TokenType::Byte && byte_token(&text).is_none() {
            return Err(invalid(format!("piece {id} ({text:?}) is of type byte, but not written <0xNN>")));
        }
        let score = piece.score.unwrap_or(0.0);
        if !score.is_finite() {
            return Err(invalid(format!("piece {id} ({text:?}) has the score {score}")));
        }
        ignored += usize::from(!set(table, id, text, score, kind));
    }
    Ok(ignored)
}

/// Whether a file is what Llama 3 publishes under the same name: lines of a token in base64 and its rank.
fn is_tiktoken(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let base64 = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    let rank = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    words.next().is_some_and(base64) && words.next().is_some_and(rank) && words.next().is_none()
}

/// `added_tokens.json`: text and id.
fn added_tokens(files: &Files, table: &mut TokenTable) -> Result<usize, TokenizerError> {
    let tokens: Option<Map<String, Json>> = files.checkpoint.json(SideFile::AddedTokens)?;
    let mut ignored = 0;
    for (token, id) in tokens.into_iter().flatten() {
        let Some(id) = id.as_u64() else {
            let problem = format!("token {token:?} has {id} where an id is expected");
            return Err(files.invalid(SideFile::AddedTokens, problem));
        };
        ignored += usize::from(!set(table, id, token, ADDED_SCORE, TokenType::UserDefined));
    }
    Ok(ignored)
}

/// `added_tokens_decoder` of `tokenizer_config.json`: id to text and properties.
fn added_tokens_decoder(files: &Files, table: &mut TokenTable) -> Result<usize, TokenizerError> {
    let Some(decoder) = files.tokenizer_setting("added_tokens_decoder") else { return Ok(0) };
    let mut ignored = 0;
    for (id, token) in decoder.as_object().into_iter().flatten() {
        let (Ok(number), Some(text)) = (id.parse(), token["content"].as_str()) else {
            let problem = format!("added_tokens_decoder has the malformed entry {id:?}");
            return Err(files.invalid(SideFile::TokenizerConfig, problem));
        };
        let special = token["special"].as_bool().unwrap_or(false) || looks_special(text);
        let in_table = if special {
            set(table, number, text.to_owned(), ADDED_SCORE, TokenType::Control)
        } else {
            set(table, number, text.replace('\u{2581}', " "), ADDED_SCORE, TokenType::UserDefined)
        };
        ignored += usize::from(!in_table);
    }
    Ok(ignored)
}
