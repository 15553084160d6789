//! What the name of a model says: `TinyLlama-1.1B-Chat-v1.0` is basename, size, finetune and version.
//!
//! The rules are those of gguf-py's `get_model_id_components`, kept for equal metadata, oddities included.

use std::sync::LazyLock;

use regex::Regex;

/// Parts of a Hugging Face model identifier, `organization/name` or a bare name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ModelId {
    /// The whole name, without the organization.
    pub name: String,
    pub organization: Option<String>,
    pub basename: Option<String>,
    pub finetune: Option<String>,
    pub version: Option<String>,
    pub size_label: Option<String>,
}

/// What one dash-separated part of a name was taken for. A part can be several things at once.
#[derive(Clone, Copy, Default)]
struct Roles {
    basename: bool,
    size_label: bool,
    finetune: bool,
    version: bool,
    /// A quantization type, which belongs to no field.
    dtype: bool,
}

impl Roles {
    fn count(self) -> usize {
        [self.basename, self.size_label, self.finetune, self.version, self.dtype].into_iter().filter(|&r| r).count()
    }
}

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("(?i)^(?:{pattern})$")).expect("constant pattern")
}

static VERSION: LazyLock<Regex> = LazyLock::new(|| whole(r"(v|iter)?\d+([.]\d+)*"));
static DTYPE: LazyLock<Regex> = LazyLock::new(|| whole(r"i?q\d(_\w)*|b?fp?(16|32)"));
static SIZE: LazyLock<Regex> =
    LazyLock::new(|| whole(r"([A]|\d+[x])?\d+([._]\d+)?[KMBT]\d?|small|mini|medium|large|x?xl"));
static FINETUNE: LazyLock<Regex> = LazyLock::new(|| whole("chat|instruct|vision|lora"));

impl ModelId {
    /// Takes `id` apart. `weights` is the size of the model at hand: a size in the name that is far from it is
    /// rather a context length, and goes to the finetune.
    pub fn parse(id: &str, weights: u64) -> Self {
        if id.contains(' ') {
            return Self { name: id.to_owned(), ..Self::default() };
        }
        let (organization, name) = match id.split_once('/') {
            Some((organization, name)) => (Some(organization).filter(|o| !o.starts_with('.')), name),
            None => (None, id),
        };
        let mut parts: Vec<(String, Roles)> = name
            .split('-')
            .filter(|part| !part.is_empty())
            .enumerate()
            .map(|(i, part)| annotate(part, i == 0, weights))
            .collect();
        drop_word_sizes(&mut parts);
        mark_basename(&mut parts);

        let join = |wanted: fn(Roles) -> bool| {
            let chosen: Vec<&str> = parts.iter().filter(|(_, r)| wanted(*r)).map(|(part, _)| part.as_str()).collect();
            Some(chosen).filter(|c| !c.is_empty())
        };
        let size_label = join(|r| r.size_label).map(|sizes| {
            let mut seen = Vec::new();
            sizes.into_iter().for_each(|size| {
                if !seen.contains(&size) {
                    seen.push(size);
                }
            });
            seen.join("-")
        });
        let finetune = join(|r| r.finetune).map(|p| p.join("-"));
        let version = join(|r| r.version && !r.basename).map(|p| p.join("-"));
        // A basename alone would only repeat the name.
        let told = size_label.is_some() || finetune.is_some() || version.is_some();
        let basename = join(|r| r.basename).filter(|_| told).map(|p| p.join("-"));
        Self {
            name: name.to_owned(),
            organization: organization.map(str::to_owned),
            basename,
            finetune,
            version,
            size_label,
        }
    }
}

fn annotate(part: &str, first: bool, weights: u64) -> (String, Roles) {
    let mut roles = Roles::default();
    let mut part = part.to_owned();
    if VERSION.is_match(&part) {
        roles.version = true;
    } else if DTYPE.is_match(&part) {
        roles.dtype = true;
        part = part.to_uppercase();
    } else if !first && SIZE.is_match(&part) {
        let context_length;
        (part, context_length) = size(&part, weights);
        roles.finetune = context_length;
        roles.size_label = !context_length;
    } else if !first && FINETUNE.is_match(&part) {
        roles.finetune = true;
    }
    (part, roles)
}

/// Normalizes a part that looks like a size (`7b` to `7B`, `7b1` to `7.1B`); true when it is rather a context length.
fn size(part: &str, weights: u64) -> (String, bool) {
    let mut chars: Vec<char> = part.replace('_', ".").chars().collect();
    let n = chars.len();
    if chars[n - 1].is_numeric() {
        // 7b1: the digit after the suffix is the fraction
        chars.splice(n - 2.., ['.', chars[n - 1], chars[n - 2]]);
    }
    let n = chars.len();
    if n > 1 && chars[n - 2].is_numeric() && "kmbt".contains(chars[n - 1]) {
        chars[n - 1] = chars[n - 1].to_ascii_uppercase();
    }
    let number: String = chars[..n - 1].iter().collect();
    let mut context_length = false;
    if let (true, Ok(number)) = (weights != 0, number.parse::<f64>()) {
        let exponent = "KMBT".chars().position(|c| c == chars[n - 1]).map_or(-1, |i| i as i32 + 1);
        let labelled = number * 1000f64.powi(exponent);
        let tolerance = (u128::from(weights) * 7 / 8) as f64;
        context_length = (labelled - weights as f64).abs() > tolerance;
    }
    if context_length {
        chars[n - 1] = chars[n - 1].to_ascii_lowercase();
    }
    (chars.into_iter().collect(), context_length)
}

/// Where one part tells the size as a number, words such as `small` tell something else.
fn drop_word_sizes(parts: &mut [(String, Roles)]) {
    let numeric = parts.iter().any(|(part, roles)| roles.size_label && part.chars().any(char::is_numeric));
    for (part, roles) in parts {
        if numeric && part.chars().all(char::is_alphabetic) {
            roles.size_label = false;
        }
    }
}

/// The basename is the run of unexplained words and versions at the start, less the versions that end the name.
fn mark_basename(parts: &mut [(String, Roles)]) {
    let mut at_start = true;
    for (part, roles) in parts.iter_mut() {
        let word = roles.count() == 0 && part.starts_with(char::is_alphabetic);
        if at_start && (word || roles.version) {
            roles.basename = true;
        } else {
            at_start = false;
            roles.finetune |= roles.count() == 0;
        }
    }
    for (_, roles) in parts.iter_mut().rev() {
        if !(roles.basename && roles.count() > 1) {
            break;
        }
        roles.basename = false;
    }
}

/// A name for people: dashes become spaces, and words in lower case that are no versions get a capital letter.
pub(super) fn title(id: &str) -> String {
    static AS_IS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^(?:v\d+(?:\.\d+)*|\d.*)$").expect("constant"));
    // What Python's str.split takes for white space.
    let space = |c: char| c == '-' || c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    let words: Vec<String> = id
        .split(space)
        .filter(|word| !word.is_empty())
        .map(|word| if lower_case(word) && !AS_IS.is_match(word) { capitalize(word) } else { word.to_owned() })
        .collect();
    words.join(" ")
}

fn titlecase_letter(c: char) -> bool {
    // General category Lt; neither upper nor lower case in Rust's terms.
    matches!(c, '\u{1c5}' | '\u{1c8}' | '\u{1cb}' | '\u{1f2}' | '\u{1f88}'..='\u{1f8f}' | '\u{1f98}'..='\u{1f9f}')
        || matches!(c, '\u{1fa8}'..='\u{1faf}' | '\u{1fbc}' | '\u{1fcc}' | '\u{1ffc}')
}

/// Python's `str.islower`: some letter has case, and none is in upper case.
fn lower_case(word: &str) -> bool {
    word.chars().any(char::is_lowercase) && !word.chars().any(|c| c.is_uppercase() || titlecase_letter(c))
}

/// Python's `str.title` for a word in lower case: a capital after everything that has no case.
fn capitalize(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    let mut after_letter = false;
    for c in word.chars() {
        let cased = c.is_lowercase();
        match c {
            _ if !cased || after_letter => out.push(c),
            // The digraphs that are one letter: Dž, Lj, Nj, Dz.
            '\u{1c6}' => out.push('\u{1c5}'),
            '\u{1c9}' => out.push('\u{1c8}'),
            '\u{1cc}' => out.push('\u{1cb}'),
            '\u{1f3}' => out.push('\u{1f2}'),
            // Georgian has capital letters but no title case.
            '\u{10d0}'..='\u{10ff}' => out.push(c),
            _ => {
                let mut upper = c.to_uppercase();
                out.extend(upper.next());
                out.extend(upper.flat_map(char::to_lowercase));
            }
        }
        after_letter = cased;
    }
    out
}
