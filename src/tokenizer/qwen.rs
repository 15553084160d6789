//! The first Qwen's vocabulary, `qwen.tiktoken`: `_set_vocab_qwen` in conversion/base.py.

use weightmill_formats::Metadata;

use super::ranks::Ranks;
use super::special::{ROLES, SpecialTokens};
use super::{Files, TokenTable, TokenType, TokenizerError, json::Merge, pre::PreTokenizer};
use crate::checkpoint::SideFile;

/// What ends a text and stands for whatever is unknown.
const END_OF_TEXT: &str = "<|endoftext|>";
/// Number of `<|extra_N|>`, see QWenTokenizer.
const EXTRAS: u32 = 205;

/// Appends tokens, merges and special tokens. Ids without a token get a placeholder up to `rows`.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let invalid = |problem: String| files.invalid(SideFile::QwenRanks, problem);
    let Some(bytes) = files.checkpoint.bytes(SideFile::QwenRanks)? else {
        return Err(files.missing(&[SideFile::QwenRanks]));
    };
    let ranks = Ranks::parse(&bytes).map_err(invalid)?;
    let named = [END_OF_TEXT, "<|im_start|>", "<|im_end|>"].map(str::to_owned);
    let special: Vec<String> = named.into_iter().chain((0..EXTRAS).map(|i| format!("<|extra_{i}|>"))).collect();
    let tokens = ranks.len() + special.len();
    if tokens as u64 > u64::from(rows) {
        return Err(invalid(format!("{tokens} tokens, but the embeddings have only {rows} rows")));
    }
    let merges: Vec<String> = ranks.last_merges().map_err(invalid)?.into_iter().map(|Merge(text)| text).collect();

    let mut table = TokenTable::default();
    ranks.letters().for_each(|token| table.push(token, TokenType::Normal));
    let end_of_text = table.tokens.len() as u32;
    special.into_iter().for_each(|token| table.push(token, TokenType::Control));
    for id in table.tokens.len() as u32..rows {
        table.push(format!("[PAD{id}]"), TokenType::Unused);
    }
    table.write("gpt2", files.pre.unwrap_or(PreTokenizer::QWEN_2).name(), metadata);

    let mut special = SpecialTokens::read(files, ROLES, None)?;
    if special.is_empty() {
        special.set_default("bos", end_of_text);
        special.set_default("eos", end_of_text);
    }
    special.set_default("unk", end_of_text);
    metadata.replace("tokenizer.ggml.merges", merges);
    special.write(metadata, notes);
    Ok(())
}
