//! Architecture maps (`--arch-map`): a TOML file that describes an architecture which this program does not have. It is
//! compiled to the same rules as the built-in ones.

mod expression;
mod file;
mod metadata;
mod rules;

use std::path::{Path, PathBuf};

use toml::Spanned;
use weightmill_formats::gguf::MAX_LAYERS;

use super::config::Config;
use super::rope::Rope;
use super::rule::Rule;
use super::{Description, hyper};
use crate::checkpoint::read_bounded;
use crate::tokenizer::Vocabulary;
use crate::weights::Weights;
use expression::Expression;
use file::File;
use rules::{Compiler, Stored};

/// Most bytes of a map.
const LIMIT: u64 = 1 << 20;

/// Most entries for tensors; a family has a few dozen.
const MAX_ENTRIES: usize = 4096;

/// The vocabulary of models that have none.
const NO_VOCABULARY: &str = "none";

/// What is wrong with an architecture map, or with a checkpoint by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {problem}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ArchMapError {
    /// The file.
    pub path: PathBuf,
    /// Where in it, from 1.
    pub line: Option<usize>,
    /// What is wrong there.
    pub problem: String,
}

/// An architecture as a file describes it.
#[derive(Clone, Debug)]
pub struct ArchMap {
    path: PathBuf,
    text: String,
    file: File,
    vocabulary: Option<Vocabulary>,
}

/// A checkpoint by a map.
pub(super) struct Mapped {
    pub architecture: String,
    /// None for a model without.
    pub vocabulary: Option<Vocabulary>,
    pub description: Description,
}

impl ArchMap {
    /// Reads a map.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, has keys that are not known, or patterns that cannot be.
    pub fn open(path: &Path) -> Result<Self, ArchMapError> {
        let fail = |line, problem: String| ArchMapError { path: path.to_owned(), line, problem };
        let bytes = read_bounded(path, LIMIT).map_err(|error| {
            let text = error.to_string();
            let problem = text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned();
            fail(None, problem)
        })?;
        let bytes = bytes.ok_or_else(|| fail(None, "there is no such file".to_owned()))?;
        let text = String::from_utf8(bytes).map_err(|_| fail(None, "not UTF-8".to_owned()))?;
        let file: File = toml::from_str(&text).map_err(|error| {
            let line = error.span().map(|span| line(&text, span.start));
            fail(line, error.message().to_owned())
        })?;
        let mut map = ArchMap { path: path.to_owned(), text, file, vocabulary: None };
        map.vocabulary = map.check()?;
        Ok(map)
    }

    /// Its name, without folders.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Checks what can be wrong whatever the checkpoint; the vocabulary.
    fn check(&self) -> Result<Option<Vocabulary>, ArchMapError> {
        let File { architecture, vocabulary, .. } = &self.file;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if architecture.get_ref().is_empty() || !architecture.get_ref().chars().all(fits) {
            return Err(self.error(architecture, "a name of letters, digits, - and _ is expected".to_owned()));
        }
        if self.file.tensors.len() > MAX_ENTRIES {
            return Err(self.error_at(None, format!("more than {MAX_ENTRIES} entries in `tensors`")));
        }
        for entry in &self.file.tensors {
            rules::check(entry.get_ref()).map_err(|problem| self.error(entry, problem))?;
        }
        metadata::check(&self.file).map_err(|(span, problem)| self.error_at(span, problem))?;
        let name = vocabulary.get_ref();
        if name == NO_VOCABULARY {
            return Ok(None);
        }
        let found = Vocabulary::ALL.into_iter().find(|known| known.name() == *name).map(Some);
        found.ok_or_else(|| {
            let known: Vec<String> = Vocabulary::ALL.iter().map(|known| known.name()).collect();
            self.error(vocabulary, format!("vocabulary {name:?} is none of {}, {NO_VOCABULARY}", known.join(", ")))
        })
    }

    /// What the map says of a checkpoint with these weights, whose config it completes.
    ///
    /// # Errors
    /// When config.json lacks a setting or the tensors do not fit.
    pub(super) fn describe(&self, config: &mut Config, weights: &Weights) -> Result<Mapped, ArchMapError> {
        let File { config_names, usual_metadata, .. } = &self.file;
        let name = config.architecture().unwrap_or("none");
        if !config_names.is_empty() && !config_names.iter().any(|known| known == name) {
            let problem =
                format!("the map is for {}, but {} names {name:?}", config_names.join(", "), config.path().display());
            return Err(self.error_at(None, problem));
        }
        metadata::complete(&self.file, config).map_err(|(span, problem)| self.error_at(span, problem))?;
        let renames: Vec<(String, String)> =
            self.file.renames.iter().map(|rename| (rename.from.clone(), rename.to.clone())).collect();
        let layers = match &self.file.layers {
            Some(layers) => self.count(layers, config)?,
            None => hyper::layers(config).map_err(|error| self.error_at(None, error.to_string()))?,
        };
        config.set_default("num_hidden_layers", layers);
        let tensors = weights.list().len();
        if u64::from(layers) > tensors as u64 {
            return Err(self.error_at(None, format!("{layers} layers, but there are only {tensors} tensors")));
        }
        if u64::from(layers) > MAX_LAYERS {
            return Err(
                self.error_at(None, format!("{layers} layers, more than the {MAX_LAYERS} that llama.cpp has room for"))
            );
        }
        let experts = self.file.experts.as_ref().map(|experts| self.count(experts, config)).transpose()?;
        let entries = || self.file.tensors.iter().map(Spanned::get_ref);
        let compiler = Compiler { config, layers, experts, stored: Stored::find(weights, &renames, entries()) };
        let mut rules = Vec::new();
        for entry in &self.file.tensors {
            rules.extend(compiler.compile(entry.get_ref()).map_err(|problem| self.error(entry, problem))?);
        }
        let ignored = self.file.ignore.iter();
        rules.extend(ignored.map(|ignored| Rule::ignore(ignored.prefix.clone(), ignored.because.clone())));
        let embeddings = entries().find(|entry| entry.to.list() == ["token_embd.weight"]);
        let rows = embeddings.and_then(|entry| compiler.stored.first(&entry.from.list()[0])?.first().copied());
        let rows = rows.and_then(|rows| u32::try_from(rows).ok());
        let rows = match rows {
            Some(rows) => rows,
            None => config.count("vocab_size").map_err(|error| self.error_at(None, error.to_string()))?.unwrap_or(0),
        };

        let mut computed = Vec::new();
        if let Some(columns) = &self.file.rope_factors {
            let columns = self.count(columns, config)?;
            let factors = Rope::read(config).and_then(|rope| rope.frequency_factors(columns));
            let factors = factors.map_err(|error| self.error_at(None, error.to_string()))?;
            computed.extend(factors.map(|factors| ("rope_freqs.weight", factors)));
        }
        let declared = metadata::entries(&self.file, config).map_err(|(span, problem)| self.error_at(span, problem))?;
        let description = Description {
            layers,
            vocabulary_rows: rows,
            renames,
            rules,
            computed,
            own: (!usual_metadata).then(Vec::new),
            declared,
            ..Description::default()
        };
        let architecture = self.file.architecture.get_ref().clone();
        Ok(Mapped { architecture, vocabulary: self.vocabulary, description })
    }

    fn count(&self, expression: &Spanned<Expression>, config: &Config) -> Result<u32, ArchMapError> {
        expression.get_ref().count_32(config).map_err(|problem| self.error(expression, problem))
    }

    fn error<T>(&self, at: &Spanned<T>, problem: String) -> ArchMapError {
        self.error_at(Some(at.span().start), problem)
    }

    fn error_at(&self, offset: Option<usize>, problem: String) -> ArchMapError {
        let line = offset.map(|offset| line(&self.text, offset));
        ArchMapError { path: self.path.clone(), line, problem }
    }
}

/// The line, from 1, of a place in a text.
fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
