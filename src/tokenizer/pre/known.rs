//! The structures of published pre-tokenizers under llama.cpp's names.
//!
//! Sources: the tokenizer.json files of the families; where only llama.cpp's expression is at hand, the original that
//! src/llama-vocab.cpp quotes. The first row that fits decides, so rows with a condition stand before the row for
//! everyone else with that structure. llama.cpp does the same, or nearly the same, under all names of one structure.

use super::Evidence;

/// A structure and its name.
pub struct Known {
    pub name: &'static str,
    /// Steps of the pre-tokenizer, as `super::steps` writes them.
    pub steps: &'static [&'static str],
    pub merges: Merges,
    /// What else must hold for this name.
    pub when: fn(&Evidence) -> bool,
}

/// Whether whole words that are tokens skip the merges.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Merges {
    Apply,
    Skip,
    /// Published with both; it changes little, because such words merge to their token.
    Either,
}

pub const DIGITS: &str = "digits";
pub const DIGIT_RUNS: &str = "digit runs";
pub const BYTES: &str = "bytes";
/// Byte level with GPT-2's own expression.
pub const GPT_2_BYTES: &str = "gpt-2 split, bytes";

pub const LLAMA_3: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const QWEN_2: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const QWEN_3_5: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
pub const GPT_4O: &str = r"split [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS_2: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const BAILING: &str =
    r"split '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const EXAONE_MOE: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+";
const MINICPM_5: &str = r"split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const COHERE_DIGITS: &str = r"split \d{1,3}(?=(?:\d{3})*\b)";
const THREE_DIGITS: &str = r"split \p{N}{1,3}";
const SPACES_AS_LETTERS: &str = "normalize \" \" to \"\u{2581}\"";
const SPLIT_AT_SPACES: &str = "split after \" \"";
// Line breaks and letters stand in the following as themselves, not as escapes.
const SEED_CODER: &str = "split (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const DEEPSEEK_V3: &str = "split [!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+";
const CHINESE_AND_KANA: &str = "split [\u{4e00}-\u{9fa5}\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+";
const LINE_BREAKS: &str = "split [\r\n]";
const CHINESE_AND_HANGUL: &str = "split [\u{4e00}-\u{9fa5}\u{800}-\u{4e00}\u{ac00}-\u{d7ff}]+";
const DEEPSEEK_PUNCTUATION: &str =
    "split \\s?[!-/:-~\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff5e}\u{2018}-\u{201f}\u{3000}-\u{3002}]+";
const DEEPSEEK_LETTERS: &str = concat!(
    "split \\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-",
    "\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}",
    "\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-",
    "\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-",
    "\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}",
    "\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-",
    "\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-",
    "\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}",
    "\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-",
    "\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-",
    "\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-",
    "\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}",
    "\u{1e900}-\u{1e943}]+",
);

const GLM_4: &[&str] = &[
    "Glm4ForCausalLM",
    "Glm4vForConditionalGeneration",
    "GlmForCausalLM",
    "Glm4MoeForCausalLM",
    "Glm4vMoeForConditionalGeneration",
    "Glm4MoeLiteForCausalLM",
    "GlmMoeDsaForCausalLM",
    "GlmOcrForConditionalGeneration",
    "Glm5NextForConditionalGeneration",
];
const CHAT_GLM: &[&str] = &["ChatGLMModel", "ChatGLMForConditionalGeneration"];
/// Families on OpenAI's cl100k vocabulary.
const CL100K: &[&str] = &[
    "DbrxForCausalLM",
    "Olmo2ForCausalLM",
    "Olmo3ForCausalLM",
    "Phi3ForCausalLM",
    "GraniteForCausalLM",
    "GraniteMoeForCausalLM",
    "GraniteMoeHybridForCausalLM",
    "GraniteMoeSharedForCausalLM",
];
const GEMMA_3: &[&str] = &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"];
const LLAMA_4: &[&str] = &["Llama4ForConditionalGeneration", "Llama4ForCausalLM"];

const fn row(name: &'static str, steps: &'static [&'static str], merges: Merges, when: fn(&Evidence) -> bool) -> Known {
    Known { name, steps, merges, when }
}

const ALWAYS: fn(&Evidence) -> bool = |_| true;

use Merges::{Apply, Either, Skip};

/// The table.
pub const KNOWN: &[Known] = &[
    row("glm4", &[LLAMA_3, BYTES], Either, |model| model.is(GLM_4)),
    row("chatglm-bpe", &[LLAMA_3, BYTES], Either, |model| model.is(CHAT_GLM)),
    // Llama 3's vocabulary where no token begins a text, as in SmolLM3
    row("smaug-bpe", &[LLAMA_3, BYTES], Either, |model| model.has("<|begin_of_text|>") && !model.begins_text()),
    row("dbrx", &[LLAMA_3, BYTES], Either, |model| model.is(CL100K)),
    row("llama-bpe", &[LLAMA_3, BYTES], Either, |model| model.has("<|begin_of_text|>")),
    row("llama-bpe", &[LLAMA_3, BYTES], Skip, ALWAYS),
    row("dbrx", &[LLAMA_3, BYTES], Apply, ALWAYS),
    row("tekken", &[TEKKEN, BYTES], Either, ALWAYS),
    row("llama4", &[GPT_4O, BYTES], Either, |model| model.is(LLAMA_4)),
    row("minimax-m2", &[GPT_4O, BYTES], Either, |model| model.is(&["MiniMaxM2ForCausalLM"])),
    row("gpt-4o", &[GPT_4O, BYTES], Either, ALWAYS),
    // Qwen's tokenizers distilled from DeepSeek R1 begin texts as DeepSeek's do
    row("deepseek-r1-qwen", &[QWEN_2, BYTES], Either, |model| {
        model.has("<\u{ff5c}begin\u{2581}of\u{2581}sentence\u{ff5c}>")
    }),
    row("stablelm2", &[QWEN_2, BYTES], Either, |model| model.is(&["StableLmForCausalLM"])),
    row("hunyuan", &[QWEN_2, BYTES], Either, |model| model.is(&["HunYuanMoEV1ForCausalLM"])),
    row("solar-open", &[QWEN_2, BYTES], Either, |model| model.is(&["SolarOpenForCausalLM"])),
    row("grok-2", &[QWEN_2, BYTES], Either, |model| model.is(&["Grok1ForCausalLM", "GrokForCausalLM"])),
    row("kormo", &[QWEN_2, BYTES], Either, |model| model.is(&["KORMoForCausalLM"])),
    row("qwen2", &[QWEN_2, BYTES], Either, ALWAYS),
    row("qwen35", &[QWEN_3_5, BYTES], Either, ALWAYS),
    // StarCoder 2, then the first StarCoder, whose vocabulary the reference knows by that of Refact and Granite
    row("starcoder", &[DIGITS, GPT_2_BYTES], Either, |model| model.has("<fim_prefix>") && model.has("<file_sep>")),
    row("refact", &[DIGITS, GPT_2_BYTES], Either, |model| model.has("<fim_prefix>") && model.has("<filename>")),
    row("command-r", &[DIGITS, GPT_2_BYTES], Either, |model| model.has("<|START_OF_TURN_TOKEN|>")),
    row("codeshell", &[DIGITS, GPT_2_BYTES], Either, |model| model.is(&["CodeShellForCausalLM"])),
    row("exaone", &[DIGITS, GPT_2_BYTES], Either, |model| model.is(&["ExaoneForCausalLM"])),
    row("smollm", &[DIGITS, GPT_2_BYTES], Either, ALWAYS),
    row("mpt", &[GPT_2_BYTES], Either, |model| model.is(&["MPTForCausalLM", "MptForCausalLM"])),
    row("jais", &[GPT_2_BYTES], Either, |model| model.is(&["JAISLMHeadModel"])),
    row("phi-2", &[GPT_2_BYTES], Either, |model| model.is(&["PhiForCausalLM"])),
    row("exaone4", &[GPT_2_BYTES], Either, |model| model.is(&["Exaone4ForCausalLM"])),
    row("modern-bert", &[GPT_2_BYTES], Either, |model| model.has("[MASK]") && model.has("[CLS]")),
    // GPT-NeoX's vocabulary, on which OLMo's and MPT's are
    row("olmo", &[GPT_2_BYTES], Either, |model| model.normalizes()),
    row("gpt-2", &[GPT_2_BYTES], Either, ALWAYS),
    row("hunyuan-dense", &[THREE_DIGITS, CHINESE_AND_KANA, DEEPSEEK_V3, BYTES], Either, |model| {
        model.is(&["HunYuanDenseV1ForCausalLM"])
    }),
    row("deepseek-v3", &[THREE_DIGITS, CHINESE_AND_KANA, DEEPSEEK_V3, BYTES], Either, ALWAYS),
    row(
        "deepseek-llm",
        &[LINE_BREAKS, DEEPSEEK_LETTERS, DEEPSEEK_PUNCTUATION, r"split \s+$", CHINESE_AND_HANGUL, DIGITS, BYTES],
        Either,
        ALWAYS,
    ),
    row(
        "deepseek-coder",
        &[LINE_BREAKS, r"split \s?\p{L}+", r"split \s?\p{P}+", CHINESE_AND_HANGUL, DIGITS, BYTES],
        Either,
        ALWAYS,
    ),
    // SentencePiece's way to write spaces in a tokenizer.json that is not byte-level; the reference knows Gemma 3's
    // vocabulary by that of a Granite embedding model
    row("granite-embed-multi-311m", &[SPACES_AS_LETTERS, SPLIT_AT_SPACES], Either, |model| model.is(GEMMA_3)),
    row("gemma4", &[SPACES_AS_LETTERS, SPLIT_AT_SPACES], Either, ALWAYS),
    row("falcon", &["punctuation runs", GPT_2_BYTES, DIGIT_RUNS, "split [0-9][0-9][0-9]"], Either, ALWAYS),
    row("jais-2", &[JAIS_2, BYTES], Either, ALWAYS),
    row("bailingmoe2", &[BAILING, BYTES], Either, |model| model.is(&["BailingMoeV2ForCausalLM"])),
    row("bailingmoe", &[BAILING, BYTES], Either, ALWAYS),
    row("exaone-moe", &[EXAONE_MOE, BYTES], Either, ALWAYS),
    row("minicpm5", &[THREE_DIGITS, MINICPM_5, BYTES], Either, ALWAYS),
    row("cohere2moe", &[COHERE_DIGITS, GPT_4O, BYTES], Either, |model| model.is(&["Cohere2MoeForCausalLM"])),
    row("tiny_aya", &[COHERE_DIGITS, GPT_4O, BYTES], Either, ALWAYS),
    row("seed-coder", &[SEED_CODER, BYTES], Either, ALWAYS),
];

/// Every name for byte-level BPE that llama.cpp loads, `tokenizer_pre` in src/llama-vocab.cpp.
pub const NAMES: &[&str] = &[
    "a.x-4.0",
    "afmoe",
    "bailingmoe",
    "bailingmoe2",
    "bloom",
    "chameleon",
    "chatglm-bpe",
    "codeshell",
    "cohere2moe",
    "command-r",
    "dbrx",
    "deepseek-coder",
    "deepseek-llm",
    "deepseek-r1-qwen",
    "deepseek-v3",
    "default",
    "exaone",
    "exaone-moe",
    "exaone4",
    "f2llmv2",
    "falcon",
    "falcon-h1",
    "falcon3",
    "gemma4",
    "gigachat",
    "glm4",
    "glm5",
    "gpt-2",
    "gpt-4o",
    "gpt3-finnish",
    "granite-docling",
    "granite-embed-multi-311m",
    "granite-embed-multi-97m",
    "grok-2",
    "hunyuan",
    "hunyuan-dense",
    "hy_v4",
    "jais",
    "jais-2",
    "jina-de",
    "jina-es",
    "jina-v1-en",
    "jina-v2-code",
    "jina-v2-de",
    "jina-v2-es",
    "jina-v5-nano",
    "joyai-llm",
    "kanana2",
    "kimi-k2",
    "kormo",
    "laguna",
    "lfm2",
    "llada-moe",
    "llama-bpe",
    "llama-v3",
    "llama3",
    "llama4",
    "megrez",
    "mellum",
    "mellum2",
    "midm-2.0",
    "minerva-7b",
    "minicpm5",
    "minimax-m2",
    "modern-bert",
    "mpt",
    "olmo",
    "phi-2",
    "pixtral",
    "poro-chat",
    "qwen2",
    "qwen35",
    "refact",
    "roberta-bpe",
    "sarvam-moe",
    "seed-coder",
    "smaug-bpe",
    "smollm",
    "solar-open",
    "spark2_5",
    "stablelm2",
    "starcoder",
    "superbpe",
    "talkie",
    "tekken",
    "tiny_aya",
    "trillion",
    "ufakzeka",
    "viking",
    "whitespace",
    "youtu",
];
