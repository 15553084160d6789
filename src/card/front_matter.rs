//! The YAML between the `---` lines at the head of a model card, read as PyYAML's safe loader reads it (YAML 1.1).
//!
//! The parser is saphyr's; which plain scalars are no strings (`no`, `1.0`, `2024-01-01`) is decided here, because
//! YAML 1.2 decides otherwise. Every use of an alias is counted, so that no card expands beyond [`MAX_COST`].

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use saphyr_parser::{Event, Parser, ScalarStyle};

/// Most that a card may hold, aliases expanded: a node costs 1, and 1 more for every 32 bytes of its text.
/// Published cards cost a few hundred, the longest lists of languages and data sets a few thousand.
const MAX_COST: usize = 200_000;
/// Deepest nesting; cards need three levels, evaluation results (`model-index`) about eight.
const MAX_DEPTH: usize = 100;

/// A node of the card.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    String(String),
    /// A plain scalar that YAML 1.1 does not take for a string, and its text.
    Other(Kind, String),
    List(Vec<Node>),
    /// Entries by key; keys that are no strings are left out, of equal keys the last one counts.
    Mapping(Mapping),
}

/// What a plain scalar is, if not a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool(bool),
    Int,
    Float,
    Timestamp,
}

impl Kind {
    /// True for `false` and zero, which Python's truth takes for nothing.
    pub(super) fn is_falsy(self, text: &str) -> bool {
        match self {
            Kind::Bool(value) => !value,
            // Every digit is zero, in whatever base or notation.
            Kind::Int | Kind::Float => {
                let mantissa = text.trim_start_matches(['-', '+']);
                let mantissa =
                    mantissa.strip_prefix("0x").unwrap_or_else(|| mantissa.split(['e', 'E']).next().unwrap_or(""));
                mantissa.chars().all(|c| matches!(c, '0' | '.' | '_' | 'b' | ':'))
            }
            Kind::Timestamp => false,
        }
    }
}

pub(super) type Mapping = HashMap<String, Node>;

/// Reads the front matter of a card. A card without one is an empty mapping; the error says why it cannot be read.
pub(super) fn parse(readme: &str) -> Result<Mapping, String> {
    let Some(yaml) = extract(readme) else { return Ok(Mapping::new()) };
    match Tree::default().load(&yaml)? {
        Some(Node::Mapping(mapping)) => Ok(mapping),
        None | Some(Node::Null) => Ok(Mapping::new()),
        Some(_) => Err("it is not a mapping of keys to values".to_owned()),
    }
}

/// The lines between the `---` lines (to the end of the text if the second is missing), with two repairs that
/// gguf-py makes: tabs become spaces, and the language `- no` stays a string.
fn extract(readme: &str) -> Option<String> {
    let mut lines = python_lines(readme);
    lines.next().filter(|&line| line == "---")?;
    let mut yaml = String::new();
    for line in lines.take_while(|&line| line != "---") {
        yaml.push_str(line);
        yaml.push('\n');
    }
    Some(yaml.replace("- no\n", "- \"no\"\n").replace('\t', "  "))
}

/// Lines as Python's `str.splitlines` finds them.
fn python_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let breaks =
            |c| matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
        let Some((at, c)) = rest.char_indices().find(|&(_, c)| breaks(c)) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, after) = rest.split_at(at);
        rest = after.strip_prefix("\r\n").unwrap_or(&after[c.len_utf8()..]);
        Some(line)
    })
}

/// A collection that is not closed yet.
enum Open {
    List(Vec<Node>),
    /// Entries, and the key whose value comes next.
    Mapping(Mapping, Option<Node>),
}

#[derive(Default)]
struct Tree {
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    cost: usize,
}

impl Tree {
    /// Builds the one document of `yaml`; `None` if there is none.
    fn load(mut self, yaml: &str) -> Result<Option<Node>, String> {
        for event in Parser::new_from_str(yaml) {
            match event.map_err(|error| error.to_string())?.0 {
                Event::DocumentStart(_) if self.root.is_some() => return Err("it holds several documents".to_owned()),
                Event::Scalar(text, style, anchor, tag) => {
                    let plain = style == ScalarStyle::Plain && tag.is_none();
                    let node = if plain { resolve(&text) } else { Node::String(text.into_owned()) };
                    self.charge(cost(&node))?;
                    self.add(node, anchor)?;
                }
                Event::Alias(anchor) => {
                    self.charge(self.anchors.get(&anchor).map_or(0, cost))?;
                    let node =
                        self.anchors.get(&anchor).cloned().ok_or("an alias names a value that is not complete")?;
                    self.add(node, 0)?;
                }
                Event::SequenceStart(anchor, _) => self.open(Open::List(Vec::new()), anchor)?,
                Event::MappingStart(anchor, _) => self.open(Open::Mapping(Mapping::new(), None), anchor)?,
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some((Open::List(items), anchor)) => self.add(Node::List(items), anchor)?,
                    Some((Open::Mapping(entries, _), anchor)) => self.add(Node::Mapping(entries), anchor)?,
                    None => {}
                },
                _ => {}
            }
        }
        Ok(self.root)
    }

    fn open(&mut self, collection: Open, anchor: usize) -> Result<(), String> {
        if self.open.len() == MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        self.charge(1)?;
        self.open.push((collection, anchor));
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), String> {
        if anchor > 0 {
            // The copy that the anchor keeps is charged like any other.
            self.charge(cost(&node))?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Open::List(items), _)) => items.push(node),
            Some((Open::Mapping(entries, key), _)) => match key.take() {
                None => *key = Some(node),
                Some(Node::String(name)) => {
                    entries.insert(name, node);
                }
                Some(_) => {}
            },
        }
        Ok(())
    }

    fn charge(&mut self, cost: usize) -> Result<(), String> {
        self.cost += cost;
        if self.cost > MAX_COST { Err("it is too large".to_owned()) } else { Ok(()) }
    }
}

fn cost(node: &Node) -> usize {
    let text = |text: &str| 1 + text.len() / 32;
    match node {
        Node::Null => 1,
        Node::String(string) | Node::Other(_, string) => text(string),
        Node::List(items) => 1 + items.iter().map(cost).sum::<usize>(),
        Node::Mapping(entries) => 1 + entries.iter().map(|(key, value)| text(key) + cost(value)).sum::<usize>(),
    }
}

/// What a plain scalar means in YAML 1.1 (<https://yaml.org/type/>), in the forms that PyYAML knows.
fn resolve(text: &str) -> Node {
    static OTHERS: LazyLock<[(Kind, Regex); 3]> = LazyLock::new(|| {
        let regex = |forms: &[&str]| Regex::new(&format!("^(?:{})$", forms.join("|"))).expect("constant pattern");
        [
            (
                Kind::Float,
                regex(&[
                    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?",
                    r"\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?",
                    r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*",
                    r"[-+]?\.(?:inf|Inf|INF)",
                    r"\.(?:nan|NaN|NAN)",
                ]),
            ),
            (
                Kind::Int,
                regex(&[
                    "[-+]?0b[0-1_]+",
                    "[-+]?0[0-7_]+",
                    "[-+]?(?:0|[1-9][0-9_]*)",
                    "[-+]?0x[0-9a-fA-F_]+",
                    "[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+",
                ]),
            ),
            (
                Kind::Timestamp,
                regex(&[
                    "[0-9]{4}-[0-9]{2}-[0-9]{2}",
                    r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?",
                ]),
            ),
        ]
    });
    let other = |kind| Node::Other(kind, text.to_owned());
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => other(Kind::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => other(Kind::Bool(false)),
        _ => match OTHERS.iter().find(|(_, regex)| regex.is_match(text)) {
            Some(&(kind, _)) => other(kind),
            None => Node::String(text.to_owned()),
        },
    }
}
