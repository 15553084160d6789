//! Which operations of a model's graph channels go between: the graph is that of [`crate::forward`].

use std::collections::HashMap;

use super::link::{Columns, Link, Origin, User};
use super::{Unlinked, Why};
use crate::forward::{Activation, Settings};
use crate::model::Model;

/// The matrices that see the input of attention; the first that there is is measured.
const ATTENTION: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_qkv", "attn_q_a", "attn_kv_a_mqa"];

/// Those that see the input of a feed-forward network without experts.
const DENSE: &[&str] = &["ffn_up", "ffn_gate"];

/// Those of one with experts. The router sees all tokens.
const ROUTED: &[&str] = &[
    "ffn_gate_inp",
    "ffn_gate_inp_shexp",
    "ffn_up_exps",
    "ffn_gate_exps",
    "ffn_gate_up_exps",
    "ffn_up_shexp",
    "ffn_gate_shexp",
];

/// The graph of one layer.
struct Layer<'a> {
    number: usize,
    settings: &'a Settings,
    shapes: &'a HashMap<&'a str, &'a [u64]>,
}

/// Every link of a model in the order of layers, and the inputs that have none.
pub(super) fn links(model: &Model, settings: &Settings) -> (Vec<Link>, Vec<Unlinked>) {
    let shapes = model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let (mut links, mut unlinked) = (Vec::new(), Vec::new());
    for number in 0..settings.layers {
        let layer = Layer { number, settings, shapes: &shapes };
        for found in layer.links() {
            match found {
                Ok(link) => links.push(link),
                Err(reason) => unlinked.push(reason),
            }
        }
    }
    (links, unlinked)
}

impl Layer<'_> {
    fn name(&self, name: &str) -> String {
        format!("blk.{}.{name}", self.number)
    }

    fn shape(&self, name: &str) -> Option<&[u64]> {
        self.shapes.get(format!("{}.weight", self.name(name)).as_str()).copied()
    }

    fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// Rows and columns of one matrix of a tensor.
    fn size(&self, name: &str) -> Option<[usize; 2]> {
        let shape = self.shape(name)?;
        let &[.., rows, columns] = shape else { return None };
        Some([rows as usize, columns as usize])
    }

    fn users(&self, names: &[&str]) -> Vec<User> {
        let there = names.iter().filter(|name| self.has(name));
        there.map(|name| User { tensor: format!("{}.weight", self.name(name)), matrix: None }).collect()
    }

    fn links(&self) -> Vec<Result<Link, Unlinked>> {
        let attention = self.users(ATTENTION);
        let network = self.users(if self.has("ffn_gate_inp") { ROUTED } else { DENSE });
        // as crate::forward decides which norm is whose
        let (first, before, after) = (self.has("attn_norm"), self.has("ffn_norm"), self.has("post_attention_norm"));
        let mut found = Vec::new();
        match (before, after) {
            (false, false) => found.extend(self.norm("attn_norm", [attention, network].concat())),
            _ => {
                found.extend(self.norm("attn_norm", attention));
                let of_result = after && (before || !first);
                let name = if before || of_result { "ffn_norm" } else { "post_attention_norm" };
                found.extend(self.norm(name, network));
            }
        }
        found.extend(self.attention());
        found.extend(["", "_shexp"].into_iter().filter_map(|suffix| self.network(suffix, None)));
        let experts = self.shape("ffn_down_exps").filter(|shape| shape.len() == 3).map_or(0, |shape| shape[0] as usize);
        for expert in 0..experts {
            let link = self.network("_exps", Some(expert));
            // one reason is enough
            let known = expert > 0 && matches!(link, Some(Err(_)));
            found.extend(link.filter(|_| !known));
        }
        found
    }

    /// From a norm to what sees its result; without it a reason for all of that.
    fn norm(&self, name: &str, users: Vec<User>) -> Vec<Result<Link, Unlinked>> {
        let Some(measured) = users.first().cloned() else { return Vec::new() };
        match self.shape(name) {
            None => users.into_iter().map(|user| Err(Unlinked { tensor: user.tensor, because: Why::NoNorm })).collect(),
            Some(shape) => vec![Ok(Link {
                layer: self.number,
                origin: Origin::Norm(self.name(name)),
                channels: shape.iter().product::<u64>() as usize,
                users,
                columns: Columns::Same,
                measured,
            })],
        }
    }

    /// Inside attention: from values to the output, and between the matrices of latent attention.
    fn attention(&self) -> Vec<Result<Link, Unlinked>> {
        let settings = self.settings;
        let output = User { tensor: format!("{}.weight", self.name("attn_output")), matrix: None };
        if settings.latent.is_some() {
            let mut found = Vec::new();
            if self.has("attn_q_b") {
                found.extend(self.norm("attn_q_a_norm", self.users(&["attn_q_b"])));
            }
            let keys = if self.has("attn_k_b") { "attn_k_b" } else { "attn_kv_b" };
            found.push(Err(Unlinked { tensor: format!("{}.weight", self.name(keys)), because: Why::Latent }));
            found.push(match self.shape("attn_v_b") {
                Some(&[heads, value, _]) => {
                    let origin = Origin::Rows { name: self.name("attn_v_b"), first: 0 };
                    Ok(self.rows(origin, (heads * value) as usize, Columns::Same, output))
                }
                _ => Err(Unlinked { tensor: output.tensor, because: Why::Latent }),
            });
            return found;
        }
        let (heads, groups) = (settings.heads[self.number], settings.kv_heads[self.number]);
        let (key, value) = (settings.key, settings.value);
        let (name, first) = match self.has("attn_qkv") {
            true => ("attn_qkv", (heads + groups) * key),
            false => ("attn_v", 0),
        };
        if !self.has(name) || groups == 0 || !heads.is_multiple_of(groups) {
            return vec![Err(Unlinked { tensor: output.tensor, because: Why::Unknown })];
        }
        let columns = match heads / groups {
            1 => Columns::Same,
            heads => Columns::Repeated { heads, length: value },
        };
        let origin = Origin::Rows { name: self.name(name), first };
        vec![Ok(self.rows(origin, groups * value, columns, output))]
    }

    /// From rows of a matrix to what sees them.
    fn rows(&self, origin: Origin, channels: usize, columns: Columns, user: User) -> Link {
        Link { layer: self.number, origin, channels, users: vec![user.clone()], columns, measured: user }
    }

    /// From the branch that a gate multiplies to the matrix behind; nothing if there is no such network.
    fn network(&self, suffix: &str, expert: Option<usize>) -> Option<Result<Link, Unlinked>> {
        let name = |branch: &str| format!("ffn_{branch}{suffix}");
        let [_, inner] = self.size(&name("down"))?;
        let user = User { tensor: format!("{}.weight", self.name(&name("down"))), matrix: expert };
        let up = if self.has(&name("gate_up")) { name("gate_up") } else { name("up") };
        let before = expert.unwrap_or(0) * self.size(&up).map_or(0, |[rows, _]| rows);
        let first = match self.size(&up) {
            Some([rows, _]) if self.has(&name("gate")) && rows == inner => before,
            Some([rows, _]) if !self.has(&name("gate")) && rows == 2 * inner => before + inner,
            _ => return Some(Err(Unlinked { tensor: user.tensor, because: Why::NotLinear })),
        };
        if self.settings.family.activation == Activation::ClampedSwiglu {
            return Some(Err(Unlinked { tensor: user.tensor, because: Why::NotLinear }));
        }
        let origin = Origin::Rows { name: self.name(&up), first };
        Some(Ok(self.rows(origin, inner, Columns::Same, user)))
    }
}
