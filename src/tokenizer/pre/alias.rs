//! Names under which llama.cpp cuts text in the same way: `tokenizer_pre` and the expressions in src/llama-vocab.cpp.
//!
//! A checkpoint that is restored must come back under its own name, so there only [`super::restore`]'s structures count. To
//! tokenize a text any name of a group will do.

use super::known::{BYTES, KNOWN};
use super::{Structure, structure};

/// A row of the table of structures, and the names that llama.cpp treats alike.
const GROUPS: &[(&str, &[&str])] = &[
    ("llama-bpe", &["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"]),
    (
        "gpt-2",
        &[
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-code",
            "jina-v2-de",
            "jina-v2-es",
            "roberta-bpe",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "exaone4",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
        ],
    ),
    ("qwen2", &["deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"]),
    ("gpt-4o", &["llama4", "kanana2", "talkie", "minimax-m2"]),
    ("glm4", &["glm5"]),
    ("deepseek-v3", &["hunyuan-dense", "joyai-llm", "hy_v4"]),
    ("smollm", &["starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"]),
    ("bailingmoe", &["bailingmoe2", "llada-moe"]),
    ("tiny_aya", &["cohere2moe"]),
    ("dbrx", &["smaug-bpe"]),
];

/// Rows whose whole words skip the merges in llama.cpp, whatever was published.
const SKIPPING: &[&str] = &["llama-bpe", "tekken", "glm4", "minicpm5"];

/// What llama.cpp does where a file names no pre-tokenizer, or `default`.
const DEFAULT: &[&str] = &[
    r"split [\p{P}$+<=>^~|]+",
    r"split 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"split \p{N}+",
    "split [0-9][0-9][0-9]",
    BYTES,
];

/// The names for which a text begins with a token where no key says otherwise.
pub fn begins_text(name: &str) -> bool {
    matches!(row_of(name), "llama-bpe" | "tekken" | "chameleon")
}

/// How llama.cpp cuts text under `name`, if that is known.
pub fn equivalent(name: &str) -> Option<Structure> {
    if name == "default" {
        return structure(DEFAULT, false);
    }
    let name = row_of(name);
    let row = KNOWN.iter().find(|row| row.name == name)?;
    structure(row.steps, SKIPPING.contains(&name))
}

/// The name of the group's row.
fn row_of(name: &str) -> &str {
    GROUPS.iter().find(|(_, names)| names.contains(&name)).map_or(name, |(row, _)| row)
}

#[cfg(test)]
mod tests {
    use super::super::known::NAMES;
    use super::*;

    #[test]
    fn groups_are_of_names_that_are_known() {
        for (row, names) in GROUPS {
            assert!(KNOWN.iter().any(|known| known.name == *row), "{row}");
            for name in names.iter().chain([row]) {
                assert!(NAMES.contains(name), "{name}");
                assert!(equivalent(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn names_of_one_group_cut_alike() {
        for (name, other) in
            [("llama3", "pixtral"), ("gpt-2", "exaone4"), ("starcoder", "command-r"), ("dbrx", "smaug-bpe")]
        {
            let (one, other) = (equivalent(name).unwrap(), equivalent(other).unwrap());
            assert_eq!((one.pre_tokenizer, one.ignore_merges), (other.pre_tokenizer, other.ignore_merges), "{name}");
        }
        assert!(equivalent("llama-v3").unwrap().ignore_merges && !equivalent("dbrx").unwrap().ignore_merges);
        assert!(equivalent("default").is_some() && equivalent("whitespace").is_none());
        assert!(begins_text("llama3") && !begins_text("gpt-2"));
    }
}
