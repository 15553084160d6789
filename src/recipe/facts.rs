//! What recipes ask of a model, from its metadata.

use weightmill_formats::{Array, Metadata, Value};

/// The facts of a model that decide types.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `general.architecture`.
    pub architecture: String,
    /// `ARCH.block_count`, blocks for speculative decoding included.
    pub layers: usize,
    /// `ARCH.expert_count`; 0 without experts.
    pub experts: u64,
    /// Query heads of the first layer per key head; 0 without attention there.
    pub queries_per_key: u64,
    /// llama.cpp takes it for a 70B model, whose value projections are small and get more bits.
    pub seventy_b: bool,
    /// No language model: tensors have their publisher's names, which say nothing about their roles.
    pub own_names: bool,
}

/// Models that llama.cpp calls 70B: architecture, number of layers, and whether only with grouped key heads.
// load_arch_hparams of src/models/{llama,deci,jais2,olmo,qwen2}.cpp; llama-embed inherits llama's.
const SEVENTY_B: &[(&str, u64, bool)] = &[
    ("llama", 80, true),
    ("llama-embed", 80, true),
    ("deci", 80, false),
    ("olmo", 80, false),
    ("qwen2", 80, false),
    ("jais2", 68, false),
];

impl Facts {
    /// Reads the facts; keys that are missing count as zero, as in llama.cpp's `load_hparams`.
    pub fn of(architecture: &str, metadata: &Metadata) -> Facts {
        let number = |key: &str| first(metadata.get(&format!("{architecture}.{key}"))?);
        let blocks = number("block_count").unwrap_or(0);
        let experts = number("expert_count").unwrap_or(0);
        let heads = number("attention.head_count").unwrap_or(0);
        let key_heads = number("attention.head_count_kv").unwrap_or(heads);
        // Blocks that only predict further tokens do not count for the size of the model.
        let own_blocks = blocks.saturating_sub(number("nextn_predict_layers").unwrap_or(0));
        let listed = SEVENTY_B.iter().find(|&&(name, layers, _)| name == architecture && layers == own_blocks);
        let seventy_b = listed.is_some_and(|&(_, _, grouped)| !grouped || heads != key_heads);
        Facts {
            architecture: architecture.to_owned(),
            layers: usize::try_from(layer_count(architecture, blocks, number("num_loops"))).unwrap_or(usize::MAX),
            experts,
            queries_per_key: heads.checked_div(key_heads).unwrap_or(0),
            seventy_b,
            own_names: false,
        }
    }
}

/// Layers as llama.cpp counts them when it spreads types over a model.
// load_arch_hparams of src/models/granite-switch.cpp and nanbeige.cpp.
fn layer_count(architecture: &str, blocks: u64, loops: Option<u64>) -> u64 {
    match architecture {
        // A layer that holds the router's keys follows the blocks.
        "graniteswitch" => blocks.saturating_add(1),
        // The blocks are run several times.
        "nanbeige" => blocks.saturating_mul(loops.unwrap_or(1).max(1)),
        _ => blocks,
    }
}

/// A number, or the first one of an array with one per layer.
fn first(value: &Value) -> Option<u64> {
    match value {
        Value::Array(Array::U32(values)) => values.first().map(|&n| n.into()),
        Value::Array(Array::I32(values)) => values.first().and_then(|&n| n.try_into().ok()),
        scalar => scalar.to_unsigned(),
    }
}
