//! The parts of `tokenizer.json` from which GGUF metadata is made.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::Value as Json;

/// A `tokenizer.json` of the tokenizers library.
#[derive(Debug, Default, Deserialize)]
pub struct TokenizerJson {
    #[serde(default)]
    pub added_tokens: Option<Vec<AddedToken>>,
    #[serde(default)]
    pub normalizer: Json,
    #[serde(default)]
    pub pre_tokenizer: Json,
    #[serde(default)]
    pub post_processor: Json,
    #[serde(default)]
    pub decoder: Json,
    pub model: Model,
}

/// A token beside those of the model, found in the text before the model sees it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AddedToken {
    #[serde(default)]
    pub id: Option<u32>,
    pub content: String,
    #[serde(default)]
    pub special: bool,
    /// Left out: only of tokens that are not special.
    #[serde(default)]
    pub normalized: Option<bool>,
}

impl AddedToken {
    /// A token as the tokenizers library makes it from a bare string that is declared special.
    pub fn special(content: &str) -> Self {
        Self { content: content.to_owned(), special: true, ..Self::default() }
    }

    pub fn is_normalized(&self) -> bool {
        self.normalized.unwrap_or(!self.special)
    }
}

/// The `model` of a `tokenizer.json`.
#[derive(Debug, Default, Deserialize)]
pub struct Model {
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    #[serde(default)]
    pub vocab: Vocab,
    #[serde(default)]
    pub merges: Option<Vec<Merge>>,
    #[serde(default)]
    pub ignore_merges: Option<bool>,
    #[serde(default)]
    pub byte_fallback: Option<bool>,
}

impl Model {
    /// True for byte pair encoding; files older than the field `type` are told by their merges.
    pub fn is_bpe(&self) -> bool {
        self.kind.as_deref().map_or(self.merges.is_some(), |kind| kind == "BPE")
    }
}

/// Tokens with their ids, as listed. Left empty for models that list pairs of token and score instead.
#[derive(Debug, Default)]
pub struct Vocab(pub Vec<(String, u32)>);

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocab;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a map from token to id, or a list of tokens with scores")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
                let mut tokens = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    tokens.push(entry);
                }
                Ok(Vocab(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Vocab::default())
            }
        }
        deserializer.deserialize_any(Tokens)
    }
}

/// A merge as GGUF writes it: both sides with a space between.
///
/// `tokenizer.json` has either that string, or since transformers 4.45 a pair. Only in a pair can a side hold a
/// space, which becomes the letter that byte-level BPE writes for it.
#[derive(Debug)]
pub struct Merge(pub String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sides;
        impl<'de> Visitor<'de> for Sides {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a merge: \"left right\" or [\"left\", \"right\"]")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Merge, E> {
                let sides = text.split(' ');
                if sides.clone().count() != 2 || sides.into_iter().any(str::is_empty) {
                    return Err(E::invalid_value(Unexpected::Str(text), &self));
                }
                Ok(Merge(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                use serde::de::Error;
                let side = |side: String| side.replace(' ', "\u{120}");
                let left = side(seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?);
                let right = side(seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?);
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(3, &self));
                }
                Ok(Merge(left + " " + &right))
            }
        }
        deserializer.deserialize_any(Sides)
    }
}
