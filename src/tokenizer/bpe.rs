//! Byte-level BPE: GGUF's tokenizer model `gpt2`.

use serde_json::Value as Json;
use weightmill_formats::Metadata;

use super::added::{self, Token};
use super::special::{ROLES, SpecialTokens};
use super::{Files, TokenTable, TokenType, TokenizerError, alphabet, looks_special, older, pre};
use crate::checkpoint::SideFile;

/// What a family has beyond the common rules.
pub struct Family {
    /// Role and text of added tokens that have a role unless the files give it to another.
    pub roles: &'static [(&'static str, &'static str)],
    /// `add_bos_token` of `tokenizer_config.json` counts for more than the post-processor.
    pub bos_as_configured: bool,
}

/// Nothing beyond the common rules.
pub const COMMON: Family = Family { roles: &[], bos_as_configured: false };
/// DeepSeek: the post-processor adds nothing, yet every text begins with a token, as published GGUF files have it.
pub const DEEPSEEK: Family = Family { bos_as_configured: true, ..COMMON };
/// conversion/chatglm.py.
pub const GLM: Family =
    Family { roles: &[("eos", "<|endoftext|>"), ("eot", "<|user|>"), ("unk", "<|endoftext|>")], ..COMMON };
/// `Glm4Model` in conversion/glm.py.
pub const GLM_4: Family = Family {
    roles: &[("eos", "<|endoftext|>"), ("eot", "<|user|>"), ("unk", "<|endoftext|>"), ("bos", "<|endoftext|>")],
    ..COMMON
};
/// `_set_vocab_glm` in conversion/base.py.
pub const GLM_4_MOE: Family = Family {
    roles: &[("bos", "[gMASK]"), ("eot", "<|user|>"), ("unk", "<|endoftext|>"), ("eom", "<|observation|>")],
    ..COMMON
};

/// Appends tokens, merges and special tokens. Ids without a token get a placeholder up to `rows`.
pub fn write(
    mut files: Files,
    rows: u32,
    family: &Family,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    let older = if files.tokenizer.is_none() { older::read(&files)? } else { None };
    let file = older.as_ref().map_or(SideFile::TokenizerJson, |older| older.file);
    let older = older.map(|older| older.tokenizer);
    let Some(tokenizer) = files.tokenizer.as_ref().or(older.as_ref()) else {
        return Err(files.missing(&[SideFile::TokenizerJson, SideFile::SentencePiece, SideFile::Vocab]));
    };
    if !tokenizer.model.is_bpe() {
        let kind = tokenizer.model.kind.as_deref().unwrap_or("none");
        return Err(files.invalid(file, format!("tokenizer model {kind}, where BPE is expected")));
    }
    let identified = files.pre.map_or_else(|| pre::identify(tokenizer, files.config), Ok);
    let pre = identified.map_err(|unknown| files.unknown_pre_tokenizer(file, unknown))?;

    let byte_level = has_byte_level(&tokenizer.decoder);
    let assembled = added::assemble(&files, tokenizer, file, rows, notes)?;
    let mut given = Vec::new();
    for (role, text) in family.roles {
        match assembled.added(text) {
            Some(id) => given.push((*role, id)),
            None => return Err(files.invalid(file, format!("there is no added token {text:?}"))),
        }
    }
    let mut tokens = assembled.tokens.into_iter();
    let mut table = TokenTable::default();
    for id in 0..rows {
        match tokens.next().flatten() {
            None => table.push(format!("[PAD{id}]"), TokenType::Unused),
            Some(Token { text, added: None }) => table.push(text, TokenType::Normal),
            Some(Token { text, added: Some(added) }) => {
                // llama.cpp expects such tokens as they stand in a text
                let text = if byte_level && !added.is_normalized() { alphabet::decode(&text) } else { text };
                if added.special || looks_special(&text) {
                    table.push(text, TokenType::Control);
                } else {
                    table.push(text.replace('\u{2581}', " "), TokenType::UserDefined);
                }
            }
        }
    }
    table.write("gpt2", pre.name(), metadata);

    let mut special = SpecialTokens::read(&files, ROLES, None)?;
    for (role, id) in given {
        special.set_default(role, id);
    }
    if family.bos_as_configured
        && let Some(flag) = files.tokenizer_setting("add_bos_token").and_then(Json::as_bool)
    {
        special.set_added("bos", flag);
    }
    let merges = files.tokenizer.take().or(older).and_then(|tokenizer| tokenizer.model.merges).unwrap_or_default();
    let mut merges: Vec<String> = merges.into_iter().map(|merge| merge.0).collect();
    if merges.is_empty() {
        merges = merges_txt(&files)?;
    }
    if merges.is_empty() {
        notes.push("the tokenizer has no merges: text will be cut into single bytes".to_owned());
    } else {
        metadata.replace("tokenizer.ggml.merges", merges);
    }
    special.write(metadata, notes);
    Ok(())
}

/// The lines of `merges.txt`, which has a comment on top.
fn merges_txt(files: &Files) -> Result<Vec<String>, TokenizerError> {
    let text = files.checkpoint.text(SideFile::Merges)?.unwrap_or_default();
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if number == 0 && line.trim().starts_with('#') {
            continue;
        }
        let mut sides = line.split_whitespace();
        match (sides.next(), sides.next(), sides.next()) {
            (None, ..) => {}
            (Some(left), Some(right), None) => merges.push(format!("{left} {right}")),
            _ => {
                let problem = format!("line {}: not two tokens", number + 1);
                return Err(files.invalid(SideFile::Merges, problem));
            }
        }
    }
    Ok(merges)
}

fn has_byte_level(decoder: &Json) -> bool {
    decoder["type"] == "ByteLevel" || decoder["decoders"].as_array().into_iter().flatten().any(has_byte_level)
}
