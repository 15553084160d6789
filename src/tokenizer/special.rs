//! Ids of special tokens, and which of them are added to a text: `tokenizer.ggml.{bos,eos,...}_token_id` and
//! `add_{bos,eos,sep}_token`.
//!
//! The facts come from `tokenizer.json`, `tokenizer_config.json` and `config.json`, in this order of precedence,
//! by the rules of `SpecialVocab` in gguf-py/gguf/vocab.py, quirks included.

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::chat_template::ChatTemplate;
use super::json::TokenizerJson;
use super::{Files, TokenizerError};
use crate::checkpoint::SideFile;

/// Roles that a vocabulary is searched for, in the order in which they are written.
pub const ROLES: &[&str] = &["bos", "eos", "unk", "sep", "pad", "cls", "mask"];
/// Roles of Code Llama's infill tokens.
pub const INFILL_ROLES: &[&str] = &["prefix", "suffix", "middle", "eot"];

/// Key of a role's token id; none for roles that GGUF has no key for. `seperator` is spelt as GGUF spells it.
fn id_key(role: &str) -> Option<&'static str> {
    Some(match role {
        "bos" => "tokenizer.ggml.bos_token_id",
        "eos" => "tokenizer.ggml.eos_token_id",
        "unk" => "tokenizer.ggml.unknown_token_id",
        "sep" => "tokenizer.ggml.seperator_token_id",
        "pad" => "tokenizer.ggml.padding_token_id",
        "mask" => "tokenizer.ggml.mask_token_id",
        "eot" => "tokenizer.ggml.eot_token_id",
        "eom" => "tokenizer.ggml.eom_token_id",
        _ => return None,
    })
}

/// Key of the flag that a role's token is added.
fn add_key(role: &str) -> Option<&'static str> {
    Some(match role {
        "bos" => "tokenizer.ggml.add_bos_token",
        "eos" => "tokenizer.ggml.add_eos_token",
        "sep" => "tokenizer.ggml.add_sep_token",
        _ => return None,
    })
}

/// What is known of the special tokens of a checkpoint.
#[derive(Debug, Default)]
pub struct SpecialTokens {
    roles: Vec<&'static str>,
    ids: Vec<(&'static str, u32)>,
    added: Vec<(&'static str, bool)>,
    chat_template: Option<ChatTemplate>,
    lowercase: Option<bool>,
    strip_accents: Option<bool>,
    notes: Vec<String>,
    limit: Option<u64>,
}

impl SpecialTokens {
    /// Reads the special tokens for `roles`. Ids from `limit` on are left out with a note.
    pub fn read(files: &Files, roles: &[&'static str], limit: Option<u64>) -> Result<Self, TokenizerError> {
        let mut special = Self { roles: roles.to_vec(), limit, ..Self::default() };
        let mut config = files.tokenizer_config.clone();
        if let Some(tokenizer) = &files.tokenizer {
            special.read_normalizer(&tokenizer.normalizer);
            special.read_post_processor(tokenizer, config.as_mut());
        }
        // an empty object counts as no file
        if let Some(config) = config.filter(|config| !config.is_empty()) {
            special.chat_template = ChatTemplate::read(files.checkpoint, &config)?;
            special.read_tokenizer_config(files, &config)?;
        }
        special.read_config(files)?;
        Ok(special)
    }

    /// Sets the id of `role` unless it is known already.
    pub fn set_default(&mut self, role: &'static str, id: u32) {
        if !self.ids.iter().any(|(known, _)| *known == role) {
            self.ids.push((role, id));
        }
    }

    /// Whether no file gave any token a role.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Writes everything but the merges, in the reference's order.
    pub fn write(self, metadata: &mut Metadata, notes: &mut Vec<String>) {
        for (role, id) in &self.ids {
            if let Some(key) = id_key(role) {
                metadata.replace(key, *id);
            }
        }
        for (role, added) in &self.added {
            if let Some(key) = add_key(role) {
                metadata.replace(key, *added);
            }
        }
        if let Some(template) = &self.chat_template {
            template.write(metadata);
        }
        if let Some(flag) = self.lowercase {
            metadata.replace("tokenizer.ggml.normalizer.lowercase", flag);
        }
        if let Some(flag) = self.strip_accents {
            metadata.replace("tokenizer.ggml.normalizer.strip_accents", flag);
        }
        notes.extend(self.notes);
    }

    fn read_normalizer(&mut self, normalizer: &Json) {
        match normalizer["type"].as_str() {
            Some("Lowercase") => self.lowercase = Some(true),
            Some("StripAccents") => self.strip_accents = Some(true),
            Some("BertNormalizer") => {
                if let Some(flag) = normalizer.get("lowercase") {
                    self.lowercase = flag.as_bool();
                }
                if let Some(flag) = normalizer.get("strip_accents") {
                    self.strip_accents = flag.as_bool();
                }
            }
            Some("Sequence") => {
                for part in normalizer["normalizers"].as_array().into_iter().flatten() {
                    self.read_normalizer(part);
                }
            }
            _ => {}
        }
    }

    /// Says whether the token of `role` is added, whatever the files say.
    pub fn set_added(&mut self, role: &'static str, added: bool) {
        match self.added.iter_mut().find(|(known, _)| *known == role) {
            Some(entry) => entry.1 = added,
            None => self.added.push((role, added)),
        }
    }

    fn set_added_default(&mut self, role: &'static str, added: bool) {
        if !self.added.iter().any(|(known, _)| *known == role) {
            self.added.push((role, added));
        }
    }

    /// Reads off the post-processor which tokens are added. May complete `config`, whose tokens are looked up later.
    fn read_post_processor(&mut self, tokenizer: &TokenizerJson, config: Option<&mut Map<String, Json>>) {
        let mut names = Names::new(config.filter(|config| !config.is_empty()));
        let post_processor = &tokenizer.post_processor;
        if !truthy(Some(post_processor)) {
            return;
        }
        let processors = match post_processor.get("processors") {
            Some(list) => list.as_array().map_or(&[][..], Vec::as_slice),
            None => std::slice::from_ref(post_processor),
        };
        for processor in processors {
            match processor["type"].as_str() {
                Some("ByteLevel") => {
                    self.set_added_default("bos", false);
                    self.set_added_default("eos", false);
                }
                Some("RobertaProcessing") => {
                    for role in ["bos", "eos", "sep"] {
                        self.set_added(role, true);
                    }
                    names.complete_from_roberta(processor);
                }
                Some("TemplateProcessing") => self.read_template(processor, &mut names),
                _ => {}
            }
        }
    }

    /// A template such as `<s> $A </s>` for one text and `<s> $A </s> <s> $B </s>` for two.
    fn read_template(&mut self, processor: &Json, names: &mut Names) {
        let items = |key: &str| processor[key].as_array().map_or(&[][..], Vec::as_slice);
        let (single, pair) = (items("single"), items("pair"));
        let (mut first, mut last) = (None, None);
        if single.len() > 1 {
            first = token_of(&single[0]);
            if let Some(token) = first {
                names.complete_first(token);
                self.set_added("bos", names.is_bos_or_cls(token));
            }
            last = token_of(&single[single.len() - 1]);
            if let Some(token) = last {
                if let Some(role) = names.replace_eos(token, &self.roles) {
                    self.roles.push(role);
                }
                self.set_added("eos", names.is_eos(token));
            }
        }

        // what stands between the two texts
        let start = usize::from(first.is_some() && pair.first().and_then(token_of) == first);
        let stop = usize::from(last.is_some() && pair.last().and_then(token_of) == last);
        let pair = pair.get(start..pair.len().saturating_sub(stop)).unwrap_or_default();
        let is_text = |item: Option<&Json>, id: &str| item.is_some_and(|item| item["Sequence"]["id"] == id);
        if !is_text(pair.first(), "A") || !is_text(pair.last(), "B") {
            return;
        }
        let between = pair.get(1..pair.len() - 1).unwrap_or_default();
        let Some(separator) = between.first() else { return };
        let separates = |token: &str| names.is_sep(token) || names.is_eos(token);
        let mut add_sep = last.is_none() && token_of(separator).is_some_and(separates);
        if let [_, second] = between {
            add_sep |= token_of(second).is_some_and(separates);
        }
        self.set_added("sep", add_sep);
        if add_sep {
            names.complete_sep();
        }
    }

    /// Ids of the tokens that `tokenizer_config.json` names, as far as they are added tokens of `tokenizer.json`.
    fn read_tokenizer_config(&mut self, files: &Files, config: &Map<String, Json>) -> Result<(), TokenizerError> {
        let added = files.tokenizer.iter().filter_map(|tokenizer| tokenizer.added_tokens.as_deref()).flatten();
        for role in self.roles.clone() {
            if let Some(flag) = config.get(&format!("add_{role}_token")).and_then(Json::as_bool) {
                self.set_added_default(role, flag);
            }
            let content = match config.get(&format!("{role}_token")) {
                Some(Json::String(content)) => content,
                Some(Json::Object(token)) => match token.get("content") {
                    Some(Json::String(content)) => content,
                    _ => continue,
                },
                _ => continue,
            };
            let id = added.clone().find(|token| token.content == *content).and_then(|token| token.id);
            if let Some(id) = id {
                self.set_id(role, i64::from(id), SideFile::TokenizerJson, files)?;
            }
        }
        Ok(())
    }

    /// Ids as `config.json` has them. A list of ids, as for several end tokens, says nothing here.
    fn read_config(&mut self, files: &Files) -> Result<(), TokenizerError> {
        for role in self.roles.clone() {
            let key = format!("{role}_token_id");
            let mut id = &files.config[&key];
            if id.is_null() {
                id = &files.config["text_config"][&key];
            }
            if let Some(id) = id.as_i64() {
                self.set_id(role, id, SideFile::Config, files)?;
            }
        }
        Ok(())
    }

    fn set_id(&mut self, role: &'static str, id: i64, from: SideFile, files: &Files) -> Result<(), TokenizerError> {
        let Ok(valid) = u32::try_from(id) else {
            return Err(files.invalid(from, format!("{role}_token_id is {id}, which is no token id")));
        };
        match self.limit {
            Some(limit) if u64::from(valid) >= limit => self.notes.push(format!(
                "{}: {role}_token_id {id} left out: the vocabulary has {limit} tokens",
                files.checkpoint.path(from).display()
            )),
            _ => self.set_default(role, valid),
        }
        Ok(())
    }
}

/// Names of the tokens that the post-processor is compared with: those of `tokenizer_config.json`, completed on
/// the way. They stay JSON, because one given as an object equals no token of a template.
struct Names<'a> {
    config: Option<&'a mut Map<String, Json>>,
    bos: Option<Json>,
    cls: Option<Json>,
    eos: Option<Json>,
    sep: Option<Json>,
}

impl<'a> Names<'a> {
    fn new(config: Option<&'a mut Map<String, Json>>) -> Self {
        let get = |key: &str| config.as_ref().and_then(|config| config.get(key)).cloned();
        let (bos, cls, eos, sep) = (get("bos_token"), get("cls_token"), get("eos_token"), get("sep_token"));
        let mut names = Self { config, bos, cls, eos, sep };
        if names.config.is_some() {
            if !truthy(names.bos.as_ref()) && truthy(names.cls.as_ref()) {
                names.bos = names.cls.clone();
                names.put("bos_token", names.cls.clone());
            }
            if !truthy(names.eos.as_ref()) && truthy(names.sep.as_ref()) {
                names.eos = names.sep.clone();
                names.put("eos_token", names.sep.clone());
            }
        }
        names
    }

    fn put(&mut self, key: &str, value: Option<Json>) {
        if let Some(config) = &mut self.config {
            config.insert(key.to_owned(), value.unwrap_or(Json::Null));
        }
    }

    fn is_bos_or_cls(&self, token: &str) -> bool {
        is(&self.bos, token) || is(&self.cls, token)
    }

    fn is_eos(&self, token: &str) -> bool {
        is(&self.eos, token)
    }

    fn is_sep(&self, token: &str) -> bool {
        is(&self.sep, token)
    }

    fn complete_from_roberta(&mut self, processor: &Json) {
        if self.config.is_none() {
            return;
        }
        if !truthy(self.cls.as_ref()) {
            self.cls = processor.get("cls").map_or(self.bos.clone(), |pair| pair.get(0).cloned());
            self.put("cls_token", self.cls.clone());
        }
        if !truthy(self.sep.as_ref()) {
            self.sep = processor.get("sep").map_or(self.eos.clone(), |pair| pair.get(0).cloned());
            self.put("sep_token", self.sep.clone());
        }
    }

    /// The first token of the template stands for whichever of BOS and CLS has no name yet.
    fn complete_first(&mut self, token: &str) {
        if self.config.is_none() {
            self.bos = Some(token.into());
        } else if !self.is_bos_or_cls(token) {
            if !truthy(self.bos.as_ref()) {
                self.bos = Some(token.into());
                self.put("bos_token", self.bos.clone());
            }
            if !truthy(self.cls.as_ref()) {
                self.cls = Some(token.into());
                self.put("cls_token", self.cls.clone());
            }
        }
    }

    /// The last token of the template is the EOS. The one so called before becomes end of turn, or of message,
    /// whichever `roles` does not have; that role is returned.
    fn replace_eos(&mut self, token: &str, roles: &[&str]) -> Option<&'static str> {
        if self.config.is_none() {
            self.eos = Some(token.into());
            return None;
        }
        if self.is_eos(token) {
            return None;
        }
        let role = ["eot", "eom"].into_iter().find(|role| !roles.contains(role));
        if let Some(role) = role {
            self.put(&format!("{role}_token"), self.eos.clone());
        }
        self.eos = Some(token.into());
        self.put("eos_token", self.eos.clone());
        role
    }

    fn complete_sep(&mut self) {
        if !truthy(self.sep.as_ref()) {
            self.put("sep_token", self.eos.clone());
        }
    }
}

fn is(name: &Option<Json>, token: &str) -> bool {
    name.as_ref().and_then(Json::as_str) == Some(token)
}

/// The special token that an item of a template stands for.
fn token_of(item: &Json) -> Option<&str> {
    item["SpecialToken"]["id"].as_str().filter(|token| !token.is_empty())
}

/// Truth as Python has it.
fn truthy(value: Option<&Json>) -> bool {
    match value {
        None | Some(Json::Null) => false,
        Some(Json::Bool(flag)) => *flag,
        Some(Json::Number(number)) => number.as_f64() != Some(0.0),
        Some(Json::String(text)) => !text.is_empty(),
        Some(Json::Array(items)) => !items.is_empty(),
        Some(Json::Object(entries)) => !entries.is_empty(),
    }
}
