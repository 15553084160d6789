//! SentencePiece models, `tokenizer.model`: GGUF's tokenizer model `llama`.

use prost::Message;
use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::json::AddedToken;
use super::ranks::is_ranks;
use super::special::{ROLES, SpecialTokens};
use super::{Files, TokenTable, TokenType, TokenizerError, looks_special};
use crate::checkpoint::SideFile;

/// Score of ids that no file gives a token.
pub const UNUSED_SCORE: f32 = -10000.0;
/// Score of tokens that files beside the model add.
pub const ADDED_SCORE: f32 = -1000.0;

/// `ModelProto` of sentencepiece_model.proto, as far as GGUF needs it or can restore it.
#[derive(Message)]
pub struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pub pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    pub trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    pub normalizer: Option<NormalizerSpec>,
}

/// `TrainerSpec`: of what kind the model is, and its special tokens.
#[derive(Message)]
pub struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    pub kind: Option<i32>,
    #[prost(bool, optional, tag = "35")]
    pub byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    pub unknown: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    pub begin: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    pub end: Option<i32>,
    #[prost(int32, optional, tag = "43")]
    pub padding: Option<i32>,
}

impl TrainerSpec {
    /// `ModelType` of byte pair encoding.
    pub const BPE: i32 = 2;
}

/// `NormalizerSpec`: what is done with spaces.
#[derive(Message)]
pub struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(bool, optional, tag = "3")]
    pub add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub escape_whitespaces: Option<bool>,
}

/// `ModelProto.SentencePiece`.
#[derive(Message)]
pub struct Piece {
    #[prost(string, optional, tag = "1")]
    pub piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    pub kind: Option<i32>,
}

/// Appends tokens, scores, types and special tokens; the table has `rows` entries.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let mut table = Pieces::read(files, rows)?;
    for (id, token) in added_tokens_decoder(files)? {
        if token.special || looks_special(&token.content) {
            table.set(id, token.content, ADDED_SCORE, TokenType::Control);
        } else {
            table.set(id, token.content.replace('\u{2581}', " "), ADDED_SCORE, TokenType::UserDefined);
        }
    }
    table.write(files, metadata, notes)
}

/// As [`write`], as conversion/phi.py has it: added tokens stay as they are spelt, and those of `tokenizer.json`
/// come on top.
pub fn write_phi3(
    files: &Files,
    rows: u32,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    let mut table = Pieces::read(files, rows)?;
    let stated = files.tokenizer.iter().filter_map(|tokenizer| tokenizer.added_tokens.as_deref()).flatten();
    let stated = stated.filter_map(|token| Some((token.id?.into(), token.clone())));
    for (id, token) in added_tokens_decoder(files)?.into_iter().chain(stated) {
        let kind = if token.special { TokenType::Control } else { TokenType::UserDefined };
        table.set(id, token.content, ADDED_SCORE, kind);
    }
    table.write(files, metadata, notes)
}

/// A table with a row for every embedding, filled from several files.
struct Pieces {
    table: TokenTable,
    /// Tokens whose id is beyond the table.
    ignored: usize,
}

impl Pieces {
    /// The pieces of the model and the tokens of `added_tokens.json`.
    fn read(files: &Files, rows: u32) -> Result<Self, TokenizerError> {
        let mut table = TokenTable::default();
        for id in 0..rows {
            table.push(format!("[PAD{id}]"), TokenType::Unused);
            table.scores.push(UNUSED_SCORE);
        }
        let mut pieces = Self { table, ignored: 0 };
        pieces.read_model(files)?;
        pieces.read_added_tokens(files)?;
        Ok(pieces)
    }

    fn set(&mut self, id: u64, token: String, score: f32, kind: TokenType) {
        let row = usize::try_from(id).ok().filter(|id| *id < self.table.tokens.len());
        let Some(row) = row else {
            self.ignored += 1;
            return;
        };
        self.table.tokens[row] = token;
        self.table.scores[row] = score;
        self.table.types[row] = kind as i32;
    }

    fn write(self, files: &Files, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
        let rows = self.table.tokens.len();
        if self.ignored > 0 {
            let ignored = self.ignored;
            notes.push(format!("{ignored} tokens left out: their ids are beyond the {rows} rows of the embeddings"));
        }
        self.table.write("llama", "default", metadata);
        SpecialTokens::read(files, ROLES, Some(rows as u64))?.write(metadata, notes);
        Ok(())
    }

    fn read_model(&mut self, files: &Files) -> Result<(), TokenizerError> {
        let invalid = |problem: String| files.invalid(SideFile::SentencePiece, problem);
        let Some(bytes) = files.checkpoint.bytes(SideFile::SentencePiece)? else {
            return Err(files.missing(&[SideFile::SentencePiece]));
        };
        if is_ranks(&bytes) {
            let problem = "tiktoken's ranks, where a SentencePiece model is expected";
            return Err(invalid(problem.to_owned()));
        }
        let model = ModelProto::decode(bytes.as_slice());
        let model = model.map_err(|error| invalid(format!("not a SentencePiece model: {error}")))?;
        if model.pieces.is_empty() {
            return Err(invalid("a SentencePiece model without pieces".to_owned()));
        }
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
            self.set(id, text, score, kind);
        }
        Ok(())
    }

    /// `added_tokens.json`: text and id.
    fn read_added_tokens(&mut self, files: &Files) -> Result<(), TokenizerError> {
        let tokens: Option<Map<String, Json>> = files.checkpoint.json(SideFile::AddedTokens)?;
        for (token, id) in tokens.into_iter().flatten() {
            let Some(id) = id.as_u64() else {
                let problem = format!("token {token:?} has {id} where an id is expected");
                return Err(files.invalid(SideFile::AddedTokens, problem));
            };
            self.set(id, token, ADDED_SCORE, TokenType::UserDefined);
        }
        Ok(())
    }
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

/// `added_tokens_decoder` of `tokenizer_config.json`: id to text and properties.
fn added_tokens_decoder(files: &Files) -> Result<Vec<(u64, AddedToken)>, TokenizerError> {
    let Some(decoder) = files.tokenizer_setting("added_tokens_decoder") else { return Ok(Vec::new()) };
    let mut tokens = Vec::new();
    for (id, token) in decoder.as_object().into_iter().flatten() {
        let (Ok(number), Some(text)) = (id.parse(), token["content"].as_str()) else {
            let problem = format!("added_tokens_decoder has the malformed entry {id:?}");
            return Err(files.invalid(SideFile::TokenizerConfig, problem));
        };
        let special = token["special"].as_bool().unwrap_or(false);
        tokens.push((number, AddedToken { content: text.to_owned(), special, ..AddedToken::default() }));
    }
    Ok(tokens)
}
