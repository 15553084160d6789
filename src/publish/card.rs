//! A model card from `general.*`: licence and origin travel with the weights.

use std::fmt::Write as _;

use weightmill_formats::{Array, Metadata, Value};

/// Keys of a card's front matter and of GGUF, for single texts.
const TEXTS: &[(&str, &str)] = &[
    ("license", "general.license"),
    ("license_name", "general.license.name"),
    ("license_link", "general.license.link"),
];

/// The same for lists.
const LISTS: &[(&str, &str)] = &[("language", "general.languages"), ("tags", "general.tags")];

/// Most models or datasets that a card names; the count in a file may be anything.
const MAX_ORIGINS: u64 = 64;

/// `README.md` with the front matter that Hugging Face reads.
pub(super) fn write(metadata: &Metadata) -> String {
    let mut card = String::from("---\n");
    for (key, from) in TEXTS {
        if let Some(text) = metadata.string(from) {
            let _ = writeln!(card, "{key}: {}", quoted(text));
        }
    }
    for (key, from) in LISTS {
        if let Some(Value::Array(Array::String(items))) = metadata.get(from) {
            list(&mut card, key, items);
        }
    }
    for (key, kind) in [("base_model", "base_model"), ("datasets", "dataset")] {
        let count = metadata.unsigned(&format!("general.{kind}.count")).unwrap_or(0).min(MAX_ORIGINS);
        let repositories = (0..count).filter_map(|number| {
            let url = metadata.string(&format!("general.{kind}.{number}.repo_url"))?;
            let name = url.strip_prefix("https://huggingface.co/").unwrap_or(url);
            Some(name.strip_prefix("datasets/").unwrap_or(name).to_owned())
        });
        let repositories: Vec<String> = repositories.collect();
        if !repositories.is_empty() {
            list(&mut card, key, &repositories);
        }
    }
    card.push_str("---\n\n");
    let name = metadata.string("general.name").unwrap_or("Model");
    let _ = writeln!(card, "# {}", name.replace(['\n', '\r'], " "));
    card
}

fn list(card: &mut String, key: &str, items: &[String]) {
    let _ = writeln!(card, "{key}:");
    for item in items {
        let _ = writeln!(card, "- {}", quoted(item));
    }
}

/// A YAML scalar: JSON's strings are YAML's.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !["no", "yes", "on", "off", "true", "false", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
