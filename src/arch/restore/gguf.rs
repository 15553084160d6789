//! What a GGUF file says of a model, as settings of config.json.

use serde_json::{Value as Json, json};
use weightmill_formats::{Array, Metadata, Value};

use super::family::Family;
use super::{RestoreError, Settings};
use crate::arch::hyper;
use crate::weights::{Weight, Weights};

/// What is looked at in a GGUF file.
pub(super) struct Gguf<'a> {
    pub prefix: &'a str,
    pub metadata: &'a Metadata,
    pub weights: &'a Weights,
}

/// Settings that name special tokens, and the key of their id.
const TOKENS: [(&str, &str); 4] = [
    ("bos_token_id", "tokenizer.ggml.bos_token_id"),
    ("eos_token_id", "tokenizer.ggml.eos_token_id"),
    ("unk_token_id", "tokenizer.ggml.unknown_token_id"),
    ("pad_token_id", "tokenizer.ggml.padding_token_id"),
];

impl<'a> Gguf<'a> {
    /// A value by its key, less the prefix.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.metadata.get(&self.key(key))
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    /// Where a key stands among all, if it does.
    pub fn place(&self, key: &str) -> Option<usize> {
        let key = self.key(key);
        self.metadata.iter().position(|(found, _)| found == key)
    }

    /// The error that a key is missing or not as expected.
    pub fn wrong(&self, key: &str) -> RestoreError {
        RestoreError::Key { key: self.key(key) }
    }

    /// A value as JSON, if it is there.
    pub fn json(&self, key: &str) -> Result<Option<Json>, RestoreError> {
        self.get(key).map(|value| to_json(value).ok_or_else(|| self.wrong(key))).transpose()
    }

    /// A number that is not negative.
    pub fn whole(&self, key: &str) -> Result<Option<u64>, RestoreError> {
        self.get(key).map(|value| value.to_unsigned().ok_or_else(|| self.wrong(key))).transpose()
    }

    /// The same where it must be there.
    pub fn required(&self, key: &str) -> Result<u64, RestoreError> {
        self.whole(key)?.ok_or_else(|| self.wrong(key))
    }

    /// How many times one number is another that is not zero.
    pub fn share(&self, part: u64, of: u64, key: &str) -> Result<f64, RestoreError> {
        if of == 0 { Err(self.wrong(key)) } else { Ok(part as f64 / of as f64) }
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&'a Weight> {
        self.weights.list().iter().find(|weight| weight.name == name)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, tensor: &str) -> bool {
        self.tensor(tensor).is_some()
    }

    /// Number of layers, of which each has tensors.
    pub fn layers(&self) -> Result<u64, RestoreError> {
        const KEY: &str = "block_count";
        let (layers, tensors) = (self.required(KEY)?, self.weights.list().len());
        match layers <= tensors as u64 {
            true => Ok(layers),
            false => Err(RestoreError::Layers { key: self.key(KEY), layers, tensors }),
        }
    }

    /// All settings that the file tells of a model of `family`.
    pub fn settings(&self, family: &Family) -> Result<Settings, RestoreError> {
        self.layers()?;
        let mut settings = Settings::new();
        let mut set = |key: &str, value: Json| drop(settings.insert(key.to_owned(), value));
        set("architectures", json!([family.config_name]));
        set("model_type", json!(family.model_type));
        let special = |name: &str| family.without.contains(&name) || family.keys.iter().any(|(own, _)| *own == name);
        for usual in hyper::restored_keys().filter(|usual| !special(usual.name)) {
            if let Some(value) = self.get(usual.name) {
                let value = usual.restore(value).ok_or_else(|| self.wrong(usual.name))?;
                set(usual.setting, value);
            }
        }
        for (name, setting) in family.keys {
            if let Some(value) = self.json(name)? {
                set(setting, value);
            }
        }
        set("vocab_size", json!(self.vocabulary()?));
        let byte_level = self.metadata.string("tokenizer.ggml.model") == Some("gpt2");
        for (setting, key) in TOKENS {
            // that of a byte-level vocabulary stands in tokenizer_config.json
            if let Some(id) = self.metadata.unsigned(key).filter(|_| !(byte_level && setting == "unk_token_id")) {
                set(setting, json!(id));
            }
        }
        set("tie_word_embeddings", json!(!self.has("output.weight")));
        let (setting, name) = family.activation;
        set(setting, json!(name));
        for (setting, tensor) in family.flags {
            set(setting, json!(self.has(tensor)));
        }
        self.add_rope(&mut settings)?;
        (family.own)(self, &mut settings)?;
        self.add_frequency_factors(&mut settings)?;
        Ok(settings)
    }

    /// Rows of the embedding table: by the metadata, or as many as there are tokens.
    fn vocabulary(&self) -> Result<u64, RestoreError> {
        let tokens = match self.metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) => Some(tokens.len() as u64),
            _ => None,
        };
        self.whole("vocab_size")?.or(tokens).ok_or_else(|| self.wrong("vocab_size"))
    }
}

/// A number or text as JSON; of an f32 the shortest decimals that mean it.
pub fn to_json(value: &Value) -> Option<Json> {
    match value {
        Value::F32(number) => {
            number.to_string().parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::from)
        }
        Value::F64(number) => serde_json::Number::from_f64(*number).map(Json::from),
        Value::String(text) => Some(Json::from(text.as_str())),
        Value::Bool(flag) => Some(Json::from(*flag)),
        other => other.to_unsigned().map(Json::from),
    }
}
