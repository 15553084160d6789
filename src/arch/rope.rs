//! Rotary position embeddings: the settings in their several published forms, and what GGUF says of them.

use std::f64::consts::TAU;

use serde_json::{Map, Value as Json, json};
use weightmill_formats::Metadata;

use super::config::{Config, ConfigError};

/// Base of the frequencies where config.json is silent, as transformers has it.
const DEFAULT_THETA: f64 = 10_000.0;

/// Most columns of a head; published models have up to 512.
const MAX_HEAD_DIM: u32 = 1 << 16;

/// Gives settings of both kinds of attention, with and without a sliding window, where a config has one set of them as
/// configs before transformers 5 have: that one is for attention without a window. `theta` and `sliding_theta` are the
/// bases where the settings have none.
pub fn nest(config: &mut Config, theta: f64, sliding_theta: Json) {
    let is_object = |key| config.get(key).is_none_or(Json::is_object);
    if !is_object("rope_scaling") || !is_object("rope_parameters") {
        // an error when they are read
        return;
    }
    let theta = config.get("rope_theta").cloned().unwrap_or(theta.into());
    let mut nested = object(config.take("rope_parameters"));
    let mut full = object(nested.remove("full_attention"));
    full.extend(object(config.take("rope_scaling")));
    full.entry("rope_theta").or_insert(theta);
    let mut sliding = object(nested.remove("sliding_attention"));
    sliding.entry("rope_theta").or_insert(sliding_theta);
    config.set("rope_parameters", json!({"full_attention": full, "sliding_attention": sliding}));
}

/// The rotary settings of a model: `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` of older
/// versions.
#[derive(Debug)]
pub struct Rope<'a> {
    config: &'a Config,
    /// Under which key the settings below stand.
    key: &'static str,
    settings: Map<String, Json>,
    theta: f64,
    /// Base of layers with a sliding window, where they have their own.
    sliding_theta: Option<f64>,
}

impl<'a> Rope<'a> {
    /// The settings of `config`.
    ///
    /// # Errors
    /// When one is of the wrong kind.
    pub fn read(config: &'a Config) -> Result<Self, ConfigError> {
        let mut found = ("rope_parameters", Map::new());
        // an empty object counts as absent
        for key in ["rope_scaling", "rope_parameters"] {
            match config.get(key) {
                None => {}
                Some(Json::Object(settings)) if settings.is_empty() => {}
                Some(Json::Object(settings)) => {
                    found = (key, settings.clone());
                    break;
                }
                Some(other) => return Err(config.error(key, format!("{other}, where an object is expected"))),
            }
        }
        let (key, mut settings) = found;
        let sliding = settings.get("sliding_attention").and_then(|nested| nested.get("rope_theta"));
        let sliding = sliding.filter(|value| !value.is_null());
        let sliding_theta = sliding.map(|value| positive(config, value)).transpose()?;
        if let Some(Json::Object(nested)) = settings.get("full_attention") {
            settings = nested.clone();
        }
        let theta = settings.get("rope_theta").filter(|value| !value.is_null()).or_else(|| config.get("rope_theta"));
        let theta = theta.map_or(Ok(DEFAULT_THETA), |value| positive(config, value))?;
        Ok(Self { config, key, settings, theta, sliding_theta })
    }

    /// Kind of scaling, as in `llama3`; `default` without any.
    ///
    /// # Errors
    /// When it is no text.
    pub fn kind(&self) -> Result<&str, ConfigError> {
        let kind = ["rope_type", "type"].iter().find_map(|key| self.get(key));
        match kind {
            None => Ok("default"),
            Some(Json::String(kind)) => Ok(kind),
            Some(other) => Err(self.error("rope_type", format!("{other}, where a name is expected"))),
        }
    }

    /// Base of the frequencies.
    pub fn theta(&self) -> f64 {
        self.theta
    }

    /// Columns of `columns` that are rotated; `default` is their share where the config has none.
    ///
    /// # Errors
    /// When the share is no number from 0 to 1.
    pub fn rotated(&self, columns: u32, default: f64) -> Result<u32, ConfigError> {
        const KEY: &str = "partial_rotary_factor";
        let share = match self.number(KEY)? {
            Some(share) => share,
            None => self.config.number(KEY)?.unwrap_or(default),
        };
        match (0.0..=1.0).contains(&share) {
            true => Ok((share * f64::from(columns)) as u32),
            false => Err(self.config.error(KEY, format!("{share}, where a number from 0 to 1 is expected"))),
        }
    }

    /// Pairs of columns that are rotated by time, height, width and a fourth measure, where positions have several.
    ///
    /// # Errors
    /// When there are more than four, or they are no counts.
    pub fn sections(&self) -> Result<Option<Vec<i32>>, ConfigError> {
        const KEY: &str = "mrope_section";
        let Some(value) = self.get(KEY) else { return Ok(None) };
        let error = || self.error(KEY, format!("{value}, where up to four counts are expected"));
        let count = |count: &Json| count.as_u64().and_then(|count| i32::try_from(count).ok());
        let sections: Option<Vec<i32>> = value.as_array().and_then(|counts| counts.iter().map(count).collect());
        let mut sections = sections.filter(|sections| sections.len() <= 4).ok_or_else(error)?;
        sections.resize(4, 0);
        Ok(Some(sections))
    }

    /// Divisors of the frequencies of `rotated` columns in a long and in a short context, one per pair of columns;
    /// `None` for models that do not scale that way.
    ///
    /// # Errors
    /// When only one of them is there, or when they are not of that number.
    pub fn long_and_short_factors(&self, rotated: u32) -> Result<Option<[Vec<f32>; 2]>, ConfigError> {
        if self.get("long_factor").is_none() {
            return Ok(None);
        }
        match self.kind()? {
            "su" | "yarn" | "longrope" => {}
            kind => return Err(self.error("rope_type", format!("{kind:?}, where \"longrope\" is expected"))),
        }
        let factors = |key: &str| {
            let factors = self.get(key).and_then(Json::as_array).ok_or_else(|| self.error(key, "no list"))?;
            if factors.len() as u64 != u64::from(rotated / 2) {
                let problem = format!("{} factors for {rotated} columns, two of which share one", factors.len());
                return Err(self.error(key, problem));
            }
            let number = |value| self.config.to_number(key, value).map(|factor| factor as f32);
            factors.iter().map(number).collect::<Result<Vec<f32>, ConfigError>>()
        };
        Ok(Some([factors("long_factor")?, factors("short_factor")?]))
    }

    /// Appends the keys under `PREFIX.rope`. What has no counterpart in GGUF is noted.
    ///
    /// # Errors
    /// When a setting is of the wrong kind or missing.
    pub fn write(&self, prefix: &str, metadata: &mut Metadata, notes: &mut Vec<String>) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{prefix}.rope.scaling.{name}");
        let factor = self.number("factor")?;
        match (self.kind()?, factor) {
            ("linear", Some(factor)) => {
                metadata.replace(key("type"), "linear");
                metadata.replace(key("factor"), factor as f32);
            }
            ("yarn", Some(factor)) => {
                metadata.replace(key("type"), "yarn");
                metadata.replace(key("factor"), factor as f32);
                metadata.replace(key("original_context_length"), self.original_context()?);
                let attention = if self.get("attention_factor").is_some() { "attention_factor" } else { "attn_factor" };
                for (setting, name) in [
                    ("extrapolation_factor", "yarn_ext_factor"),
                    (attention, "yarn_attn_factor"),
                    ("beta_fast", "yarn_beta_fast"),
                    ("beta_slow", "yarn_beta_slow"),
                ] {
                    if let Some(value) = self.number(setting)? {
                        metadata.replace(key(name), value as f32);
                    }
                }
            }
            ("linear" | "yarn", None) => return Err(self.error("factor", "missing")),
            ("su" | "longrope", _) => metadata.replace(key("type"), "longrope"),
            ("default" | "dynamic", _) => {}
            // becomes a tensor, see `frequency_factors`
            (kind, _) if kind.eq_ignore_ascii_case("llama3") => {}
            (kind, _) => notes.push(format!(
                "{}: {}: scaling {kind:?} is not known to llama.cpp and left out",
                self.config.path().display(),
                self.key
            )),
        }
        if let Some(sections) = self.sections()? {
            metadata.replace(format!("{prefix}.rope.dimension_sections"), sections);
        }
        metadata.replace(format!("{prefix}.rope.freq_base"), self.theta as f32);
        if let Some(theta) = self.sliding_theta {
            metadata.replace(format!("{prefix}.rope.freq_base_swa"), theta as f32);
        }
        Ok(())
    }

    /// Llama 3's divisors of the frequencies of a head with `head_dim` columns, one per pair of columns; `None` for
    /// models that do not scale that way.
    ///
    /// # Errors
    /// When a setting is of the wrong kind.
    pub fn frequency_factors(&self, head_dim: u32) -> Result<Option<Vec<f32>>, ConfigError> {
        if !self.kind()?.eq_ignore_ascii_case("llama3") {
            return Ok(None);
        }
        if head_dim > MAX_HEAD_DIM {
            return Err(self.config.error("head_dim", format!("{head_dim}, more than {MAX_HEAD_DIM}")));
        }
        let factor = self.number("factor")?.unwrap_or(8.0);
        let low = self.number("low_freq_factor")?.unwrap_or(1.0);
        let high = self.number("high_freq_factor")?.unwrap_or(4.0);
        let context = f64::from(self.original_context()?);
        // The reference computes in f32, with its constants rounded from f64.
        let (longest, shortest) = ((context / low) as f32, (context / high) as f32);
        let width = (high - low) as f32;
        let factors = (0..head_dim).step_by(2).map(|column| {
            let exponent = column as f32 / head_dim as f32;
            let frequency = 1.0 / f64::from(self.theta as f32).powf(f64::from(exponent)) as f32;
            let wavelength = (1.0 / frequency) * TAU as f32;
            if wavelength < shortest {
                1.0
            } else if wavelength > longest {
                factor as f32
            } else {
                let smooth = ((1.0 / wavelength) * context as f32 - low as f32) / width;
                1.0 / ((1.0 - smooth) / factor as f32 + smooth)
            }
        });
        let factors: Vec<f32> = factors.collect();
        match factors.iter().all(|factor| factor.is_finite() && *factor > 0.0) {
            true => Ok(Some(factors)),
            false => Err(self.error("factor", "the scaling yields divisors that are not finite and positive")),
        }
    }

    /// Context length before scaling; transformers takes the present one where it is not said.
    fn original_context(&self) -> Result<u32, ConfigError> {
        const KEY: &str = "original_max_position_embeddings";
        let Some(value) = self.get(KEY) else { return self.config.required_count("max_position_embeddings") };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        count.ok_or_else(|| self.error(KEY, format!("{value}, where a positive 32-bit integer is expected")))
    }

    fn get(&self, key: &str) -> Option<&Json> {
        self.settings.get(key).filter(|value| !value.is_null())
    }

    /// A number that must be there.
    ///
    /// # Errors
    /// As for [`Self::number`], and when it is absent.
    pub fn required_number(&self, key: &str) -> Result<f64, ConfigError> {
        self.number(key)?.ok_or_else(|| self.error(key, "missing"))
    }

    /// A setting that is a number.
    ///
    /// # Errors
    /// When there is a value of another kind.
    pub fn number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let number = self.get(key).map(|value| self.config.to_number(&format!("{}.{key}", self.key), value));
        number.transpose()
    }

    fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.config.error(&format!("{}.{key}", self.key), problem)
    }
}

/// A base of frequencies.
fn positive(config: &Config, value: &Json) -> Result<f64, ConfigError> {
    match config.to_number("rope_theta", value)? {
        theta if theta > 0.0 => Ok(theta),
        theta => Err(config.error("rope_theta", format!("{theta}, where a positive number is expected"))),
    }
}

fn object(value: Option<Json>) -> Map<String, Json> {
    match value {
        Some(Json::Object(settings)) => settings,
        _ => Map::new(),
    }
}
