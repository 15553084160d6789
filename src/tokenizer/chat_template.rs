//! `tokenizer.chat_template` and its named variants. Templates are carried along, never rendered.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};
use weightmill_formats::Metadata;

use super::TokenizerError;
use crate::checkpoint::{Checkpoint, SideFile};

const KEY: &str = "tokenizer.chat_template";
const NAMES_KEY: &str = "tokenizer.chat_templates";

/// One template, or several under names.
#[derive(Debug)]
pub enum ChatTemplate {
    /// The only template.
    One(String),
    /// Names and templates as listed; the one named `default` is the usual one.
    Named(Vec<(String, String)>),
}

impl ChatTemplate {
    /// The template of a checkpoint: that of `tokenizer_config.json` if it has the key at all, else
    /// `chat_template.jinja` with `additional_chat_templates/`, else `chat_template.json`.
    pub fn read(checkpoint: &Checkpoint, config: &Map<String, Json>) -> Result<Option<Self>, TokenizerError> {
        if let Some(template) = config.get("chat_template") {
            return Self::from_json(checkpoint, SideFile::TokenizerConfig, template);
        }
        if let Some(template) = checkpoint.text(SideFile::ChatTemplateJinja)? {
            let template = line_ends(&template);
            let others = checkpoint.additional_chat_templates()?;
            if others.is_empty() {
                return Ok(Some(Self::One(template)));
            }
            let others = others.into_iter().map(|(name, template)| (name, line_ends(&template)));
            return Ok(Some(Self::Named([("default".to_owned(), template)].into_iter().chain(others).collect())));
        }
        match checkpoint.json::<Json>(SideFile::ChatTemplateJson)? {
            Some(json) => Self::from_json(checkpoint, SideFile::ChatTemplateJson, &json["chat_template"]),
            None => Ok(None),
        }
    }

    fn from_json(checkpoint: &Checkpoint, from: SideFile, json: &Json) -> Result<Option<Self>, TokenizerError> {
        match json {
            Json::Null => Ok(None),
            Json::String(template) => Ok(Some(Self::One(template.clone()))),
            Json::Array(list) => {
                let mut named = Vec::new();
                for item in list {
                    match (&item["name"], &item["template"]) {
                        (Json::String(name), Json::String(template)) => named.push((name.clone(), template.clone())),
                        // without a name or a text there is nothing to write
                        (_, Json::Null) | (Json::Null, _) if item.is_object() => {}
                        _ => {
                            let problem = "chat_template holds an item that is no pair of name and template";
                            return Err(TokenizerError::invalid(checkpoint.path(from), problem));
                        }
                    }
                }
                Ok(Some(Self::Named(named)))
            }
            _ => Err(TokenizerError::invalid(checkpoint.path(from), "chat_template is neither text nor a list")),
        }
    }

    /// Writes the template, or each named one, their names, and the default.
    pub fn write(&self, metadata: &mut Metadata) {
        let named = match self {
            Self::One(template) => return metadata.replace(KEY, template.as_str()),
            Self::Named(named) => named,
        };
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        let mut default = None;
        for (name, template) in named {
            let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            match name.as_str() {
                "" => {}
                "default" => default = Some(template),
                _ => {
                    metadata.replace(format!("{KEY}.{name}"), template.as_str());
                    if seen.insert(name.clone()) {
                        names.push(name);
                    }
                }
            }
        }
        if !names.is_empty() {
            metadata.replace(NAMES_KEY, names);
        }
        if let Some(template) = default {
            metadata.replace(KEY, template.as_str());
        }
    }
}

/// Text as Python reads it: every kind of line end becomes `\n`.
fn line_ends(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
