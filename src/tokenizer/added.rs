//! The vocabulary that transformers' AutoTokenizer assembles: the model's tokens, and the tokens added to them.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::json::{AddedToken, TokenizerJson};
use super::{Files, TokenizerError};
use crate::checkpoint::SideFile;

/// Tokens that transformers gives a tokenizer class when `tokenizer_config.json` does not name them.
const CLASS_DEFAULTS: &[(&str, &[(&str, &str)])] = &[
    ("LlamaTokenizer", &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")]),
    (
        "GPT2Tokenizer",
        &[("unk_token", "<|endoftext|>"), ("bos_token", "<|endoftext|>"), ("eos_token", "<|endoftext|>")],
    ),
];

/// Keys of `tokenizer_config.json` that name one special token each.
const NAMED: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// One token of the assembled vocabulary.
#[derive(Debug)]
pub struct Token {
    pub text: String,
    /// Its properties if it is an added token.
    pub added: Option<AddedToken>,
}

/// All tokens by id.
#[derive(Debug)]
pub struct Assembled {
    /// `None` where no token has the id. Ends with the highest id.
    pub tokens: Vec<Option<Token>>,
    /// Number of tokens of the model itself.
    pub base: usize,
    /// Texts of the tokens that the configuration names as special.
    pub named_special: Vec<String>,
}

/// Assembles the vocabulary of `tokenizer`. No id may reach `rows`.
pub fn assemble(files: &Files, tokenizer: &TokenizerJson, rows: u32) -> Result<Assembled, TokenizerError> {
    let mut builder = Builder {
        files,
        rows,
        tokens: Vec::new(),
        ids: HashMap::with_capacity(tokenizer.model.vocab.0.len()),
        next_added: 0,
    };
    for (text, id) in &tokenizer.model.vocab.0 {
        builder.insert(text, *id, None)?;
    }
    let base = tokenizer.model.vocab.0.len();
    builder.next_added = u32::try_from(base).unwrap_or(u32::MAX);
    for token in tokenizer.added_tokens.iter().flatten() {
        builder.add(token)?;
    }
    let empty = Map::new();
    let mut config = files.tokenizer_config.as_ref().unwrap_or(&empty).clone();
    for token in configured_tokens(files, &mut config)? {
        builder.add(&token)?;
    }
    let named_special = named_special(&config, tokenizer);
    for text in &named_special {
        builder.add(&AddedToken::special(text))?;
    }
    Ok(Assembled { tokens: builder.tokens, base, named_special })
}

struct Builder<'a> {
    files: &'a Files<'a>,
    rows: u32,
    tokens: Vec<Option<Token>>,
    ids: HashMap<String, u32>,
    /// Id of the next added token that the model does not have.
    next_added: u32,
}

impl Builder<'_> {
    fn insert(&mut self, text: &str, id: u32, added: Option<AddedToken>) -> Result<(), TokenizerError> {
        let invalid = |problem: String| Err(self.files.invalid(SideFile::TokenizerJson, problem));
        if id >= self.rows {
            let rows = self.rows;
            return invalid(format!("token {text:?} has id {id}, but the embeddings have only {rows} rows"));
        }
        let index = id as usize;
        if index >= self.tokens.len() {
            self.tokens.resize_with(index + 1, || None);
        }
        if let Some(other) = &self.tokens[index] {
            return invalid(format!("tokens {:?} and {text:?} have the same id {id}", other.text));
        }
        self.tokens[index] = Some(Token { text: text.to_owned(), added });
        if let Some(other) = self.ids.insert(text.to_owned(), id) {
            return invalid(format!("token {text:?} has two ids, {other} and {id}"));
        }
        Ok(())
    }

    /// Adds a token unless it was added before; one that the model has keeps its id there.
    fn add(&mut self, token: &AddedToken) -> Result<(), TokenizerError> {
        if token.content.is_empty() {
            return Ok(());
        }
        if let Some(id) = self.ids.get(&token.content) {
            if let Some(known) = &mut self.tokens[*id as usize] {
                known.added.get_or_insert_with(|| token.clone());
            }
            return Ok(());
        }
        let id = token.id.unwrap_or(self.next_added);
        self.insert(&token.content, id, Some(token.clone()))?;
        self.next_added = self.next_added.max(id.saturating_add(1));
        Ok(())
    }
}

/// Tokens of `added_tokens_decoder` by id; in folders older than that, those of `added_tokens.json`, and the names
/// of `special_tokens_map.json` go into `config`.
fn configured_tokens(files: &Files, config: &mut Map<String, Json>) -> Result<Vec<AddedToken>, TokenizerError> {
    if let Some(decoder) = config.get("added_tokens_decoder") {
        let invalid = |problem: String| files.invalid(SideFile::TokenizerConfig, problem);
        let decoder = decoder.as_object().ok_or_else(|| invalid("added_tokens_decoder is no object".to_owned()))?;
        let mut tokens = Vec::new();
        for (id, token) in decoder {
            let bad = || invalid(format!("added_tokens_decoder has the malformed entry {id:?}"));
            let id: u32 = id.parse().map_err(|_| bad())?;
            tokens.push((id, AddedToken { id: None, ..AddedToken::deserialize(token).map_err(|_| bad())? }));
        }
        tokens.sort_by_key(|(id, _)| *id);
        return Ok(tokens.into_iter().map(|(_, token)| token).collect());
    }
    if let Some(map) = files.checkpoint.json::<Map<String, Json>>(SideFile::SpecialTokensMap)? {
        config.extend(map);
    }
    let Some(added) = files.checkpoint.json::<Map<String, Json>>(SideFile::AddedTokens)? else {
        return Ok(Vec::new());
    };
    let mut tokens = Vec::new();
    for (content, id) in added {
        let id = id.as_u64().ok_or_else(|| {
            files.invalid(SideFile::AddedTokens, format!("token {content:?} has {id} where an id is expected"))
        })?;
        tokens.push((id, AddedToken { id: None, content, special: false, normalized: None }));
    }
    tokens.sort_by_key(|(id, _)| *id);
    let special = |text: &str| config.values().any(|value| content(value) == Some(text));
    for (_, token) in &mut tokens {
        token.special = special(&token.content);
    }
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// Texts of the special tokens: those named one by one, the class's defaults, and the additional ones.
fn named_special(config: &Map<String, Json>, tokenizer: &TokenizerJson) -> Vec<String> {
    let class = config.get("tokenizer_class").and_then(Json::as_str).unwrap_or("PreTrainedTokenizerFast");
    let class = class.strip_suffix("Fast").unwrap_or(class);
    // transformers loads a byte-level tokenizer that says it is Llama's without its class
    let applies = class != "LlamaTokenizer" || super::llama_json::is_sentencepiece_like(tokenizer);
    let defaults = CLASS_DEFAULTS.iter().find(|(name, _)| applies && *name == class).map_or(&[][..], |(_, d)| d);

    let mut texts: Vec<&str> = Vec::new();
    for key in NAMED {
        let default = defaults.iter().find(|(name, _)| name == key).map(|(_, text)| *text);
        texts.extend(match config.get(*key) {
            Some(value) => content(value),
            None => default,
        });
    }
    let extra = ["extra_special_tokens", "additional_special_tokens"];
    if let Some(list) = extra.iter().find_map(|key| config.get(*key).filter(|list| !is_empty(list))) {
        match list {
            Json::Array(items) => texts.extend(items.iter().filter_map(content)),
            Json::Object(items) => texts.extend(items.values().filter_map(content)),
            _ => {}
        }
    }
    texts.into_iter().filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// The text of a token given as such or as an object.
fn content(token: &Json) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

fn is_empty(list: &Json) -> bool {
    match list {
        Json::Array(items) => items.is_empty(),
        Json::Object(items) => items.is_empty(),
        _ => true,
    }
}
