//! `config.json`, read with suspicion: every number is checked before it is used.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

use crate::checkpoint::{Checkpoint, CheckpointError, SideFile};

/// Most rows or columns of one part of a matrix; published models have up to 53248.
const MAX_DIMENSION: u32 = 1 << 20;

/// A setting of config.json that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {key}: {problem}", path.display())]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The setting.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The settings of a model, completed with what the family takes for granted.
#[derive(Clone, Debug)]
pub struct Config {
    path: PathBuf,
    settings: Map<String, Json>,
}

impl Config {
    /// config.json of a checkpoint, if there is one.
    ///
    /// # Errors
    /// When it cannot be read or is no JSON object.
    pub fn read(checkpoint: &Checkpoint) -> Result<Option<Self>, CheckpointError> {
        let settings: Option<Map<String, Json>> = checkpoint.json(SideFile::Config)?;
        Ok(settings.map(|settings| Self { path: checkpoint.path(SideFile::Config), settings }))
    }

    /// Settings that are to become the config.json of `path`.
    pub fn of(path: PathBuf, settings: Map<String, Json>) -> Self {
        Self { path, settings }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings as they stand.
    pub fn to_json(&self) -> Json {
        Json::Object(self.settings.clone())
    }

    /// Brings the settings of the text part of a larger model, which stand under `text_config`, to the top.
    pub fn lift_text(&mut self) {
        let Some(Json::Object(text)) = self.settings.get("text_config") else { return };
        let text = text.clone();
        self.settings.extend(text.into_iter().filter(|(key, value)| key != "architectures" || !value.is_null()));
    }

    /// Notes how many layers for predicting further tokens there are, by the names of the tensors: not every family says
    /// so in its config, and fine-tuned models say so and have none. Returns what to tell about the latter.
    pub fn count_predicting_layers<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Option<String> {
        fn number(name: &str, prefix: &str) -> Option<u32> {
            name.strip_prefix("model.").unwrap_or(name).strip_prefix(prefix)?.split('.').next()?.parse().ok()
        }
        let (mut apart, mut last) = (None, None);
        for name in names {
            apart = apart.max(number(name, "mtp.layers."));
            last = last.max(number(name, "layers."));
        }
        if let Some(number) = apart {
            self.set_default("mtp_num_hidden_layers", u64::from(number) + 1);
        }
        let layers = self.get("num_hidden_layers").and_then(Json::as_u64);
        let behind = last.filter(|last| layers.is_some_and(|layers| u64::from(*last) >= layers));
        let expects = |key: &str| self.get(key).and_then(Json::as_u64).is_some_and(|number| number > 0);
        let mut found = [("mtp_num_hidden_layers", apart), ("num_nextn_predict_layers", behind)].into_iter();
        let (key, _) = found.find(|(key, number)| number.is_none() && expects(key))?;
        self.set(key, 0);
        Some(format!("without the layers that predict further tokens ({key} of config.json): the checkpoint has none"))
    }

    /// The first of `architectures`.
    pub fn architecture(&self) -> Option<&str> {
        self.settings.get("architectures")?.get(0)?.as_str()
    }

    /// A setting; one that is null counts as absent.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.settings.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there at all, be it null.
    pub fn mentions(&self, key: &str) -> bool {
        self.settings.contains_key(key)
    }

    /// Sets `key` if it is absent or null.
    pub fn set_default(&mut self, key: &str, value: impl Into<Json>) {
        if self.get(key).is_none() {
            self.settings.insert(key.to_owned(), value.into());
        }
    }

    /// Sets `key` if it is absent; a null that is written out stays.
    pub fn set_absent(&mut self, key: &str, value: impl Into<Json>) {
        if !self.mentions(key) {
            self.settings.insert(key.to_owned(), value.into());
        }
    }

    /// Moves the value of `key`, an older or newer name of `name`, to where it is looked for.
    pub fn alias(&mut self, key: &str, name: &str) {
        if let Some(value) = self.take(key) {
            self.set(name, value);
        }
    }

    /// Sets `key`.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        self.settings.insert(key.to_owned(), value.into());
    }

    /// Removes `key` and returns its value, if it has one.
    pub fn take(&mut self, key: &str) -> Option<Json> {
        self.settings.remove(key).filter(|value| !value.is_null())
    }

    /// The first key of `keys` that is there, if its value is not null. Families name the same thing differently.
    pub fn first<'a>(&self, keys: &[&'a str]) -> Option<&'a str> {
        keys.iter().find(|key| self.settings.contains_key(**key)).copied().filter(|key| self.get(key).is_some())
    }

    /// A count: an integer from 1 to 2^32 - 1.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn count(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            None | Some(0) => Err(self.error(key, format!("{value}, where a positive 32-bit integer is expected"))),
            Some(count) => Ok(Some(count)),
        }
    }

    /// A number of things of which there may be none: an integer from 0 to 2^32 - 1.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn whole(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            None => Err(self.error(key, format!("{value}, where a 32-bit integer that is not negative is expected"))),
            number => Ok(number),
        }
    }

    /// Rows or columns that must be there: few enough that products of three fit 64 bits.
    ///
    /// # Errors
    /// As for [`Self::required_count`], and when there are more.
    pub fn dimension(&self, key: &str) -> Result<u64, ConfigError> {
        match self.required_count(key)? {
            size if size <= MAX_DIMENSION => Ok(size.into()),
            size => Err(self.error(key, format!("{size}, more than the {MAX_DIMENSION} that are expected at most"))),
        }
    }

    /// A count that must be there.
    ///
    /// # Errors
    /// As for [`Self::count`], and when it is absent.
    pub fn required_count(&self, key: &str) -> Result<u32, ConfigError> {
        self.count(key)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// As for [`Self::number`], and when it is absent.
    pub fn required_number(&self, key: &str) -> Result<f64, ConfigError> {
        self.number(key)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// A number.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.get(key).map(|value| self.to_number(key, value)).transpose()
    }

    /// `value`, found under `key`, as a number that also an f32 can hold.
    ///
    /// # Errors
    /// When it is something else.
    pub fn to_number(&self, key: &str, value: &Json) -> Result<f64, ConfigError> {
        let number = value.as_f64().filter(|number| (*number as f32).is_finite());
        number.ok_or_else(|| self.error(key, format!("{value}, where a number is expected")))
    }

    /// A setting that is true or false; absent, it is false.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.error(key, format!("{other}, where true or false is expected"))),
        }
    }

    /// The number that goes with a name.
    ///
    /// # Errors
    /// When there is a value that is none of `names`.
    pub fn name(&self, key: &str, names: &[(&str, u32)]) -> Result<Option<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match names.iter().find(|(name, _)| value == name) {
            Some((_, number)) => Ok(Some(*number)),
            None => {
                let known: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
                Err(self.error(key, format!("{value}, where one of {} is expected", known.join(", "))))
            }
        }
    }

    /// A list of whatever.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn list(&self, key: &str) -> Result<Option<&Vec<Json>>, ConfigError> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.error(key, format!("{other}, where a list is expected"))),
        }
    }

    /// An error about `key`.
    pub fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        ConfigError { path: self.path.clone(), key: key.to_owned(), problem: problem.into() }
    }
}
