//! `tokenizer.ggml.pre`: how text is cut before byte pair encoding, told from the structure of `tokenizer.json`.
//!
//! llama.cpp's converter tokenizes one sample text and looks the hash of the result up, so that every new
//! vocabulary needs a new entry. What llama.cpp does with the name depends on how text is split and on whether
//! whole words skip the merges; both stand in the file, so the name is read off there.

use serde_json::Value as Json;

use super::json::TokenizerJson;

/// A known structure and its name in llama.cpp.
struct Known {
    name: &'static str,
    /// Normalizer and pre-tokenizer steps, as [`steps`] writes them.
    steps: &'static [&'static str],
    ignore_merges: bool,
}

const LLAMA_3: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
// Line breaks and letters stand in this one as themselves, not as escapes.
const DEEPSEEK_V3: &str = concat!(
    r##"split [!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^"##,
    "\r\n",
    r"\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[",
    "\r\n",
    r"]*|\s*[",
    "\r\n",
    r"]+|\s+(?!\S)|\s+"
);
const BYTES: &str = "bytes";
/// Byte level with GPT-2's own expression.
const GPT_2_BYTES: &str = "gpt-2 split, bytes";

/// Structures as published, each under the name that the reference gives to the family that introduced it.
const KNOWN: &[Known] = &[
    Known { name: "llama-bpe", steps: &[LLAMA_3, BYTES], ignore_merges: true },
    Known { name: "tekken", steps: &[TEKKEN, BYTES], ignore_merges: true },
    Known { name: "smollm", steps: &["digits", GPT_2_BYTES], ignore_merges: false },
    Known { name: "gpt-2", steps: &[GPT_2_BYTES], ignore_merges: false },
    Known { name: "qwen2", steps: &["normalize NFC", QWEN_2, BYTES], ignore_merges: false },
    Known {
        name: "deepseek-v3",
        steps: &[
            r"split \p{N}{1,3}",
            "split [\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+",
            DEEPSEEK_V3,
            BYTES,
        ],
        ignore_merges: false,
    },
    Known { name: "gpt-4o", steps: &[GPT_4O, BYTES], ignore_merges: true },
];

/// A structure that no row of the table has.
#[derive(Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What the file says, one step after the other.
    pub structure: String,
    /// The row that differs least.
    pub nearest: &'static str,
}

/// llama.cpp's name for the pre-tokenizer of `tokenizer`.
pub fn name(tokenizer: &TokenizerJson) -> Result<&'static str, Unknown> {
    let mut steps = Vec::new();
    normalizer_steps(&tokenizer.normalizer, &mut steps);
    pre_tokenizer_steps(&tokenizer.pre_tokenizer, &mut steps);
    let ignore_merges = tokenizer.model.ignore_merges.unwrap_or(false);
    if let Some(row) = KNOWN.iter().find(|row| row.ignore_merges == ignore_merges && row.steps == steps) {
        return Ok(row.name);
    }
    let found = steps.join("; ");
    let unlike =
        |row: &&Known| (distance(&found, &row.steps.join("; ")), usize::from(row.ignore_merges != ignore_merges));
    let nearest = KNOWN.iter().min_by_key(unlike).map_or("none", |row| row.name);
    let merges = if ignore_merges { "ignored for whole words" } else { "applied to all words" };
    Err(Unknown { structure: format!("{found}; merges {merges}"), nearest })
}

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
        Some(_) => steps.push(format!("normalize {normalizer}")),
    }
}

fn pre_tokenizer_steps(pre_tokenizer: &Json, steps: &mut Vec<String>) {
    let flag = |key: &str, default: bool| pre_tokenizer[key].as_bool().unwrap_or(default);
    match pre_tokenizer["type"].as_str() {
        None => {}
        Some("Sequence") => {
            for part in pre_tokenizer["pretokenizers"].as_array().into_iter().flatten() {
                pre_tokenizer_steps(part, steps);
            }
        }
        Some("Digits") if flag("individual_digits", false) => steps.push("digits".to_owned()),
        Some("ByteLevel") if !flag("add_prefix_space", true) => {
            steps.push(if flag("use_regex", true) { GPT_2_BYTES } else { BYTES }.to_owned());
        }
        Some("Split") if pre_tokenizer["behavior"] == "Isolated" && !flag("invert", false) => {
            steps.push(match pre_tokenizer["pattern"]["Regex"].as_str() {
                Some(regex) => format!("split {regex}"),
                None => format!("split at {}", pre_tokenizer["pattern"]),
            });
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
