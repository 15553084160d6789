//! Byte-level vocabularies in forms older than `tokenizer.json`, as the `tokenizer.json` that they stand for:
//! `vocab.json` with `merges.txt`, and tiktoken's ranks in a `tokenizer.model`.

use serde_json::json;

use super::json::{AddedToken, Model, TokenizerJson, Vocab};
use super::pre;
use super::ranks::{Ranks, is_ranks};
use super::{Files, TokenizerError, class};
use crate::checkpoint::SideFile;

/// What was read, and where the tokens stand.
pub struct Older {
    pub tokenizer: TokenizerJson,
    pub file: SideFile,
}

/// Reads whichever form is there.
pub fn read(files: &Files) -> Result<Option<Older>, TokenizerError> {
    if let Some(bytes) = files.checkpoint.bytes(SideFile::SentencePiece)?.filter(|bytes| is_ranks(bytes)) {
        let ranks = Ranks::parse(&bytes).map_err(|problem| files.invalid(SideFile::SentencePiece, problem))?;
        let tokenizer = of_ranks(files, &ranks).map_err(|problem| files.invalid(SideFile::SentencePiece, problem))?;
        return Ok(Some(Older { tokenizer, file: SideFile::SentencePiece }));
    }
    match files.checkpoint.json::<Vocab>(SideFile::Vocab)? {
        Some(vocab) => Ok(Some(Older { tokenizer: of_vocab(files, vocab), file: SideFile::Vocab })),
        None => Ok(None),
    }
}

fn of_vocab(files: &Files, vocab: Vocab) -> TokenizerJson {
    let class = class::of_files(files.tokenizer_config.as_ref(), files.config);
    let (normalizer, mut pre_tokenizer) = class.map(|class| (class.steps)()).unwrap_or_default();
    // StarCoder's vocabularies were trained on single digits, whatever the class does
    let is_starcoder = vocab.0.iter().any(|(token, _)| token == "<fim_prefix>");
    if class.is_some_and(class::Class::is_gpt_2) && is_starcoder {
        pre_tokenizer = class::sequence([class::digits(), pre_tokenizer]);
    }
    TokenizerJson {
        normalizer,
        pre_tokenizer,
        decoder: json!({"type": "ByteLevel"}),
        model: Model { kind: Some("BPE".to_owned()), vocab, ..Model::default() },
        ..TokenizerJson::default()
    }
}

fn of_ranks(files: &Files, ranks: &Ranks) -> Result<TokenizerJson, String> {
    // llama_models/*/tokenizer.py has these; other files name their tokens in tokenizer_config.json, and no file of
    // this form says how text is cut
    let published = LLAMA.iter().find(|llama| llama.ranks == ranks.len());
    let named = files.tokenizer_setting("added_tokens_decoder").is_some();
    let special = published.filter(|_| !named).map(special_tokens).unwrap_or_default();
    let first = ranks.len() as u32;
    let added = (first..).zip(&special).map(|(id, text)| AddedToken { id: Some(id), ..AddedToken::special(text) });
    let pattern = match published {
        Some(llama) => Some(llama.pattern),
        None if files.config["model_type"].as_str().is_some_and(|name| name.contains("glm")) => Some(pre::LLAMA_3),
        None => None,
    };
    let steps = pattern.map(|split| class::sequence([pre::split(split), class::bytes(false)]));
    let begins = published.map(|_| json!({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": BEGIN}}]}));
    Ok(TokenizerJson {
        added_tokens: Some(added.collect()),
        pre_tokenizer: steps.unwrap_or_default(),
        post_processor: begins.unwrap_or_default(),
        decoder: json!({"type": "ByteLevel"}),
        model: Model {
            kind: Some("BPE".to_owned()),
            vocab: Vocab(ranks.letters().zip(0..).collect()),
            merges: Some(ranks.all_merges()?),
            ignore_merges: Some(true),
            ..Model::default()
        },
        ..TokenizerJson::default()
    })
}

const BEGIN: &str = "<|begin_of_text|>";

/// A vocabulary that Llama publishes in this form, with special tokens that stand in no file.
struct Llama {
    /// Tokens in the file.
    ranks: usize,
    /// How text is cut.
    pattern: &'static str,
    special: &'static [Special],
    /// Special tokens in all; the rest are reserved ones from this number on.
    total: u32,
    reserved: u32,
}

/// One special token, or numbered ones.
enum Special {
    One(&'static str),
    /// Begin of the name, first and last number.
    Reserved(&'static str, u32, u32),
}

use Special::{One, Reserved};

const LLAMA: &[Llama] = &[
    Llama {
        ranks: 128_000,
        pattern: pre::LLAMA_3,
        special: &[
            One(BEGIN),
            One("<|end_of_text|>"),
            Reserved("", 0, 1),
            One("<|finetune_right_pad_id|>"),
            One("<|step_id|>"),
            One("<|start_header_id|>"),
            One("<|end_header_id|>"),
            One("<|eom_id|>"),
            One("<|eot_id|>"),
            One("<|python_tag|>"),
            One("<|image|>"),
        ],
        total: 256,
        reserved: 2,
    },
    Llama {
        ranks: 200_000,
        pattern: pre::GPT_4O,
        special: &[
            One(BEGIN),
            One("<|end_of_text|>"),
            One("<|fim_prefix|>"),
            One("<|fim_middle|>"),
            One("<|fim_suffix|>"),
            One("<|header_start|>"),
            One("<|header_end|>"),
            One("<|eom|>"),
            One("<|eot|>"),
            One("<|step|>"),
            Reserved("text_post_train_", 0, 5),
            One("<|python_start|>"),
            One("<|python_end|>"),
            One("<|finetune_right_pad|>"),
            Reserved("text_post_train_", 8, 68),
            One("<|image_start|>"),
            One("<|image_end|>"),
            Reserved("vision_", 0, 1),
            One("<|tile_x_separator|>"),
            One("<|tile_y_separator|>"),
            Reserved("vision_", 2, 5),
            One("<|image|>"),
            Reserved("vision_", 6, 6),
            One("<|patch|>"),
            Reserved("vision_", 7, 1047),
            Reserved("reasoning_", 0, 7),
            One("<|reasoning_thinking_start|>"),
            One("<|reasoning_thinking_end|>"),
        ],
        total: 2048,
        reserved: 0,
    },
];

fn special_tokens(llama: &Llama) -> Vec<String> {
    let mut tokens = Vec::new();
    for special in llama.special {
        match special {
            One(text) => tokens.push((*text).to_owned()),
            Reserved(name, first, last) => {
                tokens.extend((*first..=*last).map(|i| format!("<|{name}reserved_special_token_{i}|>")));
            }
        }
    }
    let numbers = (llama.reserved..).take(llama.total as usize - tokens.len());
    tokens.extend(numbers.map(|i| format!("<|reserved_special_token_{i}|>")));
    tokens
}
