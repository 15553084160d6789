//! Tokens as tiktoken has them, bytes with a rank, and the merges that the ranks stand for.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::alphabet::letters_of;
use super::json::Merge;

/// Most bytes of one token. The longest published ones have 128; finding merges takes time by the square.
const LONGEST: usize = 256;

/// Most merges of a vocabulary. The largest published ones have 515 thousand.
const MOST_MERGES: usize = 1 << 21;

/// Tokens by rank.
#[derive(Debug)]
pub struct Ranks {
    tokens: Vec<Vec<u8>>,
    ranks: HashMap<Vec<u8>, u32>,
}

impl Ranks {
    /// Reads lines of a token in base64 and its rank. The error says what is wrong with which line.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut tokens: Vec<Option<Vec<u8>>> = Vec::new();
        let lines = text.split(|byte| *byte == b'\n').enumerate();
        let count = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
        tokens.resize_with(count, || None);
        for (number, line) in lines {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let wrong = |problem: &str| format!("line {}: {problem}", number + 1);
            let mut words = line.split(|byte| *byte == b' ');
            let (Some(token), Some(rank), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("not a token and its rank"));
            };
            let token = STANDARD.decode(token).map_err(|error| wrong(&format!("the token is not base64: {error}")))?;
            let rank: Option<usize> = std::str::from_utf8(rank).ok().and_then(|rank| rank.parse().ok());
            let rank = rank.ok_or_else(|| wrong("the rank is not a number"))?;
            let Some(place) = tokens.get_mut(rank) else {
                return Err(wrong(&format!("rank {rank}, but there are only {count} tokens")));
            };
            if place.replace(token).is_some() {
                return Err(wrong(&format!("rank {rank} is there already")));
            }
        }
        // as many tokens as ranks and no rank twice: none is missing
        Self::new(tokens.into_iter().flatten().collect())
    }

    /// Tokens in the order of their ranks. The error says what is wrong with which token.
    pub fn new(tokens: Vec<Vec<u8>>) -> Result<Self, String> {
        let mut ranks = HashMap::with_capacity(tokens.len());
        for (rank, token) in (0..).zip(&tokens) {
            if token.is_empty() || token.len() > LONGEST {
                let length = token.len();
                return Err(format!("the token of rank {rank} has {length} bytes, where 1 to {LONGEST} are expected"));
            }
            if let Some(other) = ranks.insert(token.clone(), rank) {
                return Err(format!("ranks {other} and {rank} have the same token"));
            }
        }
        if let Some(byte) = (0..=u8::MAX).find(|byte| !ranks.contains_key([*byte].as_slice())) {
            return Err(format!("the byte 0x{byte:02x} has no token"));
        }
        Ok(Self { tokens, ranks })
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens in letters, by rank.
    pub fn letters(&self) -> impl Iterator<Item = String> + '_ {
        self.tokens.iter().map(|token| letters_of(token))
    }

    /// For every token all pairs of tokens that make it, as transformers converts tiktoken files. A token without a
    /// pair has none. The error says that there are too many.
    pub fn all_merges(&self) -> Result<Vec<Merge>, String> {
        let mut merges = Vec::new();
        for rank in 0..self.tokens.len() {
            merges.extend(self.pairs(rank));
            if merges.len() > MOST_MERGES {
                return Err(format!("more than {MOST_MERGES} merges follow from the tokens"));
            }
        }
        Ok(merges)
    }

    /// The pairs that make the token of a rank, by the ranks of their sides.
    pub fn pairs(&self, rank: usize) -> Vec<Merge> {
        let token = &self.tokens[rank];
        let mut pairs = Vec::new();
        for at in 1..token.len() {
            let (left, right) = token.split_at(at);
            if let (Some(first), Some(second)) = (self.ranks.get(left), self.ranks.get(right)) {
                pairs.push(((*first, *second), at));
            }
        }
        pairs.sort_unstable();
        pairs.into_iter().map(|(_, at)| merge(token, at)).collect()
    }

    /// For every token of several bytes the pair that BPE merges last, as the reference converts Qwen's files. The
    /// error names a token that BPE does not reach.
    pub fn last_merges(&self) -> Result<Vec<Merge>, String> {
        let mut merges = Vec::new();
        for (rank, token) in (0..).zip(&self.tokens).filter(|(_, token)| token.len() > 1) {
            match self.cuts_before(token, rank).as_slice() {
                [at] => merges.push(merge(token, *at)),
                _ => return Err(format!("the token of rank {rank} is made of no two tokens of lower rank")),
            }
        }
        Ok(merges)
    }

    /// Where a token is cut once all merges of lower rank are done.
    fn cuts_before(&self, token: &[u8], rank: u32) -> Vec<usize> {
        // begin of every part, and the rank of the part merged with the next one
        let merged =
            |begin: usize, end: usize| self.ranks.get(&token[begin..end]).copied().filter(|rank_| *rank_ < rank);
        let mut parts: Vec<(usize, Option<u32>)> = (0..token.len())
            .map(|begin| (begin, if begin + 2 <= token.len() { merged(begin, begin + 2) } else { None }))
            .collect();
        loop {
            let lowest = (0..parts.len()).filter_map(|index| Some((parts[index].1?, index))).min();
            let Some((_, index)) = lowest else { break };
            parts.remove(index + 1);
            let begin_of = |part: usize| parts.get(part).map_or(token.len(), |(begin, _)| *begin);
            let pair =
                |part: usize| (part + 1 < parts.len()).then(|| merged(begin_of(part), begin_of(part + 2))).flatten();
            let before = index.checked_sub(1).map(|before| (before, pair(before)));
            let at = (index, pair(index));
            for (part, rank) in before.into_iter().chain([at]) {
                parts[part].1 = rank;
            }
        }
        parts.into_iter().skip(1).map(|(begin, _)| begin).collect()
    }
}

fn merge(token: &[u8], at: usize) -> Merge {
    let (left, right) = token.split_at(at);
    Merge(letters_of(left) + " " + &letters_of(right))
}

/// Whether a file has lines of a token in base64 and its rank: Llama 3 publishes such a file under SentencePiece's name.
pub fn is_ranks(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let base64 = |word: &[u8]| word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    let rank = |word: &[u8]| !word.is_empty() && word.trim_ascii_end().iter().all(u8::is_ascii_digit);
    words.next().is_some_and(base64) && words.next().is_some_and(rank) && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All bytes by value, then these tokens.
    fn ranks(tokens: &[&str]) -> Ranks {
        let bytes = (0..=u8::MAX).map(|byte| vec![byte]);
        Ranks::new(bytes.chain(tokens.iter().map(|token| token.as_bytes().to_vec())).collect()).unwrap()
    }

    fn texts(merges: &[Merge]) -> Vec<&str> {
        merges.iter().map(|merge| merge.0.as_str()).collect()
    }

    #[test]
    fn merges_follow_from_ranks() {
        let ranks = ranks(&["bc", "ab", "abc", " a"]);
        assert_eq!(texts(&ranks.all_merges().unwrap()), ["b c", "a b", "a bc", "ab c", "\u{120} a"]);
        // "bc" comes before "ab", so "abc" is "a" and "bc"
        assert_eq!(texts(&ranks.last_merges().unwrap()), ["b c", "a b", "a bc", "\u{120} a"]);
        assert!(super::tests::ranks(&["abc"]).last_merges().unwrap_err().contains("rank 256"));
    }
}
