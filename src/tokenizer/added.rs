//! The vocabulary that transformers' AutoTokenizer assembles: the model's tokens, and the tokens added to them.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::json::{AddedToken, TokenizerJson};
use super::{Files, TokenizerError, class};
use crate::checkpoint::SideFile;

/// Keys of `tokenizer_config.json` that name one special token each.
const NAMED: &[&str] = &["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// Keys of a list of further special tokens, the newer one first.
const ADDITIONAL: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

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
    pub named_special: HashSet<String>,
}

impl Assembled {
    /// The id of an added token.
    pub fn added(&self, text: &str) -> Option<u32> {
        let is_it =
            |token: &Option<Token>| token.as_ref().is_some_and(|token| token.added.is_some() && token.text == text);
        self.tokens.iter().position(is_it).and_then(|id| u32::try_from(id).ok())
    }
}

/// Assembles the vocabulary of `tokenizer`, which was read from `file`. No id may reach `rows`.
pub fn assemble(
    files: &Files,
    tokenizer: &TokenizerJson,
    file: SideFile,
    rows: u32,
    notes: &mut Vec<String>,
) -> Result<Assembled, TokenizerError> {
    let base = tokenizer.model.vocab.0.len();
    let mut builder = Builder {
        files,
        file,
        rows,
        tokens: Vec::new(),
        ids: HashMap::with_capacity(base),
        next_added: u32::try_from(base).unwrap_or(u32::MAX),
        renumbered: None,
    };
    for (text, id) in &tokenizer.model.vocab.0 {
        builder.insert(text, *id, None)?;
    }
    for token in tokenizer.added_tokens.iter().flatten() {
        if token.id.is_none() {
            return Err(files.invalid(file, format!("the added token {:?} has no id", token.content)));
        }
        builder.add(token.clone())?;
    }
    let mut config = files.tokenizer_config.clone().unwrap_or_default();
    let configured = configured_tokens(files, tokenizer, &mut config)?;
    let special = SpecialTokens::read(&config, tokenizer, files.config);
    let named = texts(&special.named);
    for token in configured {
        let special = token.special || named.contains(&token.content);
        builder.add(AddedToken { special, ..token })?;
    }
    let named_special = &named | &texts(&special.additional);
    for token in special.named.into_iter().chain(special.additional) {
        if !builder.has_added(&token.content) {
            builder.add(token)?;
        }
    }
    notes.extend(builder.renumbered.map(|note| format!("{}: {note}", files.checkpoint.path(file).display())));
    Ok(Assembled { tokens: builder.tokens, base, named_special })
}

struct Builder<'a> {
    files: &'a Files<'a>,
    file: SideFile,
    rows: u32,
    tokens: Vec<Option<Token>>,
    ids: HashMap<String, u32>,
    /// Id of the next added token that the model does not have.
    next_added: u32,
    renumbered: Option<String>,
}

impl Builder<'_> {
    fn insert(&mut self, text: &str, id: u32, added: Option<AddedToken>) -> Result<(), TokenizerError> {
        let invalid = |problem: String| Err(self.files.invalid(self.file, problem));
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

    fn has_added(&self, text: &str) -> bool {
        let token = self.ids.get(text).and_then(|id| self.tokens.get(*id as usize)?.as_ref());
        token.is_some_and(|token| token.added.is_some())
    }

    /// Adds a token, or gives one that is there new properties; it keeps its id then.
    fn add(&mut self, token: AddedToken) -> Result<(), TokenizerError> {
        if token.content.is_empty() {
            return Ok(());
        }
        if let Some(id) = self.ids.get(&token.content) {
            if let Some(known) = &mut self.tokens[*id as usize] {
                known.added = Some(token);
            }
            return Ok(());
        }
        // the tokenizers library numbers such tokens as they come, whatever id the file states
        let id = self.next_added;
        if let Some(stated) = token.id.filter(|stated| *stated != id)
            && self.renumbered.is_none()
        {
            let text = &token.content;
            self.renumbered = Some(format!("added token {text:?} gets id {id}, not {stated} as stated; so may others"));
        }
        self.insert(&token.content.clone(), id, Some(token))?;
        self.next_added = id.saturating_add(1);
        Ok(())
    }
}

/// Tokens of `added_tokens_decoder` by id. In folders older than that, those of `added_tokens.json`, and the names of
/// `special_tokens_map.json` go into `config`.
fn configured_tokens(
    files: &Files,
    tokenizer: &TokenizerJson,
    config: &mut Map<String, Json>,
) -> Result<Vec<AddedToken>, TokenizerError> {
    let mut tokens: Vec<(u32, AddedToken)> = Vec::new();
    if let Some(decoder) = config.get("added_tokens_decoder") {
        let invalid = |problem: String| files.invalid(SideFile::TokenizerConfig, problem);
        let decoder = decoder.as_object().ok_or_else(|| invalid("added_tokens_decoder is no object".to_owned()))?;
        for (id, token) in decoder {
            let bad = || invalid(format!("added_tokens_decoder has the malformed entry {id:?}"));
            let id = id.parse().map_err(|_| bad())?;
            tokens.push((id, AddedToken { id: None, ..AddedToken::deserialize(token).map_err(|_| bad())? }));
        }
    } else {
        if let Some(map) = files.checkpoint.json::<Map<String, Json>>(SideFile::SpecialTokensMap)? {
            merge_special_tokens_map(map, config);
        }
        let added: Map<String, Json> = files.checkpoint.json(SideFile::AddedTokens)?.unwrap_or_default();
        let special = SpecialTokens::read(config, tokenizer, files.config);
        let special = &texts(&special.named) | &texts(&special.additional);
        for (content, id) in added {
            let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
                let problem = format!("token {content:?} has {id} where an id is expected");
                return Err(files.invalid(SideFile::AddedTokens, problem));
            };
            let special = special.contains(&content);
            tokens.push((id, AddedToken { content, special, ..AddedToken::default() }));
        }
        // tokenizer.json says more about a token
        let stated = tokenizer.added_tokens.as_deref().unwrap_or_default();
        let texts = texts(stated);
        tokens.retain(|(_, token)| !texts.contains(&token.content));
        tokens.extend(stated.iter().filter_map(|token| Some((token.id?, token.clone()))));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens.into_iter().map(|(_, token)| token).collect())
}

/// Takes over the entries of `special_tokens_map.json`. A list of further tokens continues one of its own key; under
/// the older key it counts only where there is no other.
fn merge_special_tokens_map(map: Map<String, Json>, config: &mut Map<String, Json>) {
    let [newer, older] = ADDITIONAL;
    let has_list = ADDITIONAL.iter().any(|key| config.contains_key(*key));
    for (key, value) in map {
        match (key.as_str(), value) {
            (key, _) if key == older && has_list => {}
            (key, Json::Array(mut more)) if key == newer => {
                for token in more.iter_mut().filter_map(Json::as_object_mut) {
                    token.insert("special".to_owned(), true.into());
                }
                // the older key is another name for the newer one
                let own = [newer, older].into_iter().find_map(|key| config.get(key).filter(|list| !is_empty(list)));
                let own = own.and_then(Json::as_array).cloned().unwrap_or_default();
                config.insert(newer.to_owned(), Json::Array([own, more].concat()));
            }
            (key, value) => {
                config.insert(key.to_owned(), value);
            }
        }
    }
}

/// The tokens that a configuration declares special.
struct SpecialTokens {
    /// Those with a role, as in `eos_token`, or with a name of the model's own.
    named: Vec<AddedToken>,
    /// The others.
    additional: Vec<AddedToken>,
}

impl SpecialTokens {
    /// `config` is tokenizer_config.json, `model` is config.json.
    fn read(config: &Map<String, Json>, tokenizer: &TokenizerJson, model: &Json) -> Self {
        let defaults = class::loaded(tokenizer, config, model).map_or(&[][..], |class| class.defaults);

        let mut named = Vec::new();
        for key in NAMED {
            named.extend(match config.get(*key) {
                Some(value) => token(value),
                None => defaults.iter().find(|(name, _)| name == key).map(|(_, text)| AddedToken::special(text)),
            });
        }
        let own = config.iter().filter(|(key, _)| key.ends_with("_token") && !NAMED.contains(&key.as_str()));
        named.extend(own.filter(|(_, value)| value.is_string()).filter_map(|(_, value)| token(value)));
        let mut additional = Vec::new();
        match ADDITIONAL.iter().find_map(|key| config.get(*key).filter(|list| !is_empty(list))) {
            Some(Json::Array(items)) => additional.extend(items.iter().filter_map(token)),
            Some(Json::Object(items)) => named.extend(items.values().filter_map(token)),
            _ => {}
        }
        for token in &mut named {
            token.special = true;
        }
        Self { named, additional }
    }
}

fn texts(tokens: &[AddedToken]) -> HashSet<String> {
    tokens.iter().map(|token| token.content.clone()).collect()
}

/// A token given by its text alone, which makes it special, or as an object.
fn token(value: &Json) -> Option<AddedToken> {
    match value {
        Json::String(text) => Some(AddedToken::special(text)),
        value => AddedToken::deserialize(value).ok(),
    }
}

fn is_empty(list: &Json) -> bool {
    match list {
        Json::Array(items) => items.is_empty(),
        Json::Object(items) => items.is_empty(),
        _ => true,
    }
}
