//! What Qwen3-Next and Qwen 3.5 have in common: linear attention in most layers, gated attention in the others, and behind
//! them a layer that predicts further tokens.

use std::rc::Rc;

use weightmill_formats::Value;

use super::Description;
use super::config::{Config, ConfigError};
use super::decoder::Decoder;
use super::qwen::sizes_of_experts;
use super::rope::Rope;
use super::rule::Rule;
use crate::model::Map;

/// Of so many layers one has full attention, where the config says nothing.
const FULL_ATTENTION_INTERVAL: u32 = 4;

/// Dimensions of linear attention.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// Columns of the embedding table.
    pub hidden: u64,
    /// Heads of queries and of keys.
    pub groups: u64,
    /// Heads of values for each of these.
    pub members: u64,
    /// Rows of a query or key head.
    pub key: u64,
    /// Rows of a value head.
    pub value: u64,
    /// Tokens that the convolution spans.
    pub kernel: u64,
}

impl Linear {
    /// The dimensions in a config that was completed.
    ///
    /// # Errors
    /// When one is missing or no count, or when they do not fit each other.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let (groups, heads) = (config.dimension("linear_num_key_heads")?, config.dimension("linear_num_value_heads")?);
        if !heads.is_multiple_of(groups) {
            let problem = format!("{heads} is no multiple of linear_num_key_heads ({groups})");
            return Err(config.error("linear_num_value_heads", problem));
        }
        Ok(Self {
            hidden: config.dimension("hidden_size")?,
            groups,
            members: heads / groups,
            key: config.dimension("linear_key_head_dim")?,
            value: config.dimension("linear_value_head_dim")?,
            kernel: config.dimension("linear_conv_kernel_dim")?,
        })
    }

    /// Heads of values.
    pub fn heads(&self) -> u64 {
        self.groups * self.members
    }

    /// Rows of all value heads.
    pub fn values(&self) -> u64 {
        self.heads() * self.value
    }

    /// Rows of all queries, keys and values.
    pub fn channels(&self) -> u64 {
        2 * self.groups * self.key + self.values()
    }
}

/// Sets what transformers takes for granted of both.
pub fn complete(config: &mut Config) {
    config.set_default("max_position_embeddings", 32_768);
    config.set_default("rms_norm_eps", 1e-6);
    config.set_default("head_dim", 256);
    config.set_default("linear_conv_kernel_dim", 4);
    config.set_default("linear_key_head_dim", 128);
    config.set_default("linear_value_head_dim", 128);
    config.set_default("linear_num_key_heads", 16);
    config.set_default("linear_num_value_heads", 32);
    config.set_default("full_attention_interval", FULL_ATTENTION_INTERVAL);
}

/// Describes a model with these rules for its linear attention and its feed-forward networks.
///
/// # Errors
/// When a setting is missing or of the wrong kind.
pub fn describe(config: &Config, linear_rules: Vec<Rule>, feed_forward: Vec<Rule>) -> Result<Description, ConfigError> {
    let decoder = Decoder::read(config)?;
    let predicting = config.whole("mtp_num_hidden_layers")?.unwrap_or(0);
    let Some(layers) = decoder.layers.checked_add(predicting) else {
        return Err(config.error("mtp_num_hidden_layers", format!("{predicting}, too many layers")));
    };
    let linear: Rc<[bool]> = linear_layers(config)?.into();
    let is_linear = {
        let linear = Rc::clone(&linear);
        move |layer: u32| linear.get(layer as usize).copied().unwrap_or(false)
    };
    let first_predicting = decoder.layers;

    let hidden = config.dimension("hidden_size")?;
    let rows = u64::from(decoder.vocabulary);
    let norm = |from, to| decoder.norm(from, to).map(Map::PlusOne);
    let mut rules = vec![
        Rule::new("model.embed_tokens.weight", "token_embd.weight", [rows, hidden]),
        Rule::new("lm_head.weight", "output.weight", [rows, hidden])
            .optional_unless(!config.flag("tie_word_embeddings")?),
        norm("model.norm.weight", "output_norm.weight"),
        norm("model.layers.{}.input_layernorm.weight", "blk.{}.attn_norm.weight"),
        norm("model.layers.{}.post_attention_layernorm.weight", "blk.{}.post_attention_norm.weight"),
    ];
    rules.extend(linear_rules.into_iter().map(|rule| rule.on(is_linear.clone())));
    rules.extend(gated_attention(config, &decoder)?.into_iter().map(|rule| {
        let is_linear = is_linear.clone();
        rule.on(move |layer| !is_linear(layer))
    }));
    rules.extend(feed_forward);
    let prediction = [
        Rule::new("model.layers.{}.eh_proj.weight", "blk.{}.nextn.eh_proj.weight", [hidden, 2 * hidden]),
        norm("model.layers.{}.enorm.weight", "blk.{}.nextn.enorm.weight"),
        norm("model.layers.{}.hnorm.weight", "blk.{}.nextn.hnorm.weight"),
        norm("model.layers.{}.shared_head.norm.weight", "blk.{}.nextn.shared_head_norm.weight"),
    ];
    rules.extend(prediction.map(|rule| rule.on(move |layer| layer == first_predicting)));
    Ok(Description {
        layers,
        vocabulary_rows: decoder.vocabulary,
        renames: renames(decoder.layers, predicting),
        rules,
        hyper_parameters: hyper_parameters(config, &decoder, predicting, &linear)?,
        ..Description::default()
    })
}

/// For every layer whether its attention is linear.
fn linear_layers(config: &Config) -> Result<Vec<bool>, ConfigError> {
    let layers = config.dimension("num_hidden_layers")?;
    let Some(types) = config.list("layer_types")? else {
        let interval = u64::from(config.required_count("full_attention_interval")?);
        return Ok((1..=layers).map(|layer| !layer.is_multiple_of(interval)).collect());
    };
    if types.len() as u64 != layers {
        let problem = format!("{} entries, but num_hidden_layers is {layers}", types.len());
        return Err(config.error("layer_types", problem));
    }
    Ok(types.iter().map(|kind| kind == "linear_attention").collect())
}

/// Attention over all tokens, a gate beside every query.
fn gated_attention(config: &Config, decoder: &Decoder) -> Result<Vec<Rule>, ConfigError> {
    let [_, k, v, o] = decoder.attention();
    let gated = 2 * u64::from(decoder.queries);
    let mut rules = vec![
        Rule::new("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", [gated, decoder.hidden.into()]),
        k,
        v,
        o,
    ];
    rules.extend(decoder.head_norms().map(|rule| rule.map(Map::PlusOne)));
    if config.flag("attention_bias")? {
        let [_, k, v, o] = decoder.attention_biases(true);
        let q = Rule::new("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", [gated]);
        rules.extend([q, k, v, o]);
    }
    Ok(rules)
}

/// The predicting layers are stored apart; in GGUF they follow the others, and what they have in common belongs to the
/// first of them.
fn renames(layers: u32, predicting: u32) -> Vec<(String, String)> {
    let common = [
        ("fc.", "eh_proj."),
        ("pre_fc_norm_embedding.", "enorm."),
        ("pre_fc_norm_hidden.", "hnorm."),
        ("norm.", "shared_head.norm."),
    ];
    let common = common.map(|(from, to)| (format!("mtp.{from}"), format!("model.layers.{layers}.{to}")));
    let numbers = (0..predicting.min(MAX_PREDICTING)).map(|number| {
        (format!("mtp.layers.{number}."), format!("model.layers.{}.", u64::from(layers) + u64::from(number)))
    });
    let names = common.into_iter().chain(numbers);
    names.flat_map(|(from, to)| [(format!("model.{from}"), to.clone()), (from, to)]).collect()
}

/// Most layers that predict further tokens; published models have one.
const MAX_PREDICTING: u32 = 64;

fn hyper_parameters(
    config: &Config,
    decoder: &Decoder,
    predicting: u32,
    linear: &[bool],
) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    let count = |key| config.required_count(key);
    let heads = count("linear_num_value_heads")?;
    let Some(inner) = count("linear_value_head_dim")?.checked_mul(heads) else {
        return Err(config.error("linear_value_head_dim", format!("too large for {heads} heads")));
    };
    let mut entries = sizes_of_experts(config)?;
    if predicting > 0 {
        entries.push(("block_count", (decoder.layers + predicting).into()));
        entries.push(("nextn_predict_layers", predicting.into()));
    }
    let mut recurrent = linear.to_vec();
    recurrent.extend((0..predicting.min(MAX_PREDICTING)).map(|_| false));
    let rotated = Rope::read(config)?.rotated(decoder.head_dim, 0.25)?;
    // transformers turns an interval into types of layers and forgets it, and the converter takes the usual one for granted
    let interval =
        config.get("layer_types").map_or(Ok(FULL_ATTENTION_INTERVAL), |_| count("full_attention_interval"))?;
    entries.extend([
        ("ssm.conv_kernel", count("linear_conv_kernel_dim")?.into()),
        ("ssm.state_size", count("linear_key_head_dim")?.into()),
        ("ssm.group_count", count("linear_num_key_heads")?.into()),
        ("ssm.time_step_rank", heads.into()),
        ("ssm.inner_size", inner.into()),
        ("attention.recurrent_layers", recurrent.into()),
        ("full_attention_interval", interval.into()),
        ("rope.dimension_count", rotated.into()),
    ]);
    Ok(entries)
}
