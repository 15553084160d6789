//! Rules for mixtures of experts, under the names that Qwen and DeepSeek give them.

use super::rule::{Part, Rule};
use crate::view::{Axis, View};

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
    /// The router and the experts' matrices, as [`Self::rules`] has them or, since transformers 5, in stacks, gate above up.
    pub fn rules_or_stacks(&self) -> [Rule; 4] {
        const GATE_UP: &str = "model.layers.{}.mlp.experts.gate_up_proj";
        const DOWN: &str = "model.layers.{}.mlp.experts.down_proj";
        let (count, hidden, inner) = (u64::from(self.count), self.hidden, self.inner);
        let half = |first: u64| View {
            base: first * hidden,
            rows: vec![Axis::new(count, 2 * inner * hidden), Axis::new(inner, hidden)],
            columns: Axis::new(hidden, 1),
        };
        let [router, separate] = self.rules();
        [
            router,
            separate.required_without(&[DOWN, GATE_UP]),
            Rule::split(
                DOWN,
                &[count, hidden, inner],
                vec![Part::new(
                    "blk.{}.ffn_down_exps.weight",
                    &[count, hidden, inner],
                    View::whole(&[count, hidden, inner]),
                )],
            )
            .required_with(&[GATE_UP]),
            Rule::split(
                GATE_UP,
                &[count, 2 * inner, hidden],
                vec![
                    Part::new("blk.{}.ffn_gate_exps.weight", &[count, inner, hidden], half(0)),
                    Part::new("blk.{}.ffn_up_exps.weight", &[count, inner, hidden], half(inner)),
                ],
            )
            .required_with(&[DOWN]),
        ]
    }

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
