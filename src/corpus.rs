//! Text as sequences of equal length: what llama-perplexity and llama-imatrix call chunks.

use std::path::{Path, PathBuf};

use weightmill_formats::Metadata;

use crate::tokenizer::{EncodeError, Encoder};

/// Tokens per sequence unless told otherwise, as in llama-perplexity and llama-imatrix.
pub const DEFAULT_CONTEXT: usize = 512;

/// Texts that come with the program: prose, the Universal Declaration of Human Rights in 50 languages, programs in some
/// twenty, conversations with the marks of several chat templates, data. `src/corpus/calibration` has the scripts that wrote them.
const DEFAULT_TEXTS: [(&str, &str); 5] = [
    ("default/prose.txt", include_str!("corpus/calibration/prose.txt")),
    ("default/declaration.txt", include_str!("corpus/calibration/declaration.txt")),
    ("default/code.txt", include_str!("corpus/calibration/code.txt")),
    ("default/dialogue.txt", include_str!("corpus/calibration/dialogue.txt")),
    ("default/data.txt", include_str!("corpus/calibration/data.txt")),
];

/// Tokens per sequence up to which every one of the texts is long enough.
const SEPARATE: usize = 2048;

/// Why a text cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CorpusError {
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{name}: {tokens} tokens are less than one sequence of {context}; give more text, or a smaller --context")]
    TooShort { name: String, tokens: usize, context: usize },
    #[error("{name}: token {token} is none of the model's {vocabulary}; tokenizer and embedding disagree")]
    Token { name: String, token: u32, vocabulary: usize },
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// A text and what it is called in reports.
#[derive(Clone, Debug)]
pub struct Text {
    /// As the user named it.
    pub name: String,
    /// The text; what is no UTF-8 stands as U+FFFD.
    pub content: String,
}

impl Text {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let bytes = std::fs::read(path).map_err(|error| CorpusError::Read { path: path.to_owned(), error })?;
        let content = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { name: path.display().to_string(), content })
    }

    /// What to calibrate on where the user names nothing: 213 kB in many languages, with code. For long sequences of `context`
    /// tokens it is one text, else several whose sequences take turns.
    pub fn defaults(context: usize) -> Vec<Self> {
        if context > SEPARATE {
            let content = DEFAULT_TEXTS.map(|(_, content)| content).join("\n");
            return vec![Self { name: "default".to_owned(), content }];
        }
        DEFAULT_TEXTS.map(|(name, content)| Self { name: name.to_owned(), content: content.to_owned() }).into()
    }
}

/// Tokens of all texts, in sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corpus {
    /// Tokens per sequence.
    pub context: usize,
    /// All sequences one after the other.
    pub tokens: Vec<u32>,
}

impl Corpus {
    /// Tokenizes `texts` with the tokenizer in `metadata` and cuts each into sequences of `context` tokens. What is left at
    /// its end is dropped, and where the model wants a token that begins a text, it takes the place of every sequence's first.
    /// Sequences of several texts take turns; at most `limit` are kept.
    ///
    /// # Errors
    /// If there is no usable tokenizer, if a text is too short, or if a token is beyond the `vocabulary`.
    pub fn of(
        texts: &[Text],
        metadata: &Metadata,
        vocabulary: usize,
        context: usize,
        limit: Option<usize>,
    ) -> Result<Self, CorpusError> {
        let encoder = Encoder::of(metadata)?;
        let mut encoded = Vec::with_capacity(texts.len());
        for Text { name, content } in texts {
            let tokens = encoder.encode(content)?;
            if tokens.len() < context {
                return Err(CorpusError::TooShort { name: name.clone(), tokens: tokens.len(), context });
            }
            if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
                return Err(CorpusError::Token { name: name.clone(), token: *token, vocabulary });
            }
            encoded.push(tokens);
        }
        let longest = encoded.iter().map(Vec::len).max().unwrap_or(0) / context;
        let turns = (0..longest)
            .flat_map(|turn| encoded.iter().filter_map(move |tokens| tokens.get(turn * context..(turn + 1) * context)));
        let mut tokens: Vec<u32> = turns.take(limit.unwrap_or(usize::MAX)).flatten().copied().collect();
        if let Some(begin) = encoder.begin() {
            tokens.iter_mut().step_by(context).for_each(|token| *token = begin);
        }
        Ok(Self { context, tokens })
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.tokens.len() / self.context.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_texts_are_varied_and_no_longer_than_they_should_be() {
        let texts = Text::defaults(DEFAULT_CONTEXT);
        let bytes: usize = texts.iter().map(|text| text.content.len()).sum();
        assert!((150_000..=300_000).contains(&bytes), "{bytes}");
        let lines: Vec<&str> = texts.iter().flat_map(|text| text.content.lines()).collect();
        let long = lines.iter().filter(|line| line.len() > 40);
        let distinct: std::collections::HashSet<_> = long.clone().collect();
        assert!(distinct.len() * 100 >= long.count() * 98, "the same lines again and again");
        for script in
            ['\u{41f}', '\u{4eba}', '\u{627}', '\u{915}', '\u{e01}', '\u{ad6d}', '\u{5d0}', '\u{3b1}', '{', '\t']
        {
            assert!(texts.iter().any(|text| text.content.contains(script)), "{script}");
        }
        let whole = Text::defaults(8192);
        assert!(whole.len() == 1 && whole[0].content.len() >= bytes);
    }
}
