//! The vocabulary of Llama and of what is built like it.

use serde_json::Value as Json;
use weightmill_formats::Metadata;

use super::special::{INFILL_ROLES, SpecialTokens};
use super::{Files, TokenizerError, bpe, llama_json, sentencepiece, tekken};
use crate::checkpoint::SideFile;

/// Rows of Code Llama's embeddings, by which the reference knows it.
const CODE_LLAMA_ROWS: u32 = 32016;
/// Rows by which the reference knows small Granite models; others of this size are treated as they are.
const SMALL_GRANITE_ROWS: u32 = 49152;

/// Appends the vocabulary in whichever form it is there: `tekken.json`, `tokenizer.model`, a `tokenizer.json` made
/// from one, or byte-level BPE.
pub fn write(files: Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let checkpoint = files.checkpoint;
    if checkpoint.has(SideFile::Tekken) && files.tokenizer.is_none() {
        return tekken::write(&files, rows, metadata, notes);
    }
    match files.tokenizer_setting("add_prefix_space") {
        None => {}
        Some(Json::Bool(flag)) => metadata.replace("tokenizer.ggml.add_space_prefix", *flag),
        Some(other) => {
            let problem = format!("add_prefix_space is {other}, which is neither true nor false");
            return Err(files.invalid(SideFile::TokenizerConfig, problem));
        }
    }
    let infill = match rows {
        CODE_LLAMA_ROWS => Some(SpecialTokens::read(&files, INFILL_ROLES, None)?),
        _ => None,
    };
    if files.has_sentencepiece()? {
        sentencepiece::write(&files, rows, metadata, notes)?;
    } else if files.tokenizer.as_ref().is_some_and(llama_json::is_sentencepiece_like) {
        llama_json::write(&files, rows, metadata, notes)?;
    } else {
        bpe::write(files, rows, &bpe::COMMON, metadata, notes)?;
    }
    if let Some(mut infill) = infill {
        for (role, id) in INFILL_ROLES.iter().zip(32007..) {
            infill.set_default(role, id);
        }
        infill.write(metadata, notes);
    }
    if rows == SMALL_GRANITE_ROWS {
        metadata.replace("tokenizer.ggml.add_bos_token", false);
    }
    Ok(())
}
