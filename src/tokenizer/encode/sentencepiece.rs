//! SentencePiece's BPE: of all neighbours that form a token, those whose token has the highest score merge first, the
//! leftmost of equals.
//!
//! Fact: `llm_tokenizer_spm_session` of llama.cpp, to whose result this agrees token by token.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use weightmill_formats::{Array, Metadata, Value};

use super::super::TokenType;
use super::EncodeError;

const TOKENS: &str = "tokenizer.ggml.tokens";
const SCORES: &str = "tokenizer.ggml.scores";
const TYPES: &str = "tokenizer.ggml.token_type";

/// How spaces are written in tokens.
const SPACE: &str = "\u{2581}";

/// A vocabulary with scores.
pub(super) struct SentencePiece {
    ids: HashMap<String, u32>,
    scores: Vec<f32>,
    /// Tokens of single bytes; where one is missing the token for what is unknown.
    bytes: [u32; 256],
    /// Tokens that are recognised in the text as it is, the longest first.
    defined: Vec<(String, u32)>,
    /// A text begins as if there were a space before it.
    leading_space: bool,
}

/// A piece of text that has not been merged any further.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    /// 0 once it is part of the piece before.
    length: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that form a token.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl SentencePiece {
    pub fn of(metadata: &Metadata) -> Result<Self, EncodeError> {
        let (Some(Value::Array(Array::String(tokens))), Some(Value::Array(Array::F32(scores)))) =
            (metadata.get(TOKENS), metadata.get(SCORES))
        else {
            return Err(EncodeError::Key { key: if metadata.get(TOKENS).is_none() { TOKENS } else { SCORES } });
        };
        let Some(Value::Array(Array::I32(types))) = metadata.get(TYPES) else {
            return Err(EncodeError::Key { key: TYPES });
        };
        if scores.len() != tokens.len() || types.len() != tokens.len() {
            return Err(EncodeError::Key { key: SCORES });
        }
        let numbered = || (0u32..).zip(tokens);
        let ids: HashMap<String, u32> = numbered().map(|(id, token)| (token.clone(), id)).collect();
        let unknown = metadata.unsigned("tokenizer.ggml.unknown_token_id").unwrap_or(0) as u32;
        let mut bytes = [unknown; 256];
        for (byte, token) in bytes.iter_mut().enumerate() {
            if let Some(id) = ids.get(&format!("<0x{byte:02X}>")) {
                *token = *id;
            }
        }
        let is_defined = |id: u32| types[id as usize] == TokenType::UserDefined as i32;
        let mut defined: Vec<(String, u32)> = numbered()
            .filter(|(id, token)| is_defined(*id) && !token.is_empty())
            .map(|(id, t)| (t.clone(), id))
            .collect();
        defined.sort_by_key(|(token, _)| std::cmp::Reverse(token.len()));
        let leading_space = !matches!(metadata.get("tokenizer.ggml.add_space_prefix"), Some(Value::Bool(false)));
        Ok(Self { ids, scores: scores.clone(), bytes, defined, leading_space })
    }

    /// Appends the tokens of `text`.
    pub fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut after_token = true;
        for fragment in self.fragments(text) {
            match fragment {
                Ok(token) => {
                    tokens.push(token);
                    after_token = true;
                }
                Err(text) => {
                    let prefix = if self.leading_space && after_token { " " } else { "" };
                    self.merge(&format!("{prefix}{text}").replace(' ', SPACE), tokens);
                    after_token = false;
                }
            }
        }
    }

    /// Defined tokens, and what lies between them.
    fn fragments<'a>(&self, text: &'a str) -> Vec<Result<u32, &'a str>> {
        let mut fragments = vec![Err(text)];
        for (token, id) in &self.defined {
            if !text.contains(token.as_str()) {
                continue;
            }
            let mut divided = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                let Err(mut rest) = fragment else {
                    divided.push(fragment);
                    continue;
                };
                while let Some(at) = rest.find(token.as_str()) {
                    if at > 0 {
                        divided.push(Err(&rest[..at]));
                    }
                    divided.push(Ok(*id));
                    rest = &rest[at + token.len()..];
                }
                if !rest.is_empty() {
                    divided.push(Err(rest));
                }
            }
            fragments = divided;
        }
        fragments
    }

    fn merge(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut pieces: Vec<Piece> = Vec::with_capacity(text.len());
        for (number, (start, letter)) in text.char_indices().enumerate() {
            let length = letter.len_utf8();
            let next = (start + length < text.len()).then_some(number + 1);
            pieces.push(Piece { start, length, previous: number.checked_sub(1), next });
        }
        let mut queue = BinaryHeap::new();
        let pair = |pieces: &[Piece], left: usize, right: usize| {
            let (start, length) = (pieces[left].start, pieces[left].length + pieces[right].length);
            let id = *self.ids.get(&text[start..start + length])?;
            Some(Pair { score: self.scores[id as usize], left, right, length })
        };
        queue.extend((1..pieces.len()).filter_map(|right| pair(&pieces, right - 1, right)));
        while let Some(Pair { left, right, length, .. }) = queue.pop() {
            let (a, b) = (pieces[left], pieces[right]);
            if a.length == 0 || b.length == 0 || a.length + b.length != length {
                continue;
            }
            pieces[left] = Piece { length, next: b.next, ..a };
            pieces[right].length = 0;
            if let Some(next) = b.next {
                pieces[next].previous = Some(left);
                queue.extend(pair(&pieces, left, next));
            }
            if let Some(previous) = a.previous {
                queue.extend(pair(&pieces, previous, left));
            }
        }
        let mut next = if pieces.is_empty() { None } else { Some(0) };
        while let Some(number) = next {
            let Piece { start, length, next: following, .. } = pieces[number];
            let text = &text[start..start + length];
            match self.ids.get(text) {
                Some(id) => tokens.push(*id),
                None => tokens.extend(text.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
            next = following;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(tokens: &[(&str, f32, TokenType)]) -> SentencePiece {
        let mut metadata = Metadata::new();
        metadata.set(TOKENS, tokens.iter().map(|(token, _, _)| (*token).to_owned()).collect::<Vec<String>>());
        metadata.set(SCORES, tokens.iter().map(|(_, score, _)| *score).collect::<Vec<f32>>());
        metadata.set(TYPES, tokens.iter().map(|(_, _, kind)| *kind as i32).collect::<Vec<i32>>());
        SentencePiece::of(&metadata).unwrap()
    }

    fn encode(model: &SentencePiece, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        model.encode(text, &mut tokens);
        tokens
    }

    #[test]
    fn the_best_pair_merges_first() {
        use TokenType::{Byte, Normal, Unknown, UserDefined};
        let model = model(&[
            ("<unk>", 0.0, Unknown),
            ("\u{2581}", -9.0, Normal),
            ("a", -9.0, Normal),
            ("b", -9.0, Normal),
            ("ab", -2.0, Normal),
            ("\u{2581}a", -1.0, Normal),
            ("<0x63>", 0.0, Byte),
            ("\n\n", -9.0, UserDefined),
        ]);
        // the space takes the letter before the next one can
        assert_eq!(encode(&model, "ab"), [5, 3]);
        assert_eq!(encode(&model, "aab"), [5, 4]);
        // a byte without a letter, and one without a token
        assert_eq!(encode(&model, "cd"), [1, 6, 0]);
        // a text begins anew after a token that was recognised
        assert_eq!(encode(&model, "b\n\na"), [1, 3, 7, 5]);
        assert_eq!(encode(&model, ""), [1]);
    }
}
