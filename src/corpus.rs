//! Text as sequences of equal length: what llama-perplexity and llama-imatrix call chunks.

use std::path::{Path, PathBuf};

use weightmill_formats::Metadata;

use crate::tokenizer::{EncodeError, Encoder};

/// Tokens per sequence unless told otherwise, as in llama-perplexity and llama-imatrix.
pub const DEFAULT_CONTEXT: usize = 512;

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
