//! Name, author, licence, origins, tags and languages of a model.

use std::sync::LazyLock;

use regex::Regex;
use weightmill_formats::{Array, Metadata, Value};

use super::Sources;
use super::front_matter::{Kind, Mapping, Node};
use super::name::{ModelId, title};

/// Keys that hold one string: key under `general.`, and the card's keys for it, the first non-null one counts.
/// In the order of the file.
const FIELDS: [(&str, &[&str]); 15] = [
    ("name", &["name", "model_name"]),
    ("author", &["author", "model_author", "model_creator"]),
    ("version", &["version", "model_version"]),
    ("organization", &["organization", "model_organization"]),
    ("finetune", &["finetune", "model_finetune"]),
    ("basename", &["basename", "model_basename", "model_type"]),
    ("description", &["description", "model_description"]),
    ("size_label", &["size_label", "model_size_label"]),
    ("license", &["license"]),
    ("license.name", &["license_name"]),
    ("license.link", &["license_link"]),
    ("source.url", &["url", "model_url"]),
    ("source.doi", &["doi", "model_doi"]),
    ("source.uuid", &["uuid", "model_uuid"]),
    ("source.repo_url", &["repo_url", "model_repo_url"]),
];

/// Keys under `general.` that hold a numbered list of origins, and the card's keys for it: the first one present
/// counts, even if it is null.
const ORIGINS: [(&str, &[&str]); 2] = [
    ("base_model", &["base_model", "base_models", "base_model_sources"]),
    ("dataset", &["datasets", "dataset", "dataset_sources"]),
];

/// What is told about one origin, in the order of the file; also the keys of an origin that the card gives as a mapping.
const ORIGIN_FIELDS: [&str; 9] =
    ["name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"];

/// Keys under `general.` that hold an array, and the card's keys for it, all of which are joined.
const ARRAYS: [(&str, &[&str]); 2] = [("tags", &["tags", "pipeline_tag"]), ("languages", &["languages", "language"])];

pub(super) fn describe(card: &Mapping, sources: &Sources, metadata: &mut Metadata, notes: &mut Vec<String>) {
    let mut card = Card { entries: card, metadata, notes };
    let ids = model_ids(sources);
    for (field, keys) in FIELDS {
        let key = format!("general.{field}");
        if let Some((name, node)) =
            keys.iter().find_map(|&k| Some((k, card.entries.get(k)?)).filter(|(_, n)| *n != &Node::Null))
        {
            card.set_text(key, name, node);
        } else if let Some(text) = derived(field, &ids, sources) {
            card.set(key, text);
        }
    }
    for (field, keys) in ORIGINS {
        if let Some((name, node)) = keys.iter().find_map(|&k| Some((k, card.entries.get(k)?))) {
            card.set_origins(field, name, node, sources.counts.total);
        }
    }
    for (field, keys) in ARRAYS {
        card.set_array(format!("general.{field}"), keys);
    }
}

/// The identifiers that the model goes by: `_name_or_path` of config.json unless it is a path of somebody's computer,
/// then the folder's name.
fn model_ids(sources: &Sources) -> Vec<ModelId> {
    let configured = sources.config.get("_name_or_path").and_then(|id| id.as_str());
    let identifiers = configured.filter(|id| id.matches('/').count() <= 1).into_iter().chain([sources.folder_name]);
    identifiers.map(|id| ModelId::parse(id, sources.counts.total)).collect()
}

/// What a field is where the card does not tell.
fn derived(field: &str, ids: &[ModelId], sources: &Sources) -> Option<String> {
    let first = |part: fn(&ModelId) -> Option<String>| ids.iter().find_map(part);
    match field {
        "name" => first(|id| Some(title(&id.name))),
        "organization" => first(|id| id.organization.as_deref().map(title)),
        "basename" => first(|id| id.basename.clone()),
        "finetune" => first(|id| id.finetune.clone()),
        "version" => first(|id| id.version.clone()),
        "size_label" => first(|id| id.size_label.clone())
            .or_else(|| Some(sources.counts.label()).filter(|_| sources.counts.total > 0)),
        _ => None,
    }
}

/// The card and what is made of it.
struct Card<'a> {
    entries: &'a Mapping,
    metadata: &'a mut Metadata,
    notes: &'a mut Vec<String>,
}

impl Card<'_> {
    /// Sets a string. Empty ones are left out, as the converter does.
    fn set(&mut self, key: String, text: String) {
        if !text.is_empty() {
            self.metadata.set(key, text);
        }
    }

    /// Sets a string from entry `name` of the card. Of lists the converter accepts only those of licences, joined
    /// with commas; what it makes of nothing (`false`, 0, an empty list) is nothing.
    fn set_text(&mut self, key: String, name: &str, node: &Node) {
        match node {
            Node::String(text) => self.set(key, text.clone()),
            Node::Other(kind, text) if kind.is_falsy(text) => {
                self.note(name, &format!("left out: {text} is no string"))
            }
            Node::Other(_, text) => {
                self.note(name, &format!("{text} is taken for the string \"{text}\""));
                self.set(key, text.clone());
            }
            Node::List(items) => {
                let strings = items.iter().all(|item| matches!(item, Node::String(_)));
                let accepted = items.is_empty() || (strings && key == "general.license");
                if !accepted {
                    self.note(name, "the values of the list are joined with commas");
                }
                let texts: Vec<&str> = items.iter().filter_map(scalar_text).collect();
                self.set(key, texts.join(","));
            }
            Node::Mapping(entries) if entries.is_empty() => {}
            Node::Mapping(_) => self.note(name, "left out: a string was expected"),
            Node::Null => {}
        }
    }

    fn set_origins(&mut self, field: &str, name: &str, node: &Node, weights: u64) {
        let origins = match node {
            Node::List(items) => items.as_slice(),
            Node::String(_) => std::slice::from_ref(node),
            _ => &[],
        };
        self.metadata.set(format!("general.{field}.count"), origins.len() as u32);
        for (i, origin) in origins.iter().enumerate() {
            let key = |part: &str| format!("general.{field}.{i}.{part}");
            match origin {
                Node::String(id) => {
                    let known = origin_of(id, weights);
                    for part in ORIGIN_FIELDS {
                        if let Some((_, text)) = known.iter().find(|(p, _)| *p == part) {
                            self.set(key(part), text.clone());
                        }
                    }
                }
                Node::Mapping(entries) => {
                    for part in ORIGIN_FIELDS {
                        if let Some(node) = entries.get(part) {
                            self.set_text(key(part), &format!("{name}[{i}].{part}"), node);
                        }
                    }
                }
                _ => self.note(&format!("{name}[{i}]"), "counted, but it is no identifier and no mapping"),
            }
        }
    }

    fn set_array(&mut self, key: String, names: &[&str]) {
        let nodes: Vec<&Node> = names
            .iter()
            .filter_map(|name| self.entries.get(*name))
            .flat_map(|node| match node {
                Node::List(items) => items.as_slice(),
                Node::String(_) => std::slice::from_ref(node),
                _ => &[],
            })
            .collect();
        if nodes.is_empty() {
            return;
        }
        if let Some(array) = array(&nodes) {
            self.metadata.set(key, Value::Array(array));
            return;
        }
        let texts: Vec<String> = nodes.iter().filter_map(|node| scalar_text(node)).map(str::to_owned).collect();
        self.note(names[0], &format!("its values are not of one type; {key} holds them as strings"));
        if !texts.is_empty() {
            self.metadata.set(key, texts);
        }
    }

    fn note(&mut self, name: &str, what: &str) {
        self.notes.push(format!("README.md: {name}: {what}"));
    }
}

fn scalar_text(node: &Node) -> Option<&str> {
    match node {
        Node::String(text) | Node::Other(_, text) => Some(text),
        _ => None,
    }
}

/// An array of the type that all `nodes` have. Tags such as `2024` make an array of integers.
fn array(nodes: &[&Node]) -> Option<Array> {
    let strings: Option<Vec<String>> =
        nodes.iter().map(|node| if let Node::String(text) = node { Some(text.clone()) } else { None }).collect();
    let integers = || -> Option<Vec<i32>> {
        nodes
            .iter()
            .map(|node| if let Node::Other(Kind::Int, text) = node { text.parse().ok() } else { None })
            .collect()
    };
    let booleans = || -> Option<Vec<bool>> {
        nodes.iter().map(|node| if let Node::Other(Kind::Bool(b), _) = node { Some(*b) } else { None }).collect()
    };
    strings.map(Array::String).or_else(|| integers().map(Array::I32)).or_else(|| booleans().map(Array::Bool))
}

/// What the identifier or address of a base model or data set tells: pairs of an [`ORIGIN_FIELDS`] and its value.
fn origin_of(id: &str, weights: u64) -> Vec<(&'static str, String)> {
    static HUGGING_FACE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^https?://huggingface.co/([^/]+/[^/]+)$").expect("constant pattern"));
    let address = ["http://", "https://", "ssh://"].iter().any(|scheme| id.starts_with(scheme));
    let mut known = Vec::new();
    let id = if address {
        known.push(("repo_url", id.to_owned()));
        match HUGGING_FACE.captures(id) {
            Some(captures) => captures.get(1).map_or("", |id| id.as_str()),
            None => return known,
        }
    } else {
        id
    };
    let id = ModelId::parse(id, weights);
    known.push(("name", title(&id.name)));
    if let Some(version) = id.version {
        known.push(("version", version));
    }
    if let Some(organization) = id.organization {
        if !address {
            known.push(("repo_url", format!("https://huggingface.co/{organization}/{}", id.name)));
        }
        known.push(("organization", title(&organization)));
    }
    known
}
