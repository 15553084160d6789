//! Gemma's SentencePiece vocabulary: no space is put before a text.

use weightmill_formats::Metadata;

use super::special::SpecialTokens;
use super::{Files, TokenizerError, sentencepiece};

/// Roles of CodeGemma's infill tokens, and the ids that conversion/gemma.py gives every first Gemma.
const INFILL: &[(&str, u32)] = &[("prefix", 67), ("suffix", 69), ("middle", 68), ("fsep", 70), ("eot", 107)];

/// Gemma 2 and 3.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    sentencepiece::write(files, rows, metadata, notes)?;
    metadata.replace("tokenizer.ggml.add_space_prefix", false);
    Ok(())
}

/// The first Gemma.
pub fn write_first(
    files: &Files,
    rows: u32,
    metadata: &mut Metadata,
    notes: &mut Vec<String>,
) -> Result<(), TokenizerError> {
    sentencepiece::write(files, rows, metadata, notes)?;
    let roles: Vec<&str> = INFILL.iter().map(|(role, _)| *role).collect();
    let mut infill = SpecialTokens::read(files, &roles, None)?;
    for (role, id) in INFILL {
        infill.set_default(role, *id);
    }
    infill.write(metadata, notes);
    metadata.replace("tokenizer.ggml.add_space_prefix", false);
    Ok(())
}
