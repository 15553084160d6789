//! `tokenizer.ggml.pre`: how text is cut before byte pair encoding, told from the structure of the tokenizer.
//!
//! llama.cpp's converter tokenizes one sample text and looks the hash of the result up, so that every new
//! vocabulary needs a new entry. What llama.cpp does with the name depends on how text is split and on whether
//! whole words skip the merges; both stand in the file, so the name is read off there.
//!
//! Several names may stand for one structure. Then the architecture, tokens of the vocabulary, or whether a token
//! begins every text decide for the name that the reference gives to that family, see `known`.

mod alias;
mod known;

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::json::TokenizerJson;
use crate::options::OptionError;
use crate::recipe::nearest;
pub use alias::{begins_text, equivalent};
use known::{BYTES, DIGIT_RUNS, DIGITS, GPT_2_BYTES, KNOWN, Known, Merges, NAMES};
pub use known::{GPT_4O, LLAMA_3, QWEN_2, QWEN_3_5};

/// A name of a pre-tokenizer that llama.cpp knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreTokenizer(&'static str);

impl PreTokenizer {
    /// That of Qwen up to version 3.
    pub const QWEN_2: Self = Self("qwen2");

    /// The name, as `tokenizer.ggml.pre` has it.
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for PreTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl FromStr for PreTokenizer {
    type Err = OptionError;

    fn from_str(name: &str) -> Result<Self, OptionError> {
        NAMES.iter().find(|known| **known == name).map(|known| Self(known)).ok_or_else(|| {
            let nearest = nearest(name, NAMES.iter().copied());
            OptionError::UnknownPreTokenizer { name: name.to_owned(), nearest: nearest[0], known: NAMES.join(", ") }
        })
    }
}

/// The Split step of a tokenizer.json for a split of the table.
pub fn split(step: &str) -> Json {
    let regex = step.strip_prefix("split ").unwrap_or(step);
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"})
}

/// A structure that no row of the table has.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What the file says, one step after the other.
    pub structure: String,
    /// The row that differs least.
    pub nearest: &'static str,
}

/// What tells structural twins apart.
pub struct Evidence<'a> {
    tokenizer: &'a TokenizerJson,
    config: &'a Json,
}

impl Evidence<'_> {
    /// Whether the model is of one of these `architectures` of config.json.
    fn is(&self, architectures: &[&str]) -> bool {
        self.config["architectures"][0].as_str().is_some_and(|name| architectures.contains(&name))
    }

    /// Whether the vocabulary has a token.
    fn has(&self, token: &str) -> bool {
        let added = self.tokenizer.added_tokens.as_deref().unwrap_or_default();
        added.iter().any(|added| added.content == token)
            || self.tokenizer.model.vocab.0.iter().any(|(text, _)| text == token)
    }

    /// Whether a special token is put before every text.
    fn begins_text(&self) -> bool {
        fn begins(processor: &Json) -> bool {
            match processor["type"].as_str() {
                Some("BertProcessing" | "RobertaProcessing") => true,
                Some("TemplateProcessing") => !processor["single"][0]["SpecialToken"].is_null(),
                Some("Sequence") => processor["processors"].as_array().into_iter().flatten().any(begins),
                _ => false,
            }
        }
        begins(&self.tokenizer.post_processor)
    }

    /// Whether text is normalized, which llama.cpp leaves out.
    fn normalizes(&self) -> bool {
        let mut steps = Vec::new();
        normalizer_steps(&self.tokenizer.normalizer, &mut steps);
        !steps.is_empty()
    }
}

/// llama.cpp's name for the pre-tokenizer of `tokenizer`, for a model with this config.json.
pub fn identify(tokenizer: &TokenizerJson, config: &Json) -> Result<PreTokenizer, Unknown> {
    let mut steps = Vec::new();
    normalizer_steps(&tokenizer.normalizer, &mut steps);
    // llama.cpp normalizes no text, so composing changes nothing about the name
    steps.retain(|step| step != NFC);
    pre_tokenizer_steps(&tokenizer.pre_tokenizer, &mut steps);
    let merges = if tokenizer.model.ignore_merges == Some(true) { Merges::Skip } else { Merges::Apply };
    let evidence = Evidence { tokenizer, config };
    let fits = |row: &&Known| (row.merges == Merges::Either || row.merges == merges) && row.steps == steps;
    if let Some(row) = KNOWN.iter().filter(fits).find(|row| (row.when)(&evidence)) {
        return Ok(PreTokenizer(row.name));
    }
    let found = steps.join("; ");
    let unlike = |row: &&Known| distance(&found, &row.steps.join("; "));
    let nearest = KNOWN.iter().filter(|row| (row.when)(&evidence)).min_by_key(unlike).map_or("default", |row| row.name);
    let merges = if merges == Merges::Skip { "skipped by whole words" } else { "applied to all words" };
    let structure = if steps.is_empty() { "nothing that cuts text".to_owned() } else { found };
    Err(Unknown { structure: format!("{structure}; merges {merges}"), nearest })
}

/// What a name stands for in a tokenizer.json.
pub struct Structure {
    pub pre_tokenizer: Json,
    /// Whole words that are tokens skip the merges.
    pub ignore_merges: bool,
}

/// The structure of the first family that has the name `name`: what [`identify`] finds it by.
pub fn restore(name: &str) -> Option<Structure> {
    let row = KNOWN.iter().find(|row| row.name == name)?;
    structure(row.steps, row.merges == Merges::Skip)
}

/// Steps of the table as a tokenizer.json has them, if it can.
fn structure(steps: &[&'static str], ignore_merges: bool) -> Option<Structure> {
    let steps: Option<Vec<Json>> = steps.iter().copied().map(restore_step).collect();
    let pre_tokenizer = match steps?.as_slice() {
        [step] => step.clone(),
        steps => json!({"type": "Sequence", "pretokenizers": steps}),
    };
    Some(Structure { pre_tokenizer, ignore_merges })
}

/// The reverse of [`pre_tokenizer_steps`].
fn restore_step(step: &str) -> Option<Json> {
    let split = |pattern: Json| json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
    let bytes = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex});
    Some(match step {
        DIGITS => json!({"type": "Digits", "individual_digits": true}),
        DIGIT_RUNS => json!({"type": "Digits", "individual_digits": false}),
        PUNCTUATION_RUNS => json!({"type": "Punctuation", "behavior": "Contiguous"}),
        GPT_2_BYTES => bytes(true),
        BYTES => bytes(false),
        _ => match (step.strip_prefix("split at "), step.strip_prefix("split ")) {
            (Some(pattern), _) => split(serde_json::from_str(pattern).ok()?),
            (None, Some(regex)) => split(json!({"Regex": regex})),
            (None, None) => serde_json::from_str(step).ok()?,
        },
    })
}

const PUNCTUATION_RUNS: &str = "punctuation runs";

const NFC: &str = "normalize NFC";

fn normalizer_steps(normalizer: &Json, steps: &mut Vec<String>) {
    match normalizer["type"].as_str() {
        None => {}
        Some("Sequence") => {
            for part in normalizer["normalizers"].as_array().into_iter().flatten() {
                normalizer_steps(part, steps);
            }
        }
        Some(kind @ ("NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase" | "StripAccents")) => {
            steps.push(format!("normalize {kind}"));
        }
        Some("Replace") if normalizer["pattern"]["String"].is_string() => {
            steps.push(format!("normalize {} to {}", normalizer["pattern"]["String"], normalizer["content"]));
        }
        Some(_) => steps.push(format!("normalize {normalizer}")),
    }
}

fn pre_tokenizer_steps(pre_tokenizer: &Json, steps: &mut Vec<String>) {
    let flag = |key: &str, default: bool| pre_tokenizer[key].as_bool().unwrap_or(default);
    let behavior = pre_tokenizer["behavior"].as_str().unwrap_or_default();
    match pre_tokenizer["type"].as_str() {
        None => {}
        Some("Sequence") => {
            for part in pre_tokenizer["pretokenizers"].as_array().into_iter().flatten() {
                pre_tokenizer_steps(part, steps);
            }
        }
        Some("Digits") => {
            steps.push(if flag("individual_digits", false) { DIGITS } else { DIGIT_RUNS }.to_owned());
        }
        Some("Punctuation") if behavior == "Contiguous" => steps.push(PUNCTUATION_RUNS.to_owned()),
        Some("ByteLevel") if !flag("add_prefix_space", true) => {
            steps.push(if flag("use_regex", true) { GPT_2_BYTES } else { BYTES }.to_owned());
        }
        // the second form drops what the expression does not match; the expressions of the table match everything
        Some("Split") if matches!((behavior, flag("invert", false)), ("Isolated", false) | ("Removed", true)) => {
            steps.push(match pre_tokenizer["pattern"]["Regex"].as_str() {
                Some(regex) => format!("split {regex}"),
                None => format!("split at {}", pre_tokenizer["pattern"]),
            });
        }
        Some("Split") if behavior == "MergedWithPrevious" && pre_tokenizer["pattern"]["String"].is_string() => {
            steps.push(format!("split after {}", pre_tokenizer["pattern"]["String"]));
        }
        Some(_) => steps.push(pre_tokenizer.to_string()),
    }
}

/// Letters compared at most: enough for any published structure, and few enough to compare quickly.
const COMPARED: usize = 2048;

/// Levenshtein distance of the beginnings of two texts.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(COMPARED).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, letter) in b.chars().take(COMPARED).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..a.len() {
            let substituted = diagonal + usize::from(a[j] != letter);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_agree() {
        assert!(NAMES.is_sorted());
        for row in KNOWN {
            assert!(NAMES.contains(&row.name), "{}", row.name);
        }
    }

    #[test]
    fn every_structure_can_be_restored() {
        for row in KNOWN.iter().filter(|row| !row.steps.iter().any(|step| step.starts_with("normalize"))) {
            let first = KNOWN.iter().find(|first| first.name == row.name).unwrap();
            let restored = restore(row.name).unwrap_or_else(|| panic!("{}", row.name));
            let mut steps = Vec::new();
            pre_tokenizer_steps(&restored.pre_tokenizer, &mut steps);
            assert_eq!(steps, first.steps, "{}", row.name);
        }
    }

    // identical rows after one that always fits would be dead
    #[test]
    fn every_row_can_be_reached() {
        let tokenizer = serde_json::from_str(r#"{"model": {"vocab": {}}}"#).unwrap();
        let nothing = Evidence { tokenizer: &tokenizer, config: &Json::Null };
        for (index, row) in KNOWN.iter().enumerate() {
            let hides = |earlier: &&Known| {
                earlier.steps == row.steps
                    && (earlier.merges == Merges::Either || earlier.merges == row.merges)
                    && (earlier.when)(&nothing)
            };
            let hidden = KNOWN[..index].iter().find(hides);
            assert!(hidden.is_none(), "{} is hidden by {}", row.name, hidden.unwrap().name);
        }
    }
}
