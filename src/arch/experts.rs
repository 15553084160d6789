//! Rules for mixtures of experts, under the names that Qwen and DeepSeek give them.

use super::rule::Rule;

/// The experts of one layer.
#[derive(Clone, Copy, Debug)]
pub struct Experts {
    /// How many there are.
    pub count: u32,
    /// Columns of the embedding table.
    pub hidden: u64,
    /// Rows between the two halves of one expert.
    pub inner: u64,
}

impl Experts {
    /// The router and the experts' matrices, each in a tensor of its own.
    pub fn rules(&self) -> [Rule; 2] {
        let &Self { count, hidden, inner } = self;
        [
            Rule::new("model.layers.{}.mlp.gate.weight", "blk.{}.ffn_gate_inp.weight", [u64::from(count), hidden]),
            Rule::experts(
                count,
                &[
                    (
                        "model.layers.{}.mlp.experts.{e}.down_proj.weight",
                        "blk.{}.ffn_down_exps.weight",
                        [hidden, inner],
                    ),
                    (
                        "model.layers.{}.mlp.experts.{e}.gate_proj.weight",
                        "blk.{}.ffn_gate_exps.weight",
                        [inner, hidden],
                    ),
                    ("model.layers.{}.mlp.experts.{e}.up_proj.weight", "blk.{}.ffn_up_exps.weight", [inner, hidden]),
                ],
            ),
        ]
    }
}

/// Qwen's expert that every token goes through, with `inner` rows between its halves, and the gate before it.
pub fn gated_shared_expert(hidden: u64, inner: u64) -> [Rule; 4] {
    [
        Rule::new(
            "model.layers.{}.mlp.shared_expert.gate_proj.weight",
            "blk.{}.ffn_gate_shexp.weight",
            [inner, hidden],
        ),
        Rule::new("model.layers.{}.mlp.shared_expert.up_proj.weight", "blk.{}.ffn_up_shexp.weight", [inner, hidden]),
        Rule::new(
            "model.layers.{}.mlp.shared_expert.down_proj.weight",
            "blk.{}.ffn_down_shexp.weight",
            [hidden, inner],
        ),
        Rule::new("model.layers.{}.mlp.shared_expert_gate.weight", "blk.{}.ffn_gate_inp_shexp.weight", [1, hidden]),
    ]
}

/// DeepSeek's experts that every token goes through, stored as one with `inner` rows between its halves.
pub fn shared_experts(hidden: u64, inner: u64) -> [Rule; 3] {
    [
        Rule::new(
            "model.layers.{}.mlp.shared_experts.gate_proj.weight",
            "blk.{}.ffn_gate_shexp.weight",
            [inner, hidden],
        ),
        Rule::new("model.layers.{}.mlp.shared_experts.up_proj.weight", "blk.{}.ffn_up_shexp.weight", [inner, hidden]),
        Rule::new(
            "model.layers.{}.mlp.shared_experts.down_proj.weight",
            "blk.{}.ffn_down_shexp.weight",
            [hidden, inner],
        ),
    ]
}
