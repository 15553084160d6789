//! The way back: from the `tokenizer.*` metadata of GGUF to the files of a checkpoint.
//!
//! What llama.cpp needs is restored: tokens, merges or scores, how text is cut, special tokens, templates. What it has
//! no use for (normalizers, limits of length) is not in a GGUF file.

use prost::Message as _;
use serde_json::{Map, Value as Json, json};
use weightmill_formats::{Array, Metadata, Value};

use super::sentencepiece::{ADDED_SCORE, ModelProto, NormalizerSpec, Piece, TrainerSpec, UNUSED_SCORE};
use super::{TokenType, pre};
use crate::publish::pretty;

/// Why a tokenizer cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum RestoreError {
    #[error("tokenizers of the model {model:?} are not known")]
    Model { model: String },
    #[error("the pre-tokenizer {name:?} has no known structure")]
    PreTokenizer { name: String },
    #[error("the key {key} is missing in the metadata, or not as expected")]
    Key { key: &'static str },
    #[error("it was made from a tokenizer.json without scores, and the merges are lost")]
    NoScores,
}

/// Keys that name special tokens, and their name in `tokenizer_config.json`.
const SPECIAL: &[(&str, &str)] = &[
    ("tokenizer.ggml.bos_token_id", "bos_token"),
    ("tokenizer.ggml.eos_token_id", "eos_token"),
    ("tokenizer.ggml.unknown_token_id", "unk_token"),
    ("tokenizer.ggml.seperator_token_id", "sep_token"),
    ("tokenizer.ggml.padding_token_id", "pad_token"),
    ("tokenizer.ggml.mask_token_id", "mask_token"),
];

/// transformers' classes for tokenizers of one model in GGUF: by architecture, else the last.
const CLASSES: &[(&str, &str, &str)] = &[
    // what tells Phi-4 from Phi-3
    ("gpt2", "phi3", "GPT2Tokenizer"),
    ("gpt2", "", "PreTrainedTokenizerFast"),
    ("llama", "gemma", "GemmaTokenizer"),
    ("llama", "gemma2", "GemmaTokenizer"),
    ("llama", "gemma3", "GemmaTokenizer"),
    ("llama", "", "LlamaTokenizer"),
];

/// The vocabulary in a GGUF file.
struct Vocabulary<'a> {
    metadata: &'a Metadata,
    tokens: &'a [String],
    types: &'a [i32],
}

/// The files of the tokenizer that `metadata` describes: name and content.
///
/// # Errors
/// If the tokenizer is of a kind that is not known, or if the file does not hold all of it.
pub fn restore(metadata: &Metadata) -> Result<Vec<(String, Vec<u8>)>, RestoreError> {
    let vocabulary = Vocabulary::of(metadata)?;
    let model = metadata.string("tokenizer.ggml.model").unwrap_or_default();
    let architecture = metadata.string("general.architecture").unwrap_or_default();
    let fits = |(of, by, _): &&(&str, &str, &str)| *of == model && (*by == architecture || by.is_empty());
    let Some((_, _, class)) = CLASSES.iter().find(fits) else {
        return Err(RestoreError::Model { model: model.to_owned() });
    };
    let (name, content, first_added) = match model {
        "gpt2" => ("tokenizer.json", vocabulary.tokenizer_json(pre::restore)?, 0),
        _ => {
            let (model, pieces) = vocabulary.sentencepiece()?;
            ("tokenizer.model", model, pieces)
        }
    };
    let config = vocabulary.config(class, first_added);
    Ok(vec![(name.to_owned(), content), ("tokenizer_config.json".to_owned(), pretty(&config))])
}

/// A tokenizer.json that cuts text as llama.cpp does under the name in `metadata`, which may be any of those for it.
///
/// # Errors
/// If the tokenizer is not byte-level BPE, or if it is not known how text is cut.
pub(super) fn byte_level(metadata: &Metadata) -> Result<Vec<u8>, RestoreError> {
    match metadata.string("tokenizer.ggml.model").unwrap_or_default() {
        "gpt2" => Vocabulary::of(metadata)?.tokenizer_json(pre::equivalent),
        model => Err(RestoreError::Model { model: model.to_owned() }),
    }
}

impl<'a> Vocabulary<'a> {
    fn of(metadata: &'a Metadata) -> Result<Self, RestoreError> {
        const TOKENS: &str = "tokenizer.ggml.tokens";
        const TYPES: &str = "tokenizer.ggml.token_type";
        let Some(Value::Array(Array::String(tokens))) = metadata.get(TOKENS) else {
            return Err(RestoreError::Key { key: TOKENS });
        };
        let Some(Value::Array(Array::I32(types))) = metadata.get(TYPES) else {
            return Err(RestoreError::Key { key: TYPES });
        };
        if types.len() != tokens.len() {
            return Err(RestoreError::Key { key: TYPES });
        }
        Ok(Self { metadata, tokens, types })
    }

    fn is(&self, id: usize, kinds: &[TokenType]) -> bool {
        kinds.iter().any(|kind| self.types[id] == *kind as i32)
    }

    /// Tokens beside those of the model itself: id and whether it is special.
    fn added(&self) -> impl Iterator<Item = (usize, bool)> {
        let ids = (0..self.tokens.len()).filter(|id| self.is(*id, &[TokenType::Control, TokenType::UserDefined]));
        ids.map(|id| (id, self.is(id, &[TokenType::Control])))
    }

    /// Number of tokens up to the last for which `counts` is true.
    fn length(&self, counts: impl Fn(usize) -> bool) -> usize {
        (0..self.tokens.len()).rev().find(|id| counts(*id)).map_or(0, |last| last + 1)
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key) {
            Some(Value::Bool(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A token as the tokenizers library lists it.
    fn added_token(&self, id: usize, special: bool) -> Map<String, Json> {
        let mut token = Map::new();
        token.insert("content".to_owned(), json!(self.tokens[id]));
        for flag in ["single_word", "lstrip", "rstrip", "normalized"] {
            token.insert(flag.to_owned(), json!(false));
        }
        token.insert("special".to_owned(), json!(special));
        token
    }

    /// Byte-level BPE. All tokens stand in the vocabulary, so that every id is what it was.
    fn tokenizer_json(&self, structure: fn(&str) -> Option<pre::Structure>) -> Result<Vec<u8>, RestoreError> {
        const MERGES: &str = "tokenizer.ggml.merges";
        let name = self.metadata.string("tokenizer.ggml.pre").unwrap_or("default");
        let structure = structure(name).ok_or_else(|| RestoreError::PreTokenizer { name: name.to_owned() })?;
        let Some(Value::Array(Array::String(merges))) = self.metadata.get(MERGES) else {
            return Err(RestoreError::Key { key: MERGES });
        };
        let length = self.length(|id| !self.is(id, &[TokenType::Unused]));
        let vocabulary: Map<String, Json> =
            self.tokens[..length].iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let merges: Vec<Json> = merges
            .iter()
            .map(|merge| match merge.split_once(' ') {
                Some((left, right)) => json!([left, right]),
                None => json!(merge),
            })
            .collect();
        let added: Vec<Json> = self
            .added()
            .map(|(id, special)| {
                let mut token = Map::from_iter([("id".to_owned(), json!(id))]);
                token.append(&mut self.added_token(id, special));
                Json::Object(token)
            })
            .collect();
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": structure.pre_tokenizer,
            "post_processor": match self.template() {
                Some(template) if self.byte_level_comes_first() => {
                    json!({"type": "Sequence", "processors": [byte_level, template]})
                }
                Some(template) => template,
                // it makes the converter say that nothing is added
                None if self.flag("tokenizer.ggml.add_eos_token").is_some() => byte_level.clone(),
                None => Json::Null,
            },
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": structure.ignore_merges,
                "vocab": vocabulary,
                "merges": merges,
            },
        });
        Ok(pretty(&tokenizer))
    }

    /// The special token of a key.
    fn special(&self, key: &str) -> Option<(usize, &str)> {
        let id = usize::try_from(self.metadata.unsigned(key)?).ok()?;
        Some((id, self.tokens.get(id)?))
    }

    /// Whether a byte-level step stood before the template: it makes the converter write the flag of the last token
    /// before that of the separator.
    fn byte_level_comes_first(&self) -> bool {
        let place = |key: &str| self.metadata.iter().position(|(found, _)| found == key);
        let (end, separator) = (place("tokenizer.ggml.add_eos_token"), place("tokenizer.ggml.add_sep_token"));
        end.is_some_and(|end| separator.is_none_or(|separator| end < separator))
    }

    /// A post-processor that adds what the file says is added to every text.
    fn template(&self) -> Option<Json> {
        let added = |flag: &str, key: &str| self.flag(flag)?.then(|| self.special(key))?;
        let begin = added("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id");
        let end = added("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id");
        if begin.is_none() && end.is_none() {
            return None;
        }
        let piece = |token: &str, kind: u8| json!({"SpecialToken": {"id": token, "type_id": kind}});
        let text = |name: &str, kind: u8| json!({"Sequence": {"id": name, "type_id": kind}});
        let around = |texts: Vec<Json>, kind: u8| {
            let token = |token: Option<(usize, &str)>| token.map(|(_, token)| piece(token, kind));
            token(begin).into_iter().chain(texts).chain(token(end)).collect::<Vec<Json>>()
        };
        let single = around(vec![text("A", 0)], 0);
        // the flag is written where something stands between two texts
        let pair = match self.flag("tokenizer.ggml.add_sep_token") {
            Some(_) => [single.clone(), around(vec![text("B", 1)], 1)].concat(),
            None => around(vec![text("A", 0), text("B", 1)], 0),
        };
        let specials = begin.into_iter().chain(end);
        let specials: Map<String, Json> = specials
            .map(|(id, token)| (token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]})))
            .collect();
        Some(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": specials}))
    }

    /// A SentencePiece model and the number of its pieces; tokens that were added beside it are left to the config.
    fn sentencepiece(&self) -> Result<(Vec<u8>, usize), RestoreError> {
        const SCORES: &str = "tokenizer.ggml.scores";
        let Some(Value::Array(Array::F32(scores))) = self.metadata.get(SCORES) else {
            return Err(RestoreError::Key { key: SCORES });
        };
        if scores.len() != self.tokens.len() {
            return Err(RestoreError::Key { key: SCORES });
        }
        if scores.iter().all(|score| *score == ADDED_SCORE) {
            return Err(RestoreError::NoScores);
        }
        let length = self.length(|id| scores[id] != ADDED_SCORE && scores[id] != UNUSED_SCORE);
        let pieces = (0..length).map(|id| Piece {
            piece: Some(self.tokens[id].clone()),
            score: Some(scores[id]),
            // The numbers of normal (left out as the default) to byte pieces are those of GGUF's token types.
            kind: Some(self.types[id]).filter(|kind| *kind != TokenType::Normal as i32),
        });
        let id = |key: &str| self.metadata.unsigned(key).and_then(|id| i32::try_from(id).ok());
        let model = ModelProto {
            pieces: pieces.collect(),
            trainer: Some(TrainerSpec {
                kind: Some(TrainerSpec::BPE),
                byte_fallback: Some((0..length).any(|id| self.is(id, &[TokenType::Byte]))),
                unknown: Some(id("tokenizer.ggml.unknown_token_id").unwrap_or(0)),
                begin: Some(id("tokenizer.ggml.bos_token_id").unwrap_or(-1)),
                end: Some(id("tokenizer.ggml.eos_token_id").unwrap_or(-1)),
                padding: Some(id("tokenizer.ggml.padding_token_id").unwrap_or(-1)),
            }),
            normalizer: Some(NormalizerSpec {
                name: Some("identity".to_owned()),
                add_dummy_prefix: Some(self.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true)),
                remove_extra_whitespaces: Some(false),
                escape_whitespaces: Some(true),
            }),
        };
        Ok((model.encode_to_vec(), length))
    }

    /// `tokenizer_config.json`, with the added tokens from id `first` on.
    fn config(&self, class: &str, first: usize) -> Json {
        let mut config = Map::new();
        let mut set = |key: &str, value: Json| drop(config.insert(key.to_owned(), value));
        let place = |key: &str| self.metadata.iter().position(|(found, _)| found == key);
        let template = place("tokenizer.chat_template").unwrap_or(usize::MAX);
        for name in ["add_bos_token", "add_eos_token"] {
            let key = format!("tokenizer.ggml.{name}");
            // Behind the template it is what the converter knows of vocabularies of that size.
            if let Some(flag) = self.flag(&key).filter(|_| place(&key) < Some(template)) {
                set(name, json!(flag));
            }
        }
        if let Some(flag) = self.flag("tokenizer.ggml.add_space_prefix") {
            set("add_prefix_space", json!(flag));
        }
        let added = self.added().filter(|(id, _)| *id >= first);
        let added = added.map(|(id, special)| (id.to_string(), Json::Object(self.added_token(id, special))));
        set("added_tokens_decoder", Json::Object(added.collect()));
        for (index, (key, name)) in SPECIAL.iter().enumerate() {
            // A role that stands behind a later one came from config.json, where it is restored too.
            let stated =
                SPECIAL[index + 1..].iter().all(|(later, _)| place(later).is_none_or(|at| Some(at) > place(key)));
            if let Some((_, token)) = self.special(key).filter(|_| stated) {
                set(name, json!(token));
            }
        }
        if let Some(template) = self.chat_template() {
            set("chat_template", template);
        }
        set("clean_up_tokenization_spaces", json!(false));
        set("tokenizer_class", json!(class));
        Json::Object(config)
    }

    /// The template, or all of them by name.
    fn chat_template(&self) -> Option<Json> {
        const KEY: &str = "tokenizer.chat_template";
        let default = self.metadata.string(KEY);
        let prefix = format!("{KEY}.");
        let named = self.metadata.iter().filter_map(|(key, value)| match value {
            Value::String(text) => Some((key.strip_prefix(&prefix)?, text.as_str())),
            _ => None,
        });
        let named: Vec<(&str, &str)> = named.collect();
        if named.is_empty() {
            return default.map(Json::from);
        }
        let all = default.map(|template| ("default", template)).into_iter().chain(named);
        Some(all.map(|(name, template)| json!({"name": name, "template": template})).collect())
    }
}
