//! Mistral's tekken.json: `_set_vocab_mistral` in conversion/base.py, which reads the file with mistral-common.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use weightmill_formats::Metadata;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json::{Merge, TokenizerJson};
use super::ranks::Ranks;
use super::{Files, TokenTable, TokenType, TokenizerError, pre};
use crate::checkpoint::SideFile;

/// Special tokens of files that do not list them, which are those before version 11.
const SPECIAL: &[&str] = &[
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// Versions for which llama.cpp has a chat template of its own, by the name under which it has it.
const TEMPLATES: &[(&str, &str)] = &[("v3", "mistral-v3-tekken"), ("v7", "mistral-v7-tekken")];

/// The key of each special token that has one, in the order in which they are written.
const ROLES: &[(&str, &str)] = &[
    ("<s>", "tokenizer.ggml.bos_token_id"),
    ("</s>", "tokenizer.ggml.eos_token_id"),
    ("<unk>", "tokenizer.ggml.unknown_token_id"),
    ("<pad>", "tokenizer.ggml.padding_token_id"),
];

#[derive(Deserialize)]
struct Tekken {
    config: Config,
    vocab: Vec<TokenInfo>,
    #[serde(default)]
    special_tokens: Option<Vec<SpecialTokenInfo>>,
}

#[derive(Deserialize)]
struct Config {
    pattern: String,
    default_vocab_size: u32,
    default_num_special_tokens: u32,
    version: String,
}

#[derive(Deserialize)]
struct TokenInfo {
    rank: u32,
    token_bytes: String,
}

#[derive(Deserialize)]
struct SpecialTokenInfo {
    rank: u32,
    token_str: String,
}

/// Appends special tokens, which come first, then the others with all their merges.
pub fn write(files: &Files, rows: u32, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), TokenizerError> {
    let invalid = |problem: String| files.invalid(SideFile::Tekken, problem);
    let Some(tekken) = files.checkpoint.json::<Tekken>(SideFile::Tekken)? else {
        return Err(files.missing(&[SideFile::Tekken]));
    };
    let config = &tekken.config;
    if config.default_vocab_size != rows {
        return Err(invalid(format!("{} tokens, but the embeddings have {rows} rows", config.default_vocab_size)));
    }
    let special = special_tokens(&tekken).map_err(invalid)?;
    let ranks = ranks(&tekken, rows - config.default_num_special_tokens).map_err(invalid)?;
    let pre = pre_tokenizer(files, &config.pattern)?;
    let merges = ranks.all_merges().map_err(invalid)?;
    if let Some(rank) = (256..ranks.len()).find(|rank| ranks.pairs(*rank).is_empty()) {
        return Err(invalid(format!("the token of rank {rank} is made of no two tokens")));
    }

    metadata.replace("tokenizer.ggml.model", "gpt2");
    metadata.replace("tokenizer.ggml.pre", pre);
    metadata.replace("tokenizer.ggml.merges", merges.into_iter().map(|Merge(text)| text).collect::<Vec<_>>());
    for (text, key) in ROLES {
        let id = special.iter().position(|token| token == text);
        let id = id.ok_or_else(|| invalid(format!("there is no special token {text}")))?;
        metadata.replace(*key, id as u32);
    }
    let mut table = TokenTable::default();
    special.into_iter().for_each(|token| table.push(token, TokenType::Control));
    ranks.letters().for_each(|token| table.push(token, TokenType::Normal));
    metadata.replace("tokenizer.ggml.tokens", table.tokens);
    // whole numbers, as the reference writes them here
    metadata.replace("tokenizer.ggml.scores", vec![0_i32; table.types.len()]);
    metadata.replace("tokenizer.ggml.token_type", table.types);
    metadata.replace("tokenizer.ggml.add_bos_token", true);
    metadata.replace("tokenizer.ggml.add_eos_token", false);

    let known = TEMPLATES.iter().find(|(version, _)| *version == config.version);
    let template = match known {
        Some((_, name)) => Some((*name).to_owned()),
        None => files.checkpoint.text(SideFile::ChatTemplateJinja)?,
    };
    match template {
        Some(template) => metadata.replace("tokenizer.chat_template", template),
        None => notes.push(format!(
            "{}: no chat template is known for version {:?}; put a chat_template.jinja beside it to have one",
            files.checkpoint.path(SideFile::Tekken).display(),
            config.version
        )),
    }
    Ok(())
}

/// Texts of all special tokens by id; those that the file does not name are numbered.
fn special_tokens(tekken: &Tekken) -> Result<Vec<String>, String> {
    let count = tekken.config.default_num_special_tokens;
    if count >= tekken.config.default_vocab_size {
        return Err(format!("{count} special tokens of {} in all", tekken.config.default_vocab_size));
    }
    let mut tokens = Vec::new();
    match &tekken.special_tokens {
        None => tokens.extend(SPECIAL.iter().map(|text| (*text).to_owned())),
        Some(listed) => {
            for (id, token) in (0..).zip(listed) {
                if token.rank != id {
                    return Err(format!("special token {:?} has rank {}, not {id}", token.token_str, token.rank));
                }
                tokens.push(token.token_str.clone());
            }
        }
    }
    let listed = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
    if listed > count {
        return Err(format!("{listed} special tokens, where {count} are declared"));
    }
    tokens.extend((listed..count).map(|id| format!("<SPECIAL_{id}>")));
    Ok(tokens)
}

/// The first `count` tokens; files may hold more than the model has.
fn ranks(tekken: &Tekken, count: u32) -> Result<Ranks, String> {
    let listed = tekken.vocab.len();
    if (listed as u64) < u64::from(count) {
        return Err(format!("{listed} tokens, where {count} are declared beside the special ones"));
    }
    let mut tokens = Vec::new();
    for (rank, token) in (0..count).zip(&tekken.vocab) {
        if token.rank != rank {
            return Err(format!("a token has rank {}, not {rank}", token.rank));
        }
        let bytes = STANDARD.decode(&token.token_bytes);
        tokens.push(bytes.map_err(|error| format!("the token of rank {rank} is not base64: {error}"))?);
    }
    Ranks::new(tokens)
}

/// The name for the pattern that the file has.
fn pre_tokenizer(files: &Files, pattern: &str) -> Result<&'static str, TokenizerError> {
    if let Some(pre) = files.pre {
        return Ok(pre.name());
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"});
    let pre_tokenizer: Json = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    let tokenizer = TokenizerJson { pre_tokenizer, ..TokenizerJson::default() };
    let identified = pre::identify(&tokenizer, files.config);
    identified.map(pre::PreTokenizer::name).map_err(|unknown| files.unknown_pre_tokenizer(SideFile::Tekken, unknown))
}
