//! What most decoders have in common: their dimensions, and rules for the tensors that they name alike.

use super::config::{Config, ConfigError};
use super::hyper;
use super::rule::Rule;

/// Dimensions of a decoder, under the names that most configs have for them.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Blocks.
    pub layers: u32,
    /// Rows of the embedding table.
    pub vocabulary: u32,
    /// Columns of the embedding table.
    pub hidden: u32,
    /// Rows between the two halves of a feed-forward network; those of an expert, where there is nothing else.
    pub feed_forward: u32,
    /// Heads of queries.
    pub heads: u32,
    /// Heads of keys and of values.
    pub key_value_heads: u32,
    /// Rows of a head.
    pub head_dim: u32,
    /// Rows of all query heads.
    pub queries: u32,
    /// Rows of all key heads.
    pub keys: u32,
}

impl Decoder {
    /// The dimensions in a config that was completed.
    ///
    /// # Errors
    /// When one is missing or no count, or when they do not fit each other.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        let heads = config.required_count("num_attention_heads")?;
        let key_value_heads = config.required_count("num_key_value_heads")?;
        if !heads.is_multiple_of(key_value_heads) {
            let problem = format!("{key_value_heads} does not divide num_attention_heads ({heads})");
            return Err(config.error("num_key_value_heads", problem));
        }
        let hidden = config.required_count("hidden_size")?;
        let head_dim = match config.count("head_dim")? {
            Some(head_dim) => head_dim,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let problem =
                    format!("{hidden} is no multiple of num_attention_heads ({heads}), and head_dim is missing");
                return Err(config.error("hidden_size", problem));
            }
        };
        if !head_dim.is_multiple_of(2) {
            return Err(config.error("head_dim", format!("{head_dim} is odd: rotary embeddings need pairs")));
        }
        let Some(queries) = heads.checked_mul(head_dim) else {
            return Err(config.error("head_dim", format!("{heads} heads of {head_dim} columns are too many")));
        };
        let feed_forward = match config.get("intermediate_size") {
            None if config.get("moe_intermediate_size").is_some() => "moe_intermediate_size",
            _ => "intermediate_size",
        };
        Ok(Self {
            layers: hyper::layers(config)?,
            vocabulary: config.required_count("vocab_size")?,
            hidden,
            feed_forward: config.required_count(feed_forward)?,
            heads,
            key_value_heads,
            head_dim,
            queries,
            keys: key_value_heads * head_dim,
        })
    }

    /// Embeddings, output (absent where it is `tied` to them) and the last norm.
    pub fn ends(&self, tied: bool) -> Vec<Rule> {
        let &Self { vocabulary, hidden, .. } = self;
        vec![
            Rule::new("model.embed_tokens.weight", "token_embd.weight", [vocabulary, hidden]),
            Rule::new("lm_head.weight", "output.weight", [vocabulary, hidden]).optional_unless(!tied),
            Rule::new("model.norm.weight", "output_norm.weight", [hidden]),
        ]
    }

    /// A norm of the hidden state in every block, by the name of its module and its name in GGUF.
    pub fn norm(&self, from: &'static str, to: &'static str) -> Rule {
        Rule::new(from, to, [self.hidden])
    }

    /// Projections of attention, in the order in which they are applied.
    pub fn attention(&self) -> [Rule; 4] {
        let &Self { hidden, queries, keys, .. } = self;
        [
            Rule::new("model.layers.{}.self_attn.q_proj.weight", "blk.{}.attn_q.weight", [queries, hidden]),
            Rule::new("model.layers.{}.self_attn.k_proj.weight", "blk.{}.attn_k.weight", [keys, hidden]),
            Rule::new("model.layers.{}.self_attn.v_proj.weight", "blk.{}.attn_v.weight", [keys, hidden]),
            Rule::new("model.layers.{}.self_attn.o_proj.weight", "blk.{}.attn_output.weight", [hidden, queries]),
        ]
    }

    /// Biases of the same projections.
    pub fn attention_biases(&self, required: bool) -> [Rule; 4] {
        let &Self { hidden, queries, keys, .. } = self;
        [
            Rule::new("model.layers.{}.self_attn.q_proj.bias", "blk.{}.attn_q.bias", [queries]),
            Rule::new("model.layers.{}.self_attn.k_proj.bias", "blk.{}.attn_k.bias", [keys]),
            Rule::new("model.layers.{}.self_attn.v_proj.bias", "blk.{}.attn_v.bias", [keys]),
            Rule::new("model.layers.{}.self_attn.o_proj.bias", "blk.{}.attn_output.bias", [hidden]),
        ]
        .map(|rule| rule.optional_unless(required))
    }

    /// Biases of all of these projections but the last.
    pub fn qkv_biases(&self, required: bool) -> [Rule; 3] {
        let [q, k, v, _] = self.attention_biases(required);
        [q, k, v]
    }

    /// Norms of the heads of queries and of keys.
    pub fn head_norms(&self) -> [Rule; 2] {
        [
            Rule::new("model.layers.{}.self_attn.q_norm.weight", "blk.{}.attn_q_norm.weight", [self.head_dim]),
            Rule::new("model.layers.{}.self_attn.k_norm.weight", "blk.{}.attn_k_norm.weight", [self.head_dim]),
        ]
    }

    /// A feed-forward network with a gate.
    pub fn feed_forward(&self) -> [Rule; 3] {
        let &Self { hidden, feed_forward, .. } = self;
        [
            Rule::new("model.layers.{}.mlp.gate_proj.weight", "blk.{}.ffn_gate.weight", [feed_forward, hidden]),
            Rule::new("model.layers.{}.mlp.up_proj.weight", "blk.{}.ffn_up.weight", [feed_forward, hidden]),
            Rule::new("model.layers.{}.mlp.down_proj.weight", "blk.{}.ffn_down.weight", [hidden, feed_forward]),
        ]
    }

    /// Biases of the same.
    pub fn feed_forward_biases(&self, required: bool) -> [Rule; 3] {
        let &Self { hidden, feed_forward, .. } = self;
        [
            Rule::new("model.layers.{}.mlp.gate_proj.bias", "blk.{}.ffn_gate.bias", [feed_forward]),
            Rule::new("model.layers.{}.mlp.up_proj.bias", "blk.{}.ffn_up.bias", [feed_forward]),
            Rule::new("model.layers.{}.mlp.down_proj.bias", "blk.{}.ffn_down.bias", [hidden]),
        ]
        .map(|rule| rule.optional_unless(required))
    }
}

/// Sets the number of key heads where config.json has none: `default`, or one per query head where a null is written out.
///
/// # Errors
/// When the number of query heads is missing or no count.
pub fn complete_key_value_heads(config: &mut Config, default: u32) -> Result<(), ConfigError> {
    let one_each = config.mentions("num_key_value_heads").then(|| config.required_count("num_attention_heads"));
    config.set_default("num_key_value_heads", one_each.transpose()?.unwrap_or(default));
    Ok(())
}
