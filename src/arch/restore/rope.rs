//! Settings of rotary embeddings, from the metadata and from tensors of divisors.

use serde_json::{Map, Value as Json, json};
use weightmill_formats::Value;
use weightmill_kernels::{Dtype, Level};

use super::gguf::{Gguf, to_json};
use super::{RestoreError, Settings};
use crate::arch::config::Config;
use crate::arch::rope::Rope;

/// Most pairs of columns in a head.
const MAX_FACTORS: u64 = 1 << 15;

/// Factors for low and high frequencies of Llama 3 and of Llama 4.
const LOW_AND_HIGH: [(f64, f64); 2] = [(1.0, 4.0), (1.0, 1.0)];

/// Context before scaling: that of most published models first.
const CONTEXTS: [u64; 13] =
    [8192, 256, 512, 1024, 2048, 4096, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_048_576];

/// Keys below `rope.scaling` and the settings that they come from.
const SCALING: [(&str, &str); 6] = [
    ("factor", "factor"),
    ("original_context_length", "original_max_position_embeddings"),
    ("yarn_ext_factor", "extrapolation_factor"),
    ("yarn_attn_factor", "attention_factor"),
    ("yarn_beta_fast", "beta_fast"),
    ("yarn_beta_slow", "beta_slow"),
];

impl Gguf<'_> {
    /// Base of the frequencies, and the scaling that stands in the metadata.
    pub(super) fn add_rope(&self, settings: &mut Settings) -> Result<(), RestoreError> {
        if let Some(theta) = self.json("rope.freq_base")? {
            settings.insert("rope_theta".to_owned(), theta);
        }
        let kind = self.json("rope.scaling.type")?.filter(|kind| kind != "none");
        let Some(kind) = kind else { return Ok(()) };
        let mut scaling = Map::from_iter([("rope_type".to_owned(), kind)]);
        for (name, setting) in SCALING {
            if let Some(value) = self.json(&format!("rope.scaling.{name}"))? {
                scaling.insert(setting.to_owned(), value);
            }
        }
        settings.insert("rope_scaling".to_owned(), scaling.into());
        Ok(())
    }

    /// Llama 3's rotary scaling, which GGUF has as a tensor of divisors: the settings that yield exactly these.
    pub(super) fn add_frequency_factors(&self, settings: &mut Settings) -> Result<(), RestoreError> {
        const TENSOR: &str = "rope_freqs.weight";
        let Some(stored) = self.vector(TENSOR)? else { return Ok(()) };
        let greatest = to_json(&Value::F32(stored.iter().copied().fold(1.0, f32::max)));
        for context in CONTEXTS {
            for (low, high) in LOW_AND_HIGH {
                let scaling = json!({
                    "rope_type": "llama3",
                    "factor": greatest,
                    "low_freq_factor": low,
                    "high_freq_factor": high,
                    "original_max_position_embeddings": context,
                });
                let mut scaled = settings.clone();
                scaled.insert("rope_scaling".to_owned(), scaling);
                let config = Config::of(Default::default(), scaled.clone());
                let factors = Rope::read(&config)?.frequency_factors(2 * stored.len() as u32);
                if factors.is_ok_and(|factors| factors.as_deref() == Some(&stored)) {
                    *settings = scaled;
                    return Ok(());
                }
            }
        }
        Err(RestoreError::RopeFactors { tensor: TENSOR })
    }

    /// The values of a tensor of divisors, if there is one.
    pub(super) fn vector(&self, name: &'static str) -> Result<Option<Vec<f32>>, RestoreError> {
        let Some(weight) = self.tensor(name) else { return Ok(None) };
        if weight.dtype != Dtype::F32 || weight.shape.len() != 1 || !(1..=MAX_FACTORS).contains(&weight.shape[0]) {
            return Err(RestoreError::RopeFactors { tensor: name });
        }
        let mut values = vec![0.0f32; weight.shape[0] as usize];
        self.weights.decode(weight, Level::detect(), 0..1, 0..values.len(), &mut values);
        Ok(Some(values))
    }

    /// Divisors as a list of decimals.
    pub(super) fn divisors(&self, name: &'static str) -> Result<Option<Json>, RestoreError> {
        let Some(values) = self.vector(name)? else { return Ok(None) };
        let decimals: Option<Vec<Json>> = values.into_iter().map(|value| to_json(&Value::F32(value))).collect();
        decimals.map(|decimals| Some(Json::from(decimals))).ok_or(RestoreError::RopeFactors { tensor: name })
    }
}
