//! transformers' tokenizer classes: which one a checkpoint is loaded with, the special tokens that it takes for
//! granted, and what it does to text where no tokenizer.json says it.
//!
//! Sources: models/auto/tokenization_auto.py and models/*/tokenization_*.py of transformers 5.

use serde_json::{Map, Value as Json, json};

use super::json::TokenizerJson;
use super::{llama_json, pre};

/// A class that is more than what the files say.
pub struct Class {
    name: &'static str,
    /// Keys of tokenizer_config.json and the token that each has if it is not there.
    pub defaults: &'static [(&'static str, &'static str)],
    /// Normalizer and pre-tokenizer.
    pub steps: fn() -> (Json, Json),
}

const END_OF_TEXT: &str = "<|endoftext|>";

const CLASSES: &[Class] = &[
    Class {
        name: "LlamaTokenizer",
        defaults: &[("unk_token", "<unk>"), ("bos_token", "<s>"), ("eos_token", "</s>")],
        steps: || (Json::Null, Json::Null),
    },
    Class {
        name: "GPT2Tokenizer",
        defaults: &[("unk_token", END_OF_TEXT), ("bos_token", END_OF_TEXT), ("eos_token", END_OF_TEXT)],
        steps: || (Json::Null, bytes(true)),
    },
    Class {
        name: "GPTNeoXTokenizer",
        defaults: &[
            ("unk_token", END_OF_TEXT),
            ("bos_token", END_OF_TEXT),
            ("eos_token", END_OF_TEXT),
            ("pad_token", "<|padding|>"),
        ],
        steps: || (nfc(), bytes(true)),
    },
    Class {
        name: "Qwen2Tokenizer",
        defaults: &[("unk_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("pad_token", END_OF_TEXT)],
        steps: || (nfc(), sequence([pre::split(pre::QWEN_2), bytes(false)])),
    },
    Class {
        name: "Qwen3_5Tokenizer",
        defaults: &[("unk_token", END_OF_TEXT), ("eos_token", END_OF_TEXT), ("pad_token", END_OF_TEXT)],
        steps: || (nfc(), sequence([pre::split(pre::QWEN_3_5), bytes(false)])),
    },
    Class {
        name: "GemmaTokenizer",
        defaults: &[
            ("unk_token", "<unk>"),
            ("bos_token", "<bos>"),
            ("eos_token", "<eos>"),
            ("pad_token", "<pad>"),
            ("mask_token", "<mask>"),
        ],
        steps: || (Json::Null, Json::Null),
    },
    Class {
        name: "CohereTokenizer",
        defaults: &[
            ("unk_token", "<UNK>"),
            ("bos_token", "<BOS_TOKEN>"),
            ("eos_token", "<|END_OF_TURN_TOKEN|>"),
            ("pad_token", "<PAD>"),
            ("cls_token", "<CLS>"),
            ("sep_token", "<SEP>"),
            ("mask_token", "<MASK_TOKEN>"),
        ],
        steps: || (nfc(), sequence([digits(), bytes(true)])),
    },
];

/// How much the class that a checkpoint names counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// It is loaded if it is a class of its own.
    Counts,
    /// Published checkpoints name wrong ones.
    Ignored,
}

/// Classes by `model_type` of config.json. Types without a row are loaded with the class that they name; `None` is
/// the general class, which takes nothing for granted.
const MODEL_TYPES: &[(&str, Option<&str>, Named)] = &[
    ("cohere", Some("CohereTokenizer"), Named::Counts),
    ("cohere2", Some("CohereTokenizer"), Named::Counts),
    ("gemma", Some("GemmaTokenizer"), Named::Counts),
    ("gemma2", Some("GemmaTokenizer"), Named::Counts),
    ("gemma3", Some("GemmaTokenizer"), Named::Counts),
    ("gemma3_text", Some("GemmaTokenizer"), Named::Counts),
    ("glm", None, Named::Ignored),
    ("glm4", None, Named::Ignored),
    ("glm4_moe", None, Named::Ignored),
    ("gpt2", Some("GPT2Tokenizer"), Named::Counts),
    ("gpt_bigcode", None, Named::Ignored),
    ("gpt_neox", Some("GPTNeoXTokenizer"), Named::Counts),
    ("granite", None, Named::Ignored),
    ("granitemoe", None, Named::Ignored),
    ("granitemoehybrid", None, Named::Ignored),
    ("granitemoeshared", None, Named::Ignored),
    ("olmo", Some("GPTNeoXTokenizer"), Named::Counts),
    ("olmo2", None, Named::Ignored),
    ("olmo3", None, Named::Ignored),
    ("olmoe", Some("GPTNeoXTokenizer"), Named::Counts),
    ("phi", Some("GPT2Tokenizer"), Named::Counts),
    ("phi3", None, Named::Ignored),
    ("qwen2", Some("Qwen2Tokenizer"), Named::Ignored),
    ("qwen2_moe", Some("Qwen2Tokenizer"), Named::Counts),
    ("qwen3", Some("Qwen2Tokenizer"), Named::Counts),
    ("qwen3_moe", Some("Qwen2Tokenizer"), Named::Counts),
    ("qwen3_next", Some("Qwen2Tokenizer"), Named::Counts),
    ("qwen3_5", Some("Qwen3_5Tokenizer"), Named::Ignored),
    ("qwen3_5_moe", Some("Qwen3_5Tokenizer"), Named::Ignored),
    ("qwen3_5_moe_text", Some("Qwen3_5Tokenizer"), Named::Ignored),
    ("qwen3_5_text", Some("Qwen3_5Tokenizer"), Named::Counts),
    ("starcoder2", Some("GPT2Tokenizer"), Named::Counts),
];

/// The class that transformers loads a checkpoint with, if it is one of the table.
pub fn loaded(
    tokenizer: &TokenizerJson,
    tokenizer_config: &Map<String, Json>,
    config: &Json,
) -> Option<&'static Class> {
    let named = named(tokenizer_config);
    // a byte-level tokenizer that says it is Llama's is loaded without its class
    let named_applies = named != Some("LlamaTokenizer") || llama_json::is_sentencepiece_like(tokenizer);
    let own = named.filter(|_| named_applies);
    let class = match row(config) {
        None => own,
        Some((_, registered, _)) if named.is_none() => *registered,
        Some((_, registered, Named::Ignored)) => *registered,
        Some((_, _, Named::Counts)) => own,
    };
    class.and_then(find)
}

/// The class whose steps a checkpoint without tokenizer.json has: the one that it names, else that of its model type.
pub fn of_files(tokenizer_config: Option<&Map<String, Json>>, config: &Json) -> Option<&'static Class> {
    let of_type = match config["model_type"].as_str() {
        Some("gpt_bigcode") => Some("GPT2Tokenizer"),
        _ => row(config).and_then(|(_, registered, _)| *registered),
    };
    tokenizer_config.and_then(named).or(of_type).and_then(find)
}

/// Each digit alone.
pub fn digits() -> Json {
    json!({"type": "Digits", "individual_digits": true})
}

/// Byte level, with or without GPT-2's split into words.
pub fn bytes(words: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": words})
}

/// Steps one after the other.
pub fn sequence<const N: usize>(steps: [Json; N]) -> Json {
    json!({"type": "Sequence", "pretokenizers": steps.to_vec()})
}

fn nfc() -> Json {
    json!({"type": "NFC"})
}

fn find(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

fn row(config: &Json) -> Option<&'static (&'static str, Option<&'static str>, Named)> {
    let model_type = config["model_type"].as_str()?;
    MODEL_TYPES.iter().find(|(name, ..)| *name == model_type)
}

fn named(tokenizer_config: &Map<String, Json>) -> Option<&str> {
    let name = tokenizer_config.get("tokenizer_class")?.as_str()?;
    Some(name.strip_suffix("Fast").unwrap_or(name))
}

impl Class {
    /// Whether it is GPT-2's.
    pub fn is_gpt_2(&self) -> bool {
        self.name == "GPT2Tokenizer"
    }
}
