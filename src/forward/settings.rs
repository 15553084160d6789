//! The hyper-parameters of a model's graph, from its metadata and its family.

use weightmill_formats::{Array, Metadata, Value};

use super::Error;
use super::family::{Embedding, Family, Gating, LogitScale, Unrotated, Window};
use super::rope::Rope;
use crate::model::Model;

/// Most layers, experts and heads that are believed; published models have a few hundred.
const MAX_COUNT: u64 = 1 << 16;

/// Longest rows that are believed.
const MAX_WIDTH: u64 = 1 << 24;

/// Everything that the graph needs to know besides the tensors.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The row of the table.
    pub family: &'static Family,
    /// Layers that are run; layers that predict further tokens come after them.
    pub layers: usize,
    /// Numbers per token between layers.
    pub width: usize,
    /// Heads of queries, by layer.
    pub heads: Vec<usize>,
    /// Heads of keys and values, by layer.
    pub kv_heads: Vec<usize>,
    /// Numbers of a query or key head.
    pub key: usize,
    /// Numbers of a value head.
    pub value: usize,
    /// Added to the mean square in norms.
    pub epsilon: f32,
    /// Rotation, of layers without a window.
    pub rope: Rope,
    /// Rotation of layers with one.
    pub windowed_rope: Rope,
    /// Window of each layer, 0 for none.
    pub windows: Vec<usize>,
    /// Factor of embeddings.
    pub embedding_scale: f32,
    /// Factor of what a layer adds.
    pub residual_scale: f32,
    /// Factor of logits.
    pub logit_scale: f32,
    /// Factor of the products of queries and keys.
    pub attention_scale: f32,
    /// Limit of those products, 0 for none.
    pub attention_cap: f32,
    /// Limit of logits, 0 for none.
    pub logit_cap: f32,
    /// How queries grow with the position, if they do.
    pub temperature: Option<Temperature>,
    /// Experts.
    pub experts: Option<Experts>,
    /// Multi-head latent attention.
    pub latent: Option<Latent>,
    /// Rotated queries and keys are normalized.
    pub normalizes_rotated: bool,
    /// Layers of which the last is not rotated, 0 for none.
    unrotated: usize,
}

/// Queries times `1 + scale * ln(1 + floor((position + offset) / floor))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature {
    /// Factor of the logarithm.
    pub scale: f32,
    /// Positions per step.
    pub floor: f32,
    /// Added to the position.
    pub offset: f32,
}

/// Routed experts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// Chosen per token.
    pub used: usize,
    /// Function of the router's outputs.
    pub gating: Gating,
    /// Weights of the chosen add up to one.
    pub normalized: bool,
    /// Factor of the weights.
    pub scale: f32,
    /// Groups that experts are in, and groups chosen first.
    pub groups: (usize, usize),
}

/// Sizes of multi-head latent attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latent {
    /// Numbers that keys and values are made from.
    pub rank: usize,
    /// Numbers of a query or key head as if there were no compression.
    pub key: usize,
    /// Numbers of a value head.
    pub value: usize,
}

/// The metadata of one architecture: keys without the prefix.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&self.name(key))
    }

    fn bad(&self, key: &str) -> Error {
        Error::BadKey { key: self.name(key), found: self.value(key).map_or("missing", Value::type_name).to_owned() }
    }

    fn count(&self, key: &str) -> Option<usize> {
        self.value(key)?.to_unsigned().filter(|count| *count <= MAX_WIDTH).map(|count| count as usize)
    }

    fn required(&self, key: &str) -> Result<usize, Error> {
        self.count(key).filter(|count| *count > 0).ok_or_else(|| self.bad(key))
    }

    fn number(&self, key: &str) -> Option<f32> {
        match self.value(key)? {
            Value::F32(number) => Some(*number),
            Value::F64(number) => Some(*number as f32),
            other => other.to_unsigned().map(|number| number as f32),
        }
    }

    fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    /// One number for every layer, or one for all.
    fn per_layer(&self, key: &str, layers: usize) -> Result<Option<Vec<usize>>, Error> {
        let list: Vec<u64> = match self.value(key) {
            None => return Ok(None),
            Some(Value::Array(Array::U32(list))) => list.iter().map(|count| u64::from(*count)).collect(),
            Some(Value::Array(Array::I32(list))) => {
                list.iter().map(|count| u64::try_from(*count).unwrap_or(0)).collect()
            }
            Some(value) => vec![value.to_unsigned().ok_or_else(|| self.bad(key))?; layers],
        };
        match list.get(..layers) {
            Some(list) if list.iter().all(|count| *count <= MAX_COUNT) => {
                Ok(Some(list.iter().map(|count| *count as usize).collect()))
            }
            _ => Err(self.bad(key)),
        }
    }
}

impl Settings {
    /// The settings of `model`.
    ///
    /// # Errors
    /// If its architecture cannot be run, or if a key is missing or makes no sense.
    pub fn of(model: &Model) -> Result<Settings, Error> {
        let architecture = model.architecture.as_str();
        let family =
            Family::of(architecture).ok_or_else(|| Error::UnknownArchitecture { name: architecture.to_owned() })?;
        let keys = Keys { metadata: &model.metadata, architecture };
        let all_layers = keys.required("block_count")?;
        if all_layers as u64 > MAX_COUNT {
            return Err(keys.bad("block_count"));
        }
        let layers = all_layers.checked_sub(keys.count("nextn_predict_layers").unwrap_or(0)).filter(|count| *count > 0);
        let layers = layers.ok_or_else(|| keys.bad("nextn_predict_layers"))?;
        let width = keys.required("embedding_length")?;
        let heads = keys.per_layer("attention.head_count", layers)?.ok_or_else(|| keys.bad("attention.head_count"))?;
        if heads.contains(&0) {
            return Err(keys.bad("attention.head_count"));
        }
        let kv_heads = keys.per_layer("attention.head_count_kv", layers)?.unwrap_or_else(|| heads.clone());
        if heads.iter().zip(&kv_heads).any(|(heads, kv)| *kv == 0 || heads % kv != 0) {
            return Err(keys.bad("attention.head_count_kv"));
        }
        let key = keys.count("attention.key_length").unwrap_or(width / heads[0]);
        let value = keys.count("attention.value_length").unwrap_or(key);
        let epsilon = keys.number("attention.layer_norm_rms_epsilon").or(keys.number("attention.layer_norm_epsilon"));
        let epsilon = epsilon.ok_or_else(|| keys.bad("attention.layer_norm_rms_epsilon"))?;
        let windows = windows(&keys, family, layers)?;
        let latent = latent(&keys)?;
        let head = latent.map_or(key, |latent| latent.key);
        let log_multiplier = keys.number("rope.scaling.yarn_log_multiplier").unwrap_or(0.0);
        let log_multiplier = match family.name {
            // the converter writes a tenth
            "deepseek2" => log_multiplier / 0.1,
            "mistral3" => log_multiplier,
            _ => 0.0,
        };
        let rope = rope(&keys, family, key, log_multiplier)?;
        let windowed_rope = windowed_rope(&keys, family, &rope);
        let stretched = 1.0 / rope.scale;
        let magnitude = match latent {
            // the magnitude that yarn asks for goes into the products of queries and keys
            Some(_) => {
                let original = rope.magnitude * (1.0 + 0.1 * stretched.ln());
                original * (1.0 + 0.1 * log_multiplier * stretched.ln())
            }
            None => 1.0,
        };
        let default_scale = match (family.name, layers) {
            // Gemma 2 and 3 with 27 billion weights
            ("gemma2", 46) | ("gemma3", 62) => 1.0 / ((width / heads[0]) as f32).sqrt(),
            _ => magnitude * magnitude / (head as f32).sqrt(),
        };
        let positive = |key: &str| keys.number(key).filter(|number| *number != 0.0);
        let logit_scale = positive("logit_scale").unwrap_or(1.0);
        let no_window = windows.iter().all(|window| *window == 0);
        Ok(Settings {
            family,
            layers,
            width,
            heads,
            kv_heads,
            key,
            value,
            epsilon,
            rope,
            windowed_rope,
            embedding_scale: match family.embedding {
                Embedding::Plain => positive("embedding_scale").unwrap_or(1.0),
                Embedding::RootOfWidth => (width as f32).sqrt(),
            },
            residual_scale: positive("residual_scale").unwrap_or(1.0),
            logit_scale: match family.logits {
                LogitScale::Multiply => logit_scale,
                LogitScale::Divide => 1.0 / logit_scale,
            },
            attention_scale: positive("attention.scale").unwrap_or(default_scale),
            attention_cap: match family.name {
                "gemma2" => keys.number("attn_logit_softcapping").unwrap_or(50.0),
                _ => 0.0,
            },
            logit_cap: match family.name {
                "gemma2" => keys.number("final_logit_softcapping").unwrap_or(30.0),
                "gemma3" => keys.number("final_logit_softcapping").unwrap_or(0.0),
                _ => 0.0,
            },
            temperature: temperature(&keys, family, no_window)?,
            experts: experts(&keys, family)?,
            latent,
            // of Llama 4 the model with 128 experts does without
            normalizes_rotated: family.normalizes_rotated && keys.count("expert_count") != Some(128),
            unrotated: match family.unrotated {
                Unrotated::LastOf(_) if family.name == "llama4" && no_window => layers,
                Unrotated::LastOf(period) => period as usize,
                _ => 0,
            },
            windows,
        })
    }

    /// The rotation of a layer, if it has one.
    pub fn rope_of(&self, layer: usize) -> Option<&Rope> {
        self.family.pairs?;
        let windowed = self.windows[layer] > 0;
        let rotates = match self.family.unrotated {
            Unrotated::Never => true,
            Unrotated::LastOf(_) => !(layer + 1).is_multiple_of(self.unrotated),
            Unrotated::WithoutWindow => windowed,
        };
        rotates.then_some(if windowed { &self.windowed_rope } else { &self.rope })
    }

    /// Whether windows begin at multiples of their length.
    pub fn chunked(&self) -> bool {
        matches!(self.family.window, Window::Chunked { .. })
    }
}

fn windows(keys: &Keys<'_>, family: &Family, layers: usize) -> Result<Vec<usize>, Error> {
    let stated = keys.count("attention.sliding_window");
    let (period, length) = match family.window {
        Window::Never => return Ok(vec![0; layers]),
        Window::Sliding { period, default } => (period, stated.unwrap_or(default as usize)),
        Window::Chunked { period, length } => (period, if stated == Some(0) { 0 } else { length as usize }),
    };
    let pattern = "attention.sliding_window_pattern";
    let is_windowed: Vec<bool> = match keys.value(pattern) {
        Some(Value::Array(Array::Bool(list))) if list.len() >= layers => list[..layers].to_vec(),
        Some(Value::Array(_)) => return Err(keys.bad(pattern)),
        stated => {
            let period = stated.and_then(Value::to_unsigned).unwrap_or(period.into());
            (0..layers as u64).map(|layer| period == 0 || layer % period < period - 1).collect()
        }
    };
    Ok(is_windowed.into_iter().map(|windowed| if windowed { length } else { 0 }).collect())
}

fn rope(keys: &Keys<'_>, family: &Family, key: usize, log_multiplier: f32) -> Result<Rope, Error> {
    let dimensions = keys.count("rope.dimension_count").unwrap_or(key);
    if !dimensions.is_multiple_of(2) || dimensions > key {
        return Err(keys.bad("rope.dimension_count"));
    }
    let kind = keys.metadata.string(&keys.name("rope.scaling.type")).unwrap_or("linear");
    let factor = keys.number("rope.scaling.factor").or(keys.number("rope.scale_linear"));
    let factor = factor.filter(|factor| *factor > 0.0 && kind != "none").unwrap_or(1.0);
    let yarn = keys.number("rope.scaling.yarn_ext_factor");
    let yarn = yarn.filter(|share| *share >= 0.0).unwrap_or(if kind == "yarn" { 1.0 } else { 0.0 });
    let mut magnitude = keys.number("rope.scaling.yarn_attn_factor").unwrap_or(1.0);
    if yarn != 0.0 {
        let grown = |multiplier: f32| if factor <= 1.0 { 1.0 } else { 0.1 * multiplier * factor.ln() + 1.0 };
        magnitude = match log_multiplier {
            0.0 => grown(1.0),
            all if family.name == "deepseek2" && all != 1.0 => grown(all) / grown(all),
            all => grown(1.0) / grown(all),
        };
        magnitude *= 1.0 / (1.0 + 0.1 * factor.ln());
    }
    magnitude *= keys.number("rope.scaling.attn_factor").unwrap_or(1.0);
    let context = keys.number("rope.scaling.original_context_length").or(keys.number("context_length"));
    let beta = |key: &str, default: f32| keys.number(key).unwrap_or(default);
    Ok(Rope {
        pairs: family.pairs.unwrap_or(super::rope::Pairs::Adjacent),
        dimensions,
        base: keys.number("rope.freq_base").unwrap_or(10_000.0),
        scale: 1.0 / factor,
        yarn,
        magnitude,
        betas: (beta("rope.scaling.yarn_beta_fast", 32.0), beta("rope.scaling.yarn_beta_slow", 1.0)),
        context: context.unwrap_or(0.0),
    })
}

/// What the rotation of layers with a window has of its own.
fn windowed_rope(keys: &Keys<'_>, family: &Family, rope: &Rope) -> Rope {
    let base = keys.number("rope.freq_base_swa");
    match family.name {
        "gemma3" => Rope { base: base.unwrap_or(10_000.0), scale: 1.0, ..rope.clone() },
        "olmo2" => Rope { scale: 1.0, yarn: 0.0, magnitude: 1.0, ..rope.clone() },
        "cohere2" => rope.clone(),
        _ => Rope { base: base.unwrap_or(rope.base), ..rope.clone() },
    }
}

fn temperature(keys: &Keys<'_>, family: &Family, no_window: bool) -> Result<Option<Temperature>, Error> {
    if family.name == "llama4" {
        return Ok((!no_window).then_some(Temperature { scale: 0.1, floor: 8192.0, offset: 1.0 }));
    }
    let Some(scale) = keys.number("attention.temperature_scale").filter(|scale| *scale != 0.0) else { return Ok(None) };
    let floor = match family.name {
        "deepseek2" => "attention.temperature_length",
        _ => "rope.scaling.original_context_length",
    };
    let positions = keys.number(floor).filter(|positions| *positions > 0.0).ok_or_else(|| keys.bad(floor))?;
    Ok(Some(Temperature { scale, floor: positions, offset: 0.0 }))
}

fn experts(keys: &Keys<'_>, family: &Family) -> Result<Option<Experts>, Error> {
    let count = match keys.count("expert_count") {
        None | Some(0) => return Ok(None),
        Some(count) => count,
    };
    let used = keys.required("expert_used_count")?;
    if used > count {
        return Err(keys.bad("expert_used_count"));
    }
    let gating = match keys.count("expert_gating_func") {
        None | Some(0) => family.routing.gating,
        Some(1) => Gating::Softmax,
        Some(2) => Gating::Sigmoid,
        Some(3) => Gating::SoftmaxOfChosen,
        Some(_) => return Err(keys.bad("expert_gating_func")),
    };
    let groups = (keys.count("expert_group_count").unwrap_or(0), keys.count("expert_group_used_count").unwrap_or(0));
    if groups.0 > 1 && (count % groups.0 != 0 || groups.1 == 0 || groups.1 > groups.0) {
        return Err(keys.bad("expert_group_count"));
    }
    Ok(Some(Experts {
        used,
        gating,
        normalized: keys.flag("expert_weights_norm").unwrap_or(family.routing.normalized),
        scale: keys.number("expert_weights_scale").filter(|scale| *scale != 0.0).unwrap_or(1.0),
        groups,
    }))
}

fn latent(keys: &Keys<'_>) -> Result<Option<Latent>, Error> {
    let Some(rank) = keys.count("attention.kv_lora_rank").filter(|rank| *rank > 0) else { return Ok(None) };
    // files from before the compressed form was stored have the sizes of plain heads
    let length = |mla: &str, plain: &str| match keys.count(mla) {
        Some(length) => Ok(length),
        None => keys.required(plain),
    };
    let key = length("attention.key_length_mla", "attention.key_length")?;
    let value = length("attention.value_length_mla", "attention.value_length")?;
    let rotated = keys.required("rope.dimension_count")?;
    if rotated >= key {
        return Err(keys.bad("rope.dimension_count"));
    }
    Ok(Some(Latent { rank, key, value }))
}
