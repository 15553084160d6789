//! Rules of recipes, as data: role of the tensor, conditions on model and position, type.

use weightmill_kernels::Dtype;

/// What a tensor does in its model, as far as recipes tell tensors apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Role {
    TokenEmbedding,
    Output,
    AttentionQ,
    AttentionK,
    /// Value projections, also those fused with others: more sensitive to quantization than the rest.
    AttentionV,
    AttentionOutput,
    FfnUp,
    FfnGate,
    FfnDown,
    Other,
}

/// Substrings of tensor names and the roles that they mean; the first match decides.
const ROLES: &[(&str, Role)] = &[
    ("attn_qkv.weight", Role::AttentionV),
    ("attn_kv_b.weight", Role::AttentionV),
    ("attn_v.weight", Role::AttentionV),
    ("attn_k.weight", Role::AttentionK),
    ("attn_q.weight", Role::AttentionQ),
    ("attn_output.weight", Role::AttentionOutput),
    ("ffn_up", Role::FfnUp),
    ("ffn_gate", Role::FfnGate),
    ("ffn_down", Role::FfnDown),
];

impl Role {
    /// The role of the tensor of this GGUF name.
    pub fn of(name: &str) -> Role {
        match name {
            "output.weight" => Role::Output,
            "token_embd.weight" | "per_layer_token_embd.weight" => Role::TokenEmbedding,
            _ => ROLES.iter().find(|(part, _)| name.contains(part)).map_or(Role::Other, |&(_, role)| role),
        }
    }
}

/// Tensors of `role` get type `to` if all of `when` hold.
#[derive(Debug)]
pub struct Rule {
    /// Which tensors; all if there is none.
    pub role: Option<Role>,
    /// In which models and positions.
    pub when: &'static [When],
    /// The type that they get.
    pub to: Dtype,
}

/// A condition of a [`Rule`]. Positions count the tensors of one role: layer `i` of `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The architecture is Falcon.
    Falcon,
    /// The architecture is not Falcon.
    NotFalcon,
    /// Exactly eight experts, as Mixtral has.
    EightExperts,
    /// Any other number of experts, or none.
    NotEightExperts,
    /// Four experts or more.
    FourExperts,
    /// At least four query heads share a key head.
    GroupedBy4,
    /// There is an importance matrix.
    Importance,
    /// There is none.
    NoImportance,
    /// The architecture is not BailingMoE 3, whose latent attention has stacks of matrices too.
    NotBailingMoe3,
    /// The tensor is a stack of matrices, mostly of experts.
    Stacked,
    /// `i` is less than this.
    First(usize),
    /// `i` is less than `n` divided by this, rounded down.
    FirstOneIn(usize),
    /// Neither the first nor the last eighth.
    Middle,
    /// The first and the last eighth, and every third layer between.
    MoreBits,
}

/// What conditions are about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation<'a> {
    pub facts: &'a super::Facts,
    pub importance: bool,
    /// The tensor is a stack of matrices.
    pub stacked: bool,
    /// Layer.
    pub i: usize,
    /// Number of layers.
    pub n: usize,
}

impl When {
    pub(super) fn holds(self, at: Situation<'_>) -> bool {
        let Situation { facts, importance, stacked, i, n } = at;
        match self {
            When::Falcon => facts.architecture == "falcon",
            When::NotFalcon => facts.architecture != "falcon",
            When::EightExperts => facts.experts == 8,
            When::NotEightExperts => facts.experts != 8,
            When::FourExperts => facts.experts >= 4,
            When::GroupedBy4 => facts.queries_per_key >= 4,
            When::Importance => importance,
            When::NoImportance => !importance,
            When::NotBailingMoe3 => facts.architecture != "bailingmoe3",
            When::Stacked => stacked,
            When::First(count) => i < count,
            When::FirstOneIn(parts) => i < n / parts,
            When::Middle => i >= n / 8 && i < 7 * n / 8,
            // Where i reaches n / 8 the difference is not negative; before it the first condition holds.
            When::MoreBits => i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2,
        }
    }
}

/// The first rule for `role` whose conditions all hold.
pub(super) fn first_match(rules: &[Rule], role: Role, at: Situation<'_>) -> Option<Dtype> {
    let applies = |rule: &&Rule| rule.role.is_none_or(|of| of == role) && rule.when.iter().all(|when| when.holds(at));
    rules.iter().find(applies).map(|rule| rule.to)
}
