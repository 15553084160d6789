//! Matrices of experts: published each by itself or all in one tensor, and wanted the other way round.
//!
//! Formats of servers know modules, so that every expert's matrix is one, as in `experts.3.gate_proj`. MLX has those of all
//! experts in one tensor, under the name that the model's `sanitize` in mlx-lm (0.32.2) gives it.
//!
//! How the rows of a stack lie (as columns or not, those of gate above those of up or in turn with them) the architecture's
//! rules say: matrices are taken from the tensors of GGUF that these rules make.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value as Json};

use super::select;
use crate::model::{Model, ModelTensor, Piece, TensorData};

/// How a format has the matrices of experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrangement {
    /// Each in a tensor of its own.
    Separate,
    /// Those of all experts in one tensor.
    Stacked,
}

/// The tensors of a checkpoint with experts in both arrangements.
#[derive(Clone, Debug, Default)]
pub struct Experts {
    separate: Rearranged,
    stacked: Rearranged,
}

/// What is otherwise in one arrangement.
#[derive(Clone, Debug, Default)]
struct Rearranged {
    /// Numbers of published tensors that are not there.
    replaced: HashSet<usize>,
    /// Those that are instead, each with the number of the published tensor whose place it takes.
    tensors: Vec<(usize, ModelTensor)>,
}

/// A published tensor with something of all experts of a block.
struct Stack {
    /// How its name ends.
    end: &'static str,
    /// What it is made of: the part of the name in GGUF, and the module's name where experts have one each.
    parts: &'static [(&'static str, &'static str)],
    /// Last part of the names of what it is made of.
    kind: &'static str,
}

#[rustfmt::skip]
const STACKS: &[Stack] = &[
    Stack { end: ".experts.gate_up_proj", parts: &[("gate", "gate_proj"), ("up", "up_proj")], kind: "weight" },
    Stack { end: ".experts.down_proj", parts: &[("down", "down_proj")], kind: "weight" },
    Stack { end: ".experts.gate_up_proj_bias", parts: &[("gate", "gate_proj"), ("up", "up_proj")], kind: "bias" },
    Stack { end: ".experts.down_proj_bias", parts: &[("down", "down_proj")], kind: "bias" },
    Stack { end: ".input_linear.weight", parts: &[("gate", "gate_proj"), ("up", "up_proj")], kind: "weight" },
    Stack { end: ".output_linear.weight", parts: &[("down", "down_proj")], kind: "weight" },
];

/// Models whose experts no server finds but in their stacks (as of vLLM 0.33 and transformers 5.23), by architecture.
const STACKED_ONLY: &[&str] = &["gpt-oss"];

/// Models whose experts mlx-lm finds in stacks, by `model_type`, and the module that has them. Of others `sanitize` does
/// more than stacking only where it finds single experts, so that stacks would be taken for a model that is complete.
const MLX: &[(&str, &str)] = &[
    ("deepseek_v2", "switch_mlp"),
    ("deepseek_v3", "switch_mlp"),
    ("glm4_moe", "switch_mlp"),
    ("gpt_oss", "experts"),
    ("granitemoe", "switch_mlp"),
    ("llama4", "experts"),
    ("mixtral", "switch_mlp"),
    ("olmoe", "switch_mlp"),
    ("phimoe", "switch_mlp"),
    ("qwen2_moe", "switch_mlp"),
    ("qwen3_5_moe", "switch_mlp"),
    ("qwen3_moe", "switch_mlp"),
    ("qwen3_vl_moe", "switch_mlp"),
];

/// Names of an expert's matrices, and what MLX calls them.
const MATRICES: &[(&str, &str)] = &[
    ("gate_proj", "gate_proj"),
    ("up_proj", "up_proj"),
    ("down_proj", "down_proj"),
    ("w1", "gate_proj"),
    ("w3", "up_proj"),
    ("w2", "down_proj"),
];

impl Experts {
    /// Of the tensors of a checkpoint, which is `model` as GGUF.
    pub fn of(published: &[ModelTensor], model: &Model, config: Option<&Map<String, Json>>) -> Self {
        let mut experts = Experts::default();
        let mlx = config.and_then(|config| config.get("model_type")?.as_str()).and_then(mlx_module);
        let by_name: HashMap<&str, &ModelTensor> =
            model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        let mut single: BTreeMap<(&str, &str), Vec<(usize, usize)>> = BTreeMap::new();
        for (index, tensor) in published.iter().enumerate() {
            if let Some((path, expert, matrix)) = single_expert(&tensor.name) {
                single.entry((path, matrix)).or_default().push((expert, index));
            } else if let Some((path, parts)) = parts(tensor, &by_name) {
                if !STACKED_ONLY.contains(&model.architecture.as_str()) {
                    experts.separate.replaced.insert(index);
                    let all = (0..tensor.shape[0]).flat_map(|expert| {
                        let name = move |part: &Part| format!("{path}.experts.{expert}.{}.{}", part.name, part.kind);
                        parts.iter().filter_map(move |part| Some((index, part.of_expert(expert, name(part))?)))
                    });
                    experts.separate.tensors.extend(all);
                }
                if let Some(module) = mlx {
                    experts.stacked.replaced.insert(index);
                    let stacks = parts.iter().map(|part| (index, part.stack(format!("{path}.{module}"))));
                    experts.stacked.tensors.extend(stacks);
                }
            }
        }
        if let Some(module) = mlx {
            for ((path, matrix), mut list) in single {
                list.sort_unstable();
                if let Some(stack) = join(published, &list, format!("{path}.{module}.{}.weight", mlx_name(matrix))) {
                    let first = list.iter().map(|(_, index)| *index).min().unwrap_or_default();
                    experts.stacked.replaced.extend(list.iter().map(|(_, index)| index));
                    experts.stacked.tensors.push((first, stack));
                }
            }
            experts.stacked.tensors.sort_by_key(|(place, _)| *place);
        }
        experts
    }

    /// The tensors that are there instead of published ones in one arrangement or the other.
    pub fn others(&self) -> impl Iterator<Item = &ModelTensor> {
        self.separate.tensors.iter().chain(&self.stacked.tensors).map(|(_, tensor)| tensor)
    }

    /// All tensors in an arrangement, in the order of the published ones, each with its number among these and the
    /// [others](Self::others) after them.
    pub(crate) fn arranged<'a>(
        &'a self,
        published: &'a [ModelTensor],
        arrangement: Arrangement,
    ) -> Vec<(usize, &'a ModelTensor)> {
        let (rearranged, first) = match arrangement {
            Arrangement::Separate => (&self.separate, published.len()),
            Arrangement::Stacked => (&self.stacked, published.len() + self.separate.tensors.len()),
        };
        let kept = published.iter().enumerate().filter(|(index, _)| !rearranged.replaced.contains(index));
        let others = rearranged.tensors.iter().enumerate();
        let mut all: Vec<_> = kept.map(|(index, tensor)| (index, index, tensor)).collect();
        all.extend(others.map(|(number, (place, tensor))| (*place, first + number, tensor)));
        all.sort_by_key(|(place, ..)| *place);
        all.into_iter().map(|(_, number, tensor)| (number, tensor)).collect()
    }
}

/// Whether a matrix or stack is one of experts, by its name.
pub(crate) fn is_of_experts(name: &str) -> bool {
    single_expert(name).is_some() || stack_of(name).is_some_and(|(_, stack)| stack.kind == "weight")
}

fn mlx_module(model_type: &str) -> Option<&'static str> {
    MLX.iter().find(|(name, _)| *name == model_type).map(|(_, module)| *module)
}

fn mlx_name(matrix: &str) -> &str {
    MATRICES.iter().find(|(name, _)| *name == matrix).map_or(matrix, |(_, mlx)| mlx)
}

/// Of `model.layers.0.mlp.experts.3.up_proj.weight` the path before `experts`, 3 and `up_proj`.
fn single_expert(name: &str) -> Option<(&str, usize, &str)> {
    let (path, rest) = name.strip_suffix(".weight")?.split_once(".experts.")?;
    let (expert, matrix) = rest.split_once('.')?;
    MATRICES.iter().find(|(known, _)| *known == matrix)?;
    Some((path, expert.parse().ok()?, matrix))
}

fn stack_of(name: &str) -> Option<(&str, &'static Stack)> {
    STACKS.iter().find_map(|stack| Some((name.strip_suffix(stack.end)?, stack)))
}

/// What a stack is made of.
struct Part<'a> {
    /// The module's name.
    name: &'static str,
    /// Last part of the tensor's name.
    kind: &'static str,
    /// The tensor of GGUF.
    tensor: &'a ModelTensor,
}

/// The path before `experts` of a stack and what it is made of, if the architecture says so.
fn parts<'a, 'p>(
    tensor: &'p ModelTensor,
    by_name: &HashMap<&str, &'a ModelTensor>,
) -> Option<(&'p str, Vec<Part<'a>>)> {
    let (path, stack) = stack_of(&tensor.name)?;
    let block = select::block(path)?;
    let parts = stack.parts.iter().map(|&(gguf, name)| {
        let tensor_of_gguf = *by_name.get(format!("blk.{block}.ffn_{gguf}_exps.{}", stack.kind).as_str())?;
        let part = Part { name, kind: stack.kind, tensor: tensor_of_gguf };
        let dimensions = if stack.kind == "weight" { 3 } else { 2 };
        let own = &part.tensor.shape;
        let fits = own.len() == dimensions && own.first() == tensor.shape.first() && !own.contains(&0);
        (fits && part.of_expert(0, String::new()).is_some()).then_some(part)
    });
    Some((path, parts.collect::<Option<_>>()?))
}

impl Part<'_> {
    /// That of one expert.
    fn of_expert(&self, expert: u64, name: String) -> Option<ModelTensor> {
        let TensorData::Pieces(pieces) = &self.tensor.data else { return None };
        let count = self.tensor.shape[0];
        let piece = match pieces.as_slice() {
            [all] => Piece { view: all.view.matrix(count, expert)?, ..*all },
            each if each.len() as u64 == count => each[expert as usize].clone(),
            _ => return None,
        };
        let (shape, dtype) = (self.tensor.shape[1..].to_vec(), self.tensor.dtype);
        Some(ModelTensor { name, shape, dtype, data: TensorData::Pieces(vec![piece]) })
    }

    /// That of all experts, in a module that holds them.
    fn stack(&self, module: String) -> ModelTensor {
        ModelTensor { name: format!("{module}.{}.{}", self.name, self.kind), ..self.tensor.clone() }
    }
}

/// Matrices of all experts, which are numbered from 0 on, one after the other.
fn join(published: &[ModelTensor], list: &[(usize, usize)], name: String) -> Option<ModelTensor> {
    let first = &published[list.first()?.1];
    let mut pieces = Vec::with_capacity(list.len());
    for (number, &(expert, index)) in list.iter().enumerate() {
        let tensor = &published[index];
        let TensorData::Pieces(own) = &tensor.data else { return None };
        if expert != number || tensor.shape != first.shape || tensor.shape.len() != 2 {
            return None;
        }
        pieces.extend(own.iter().cloned());
    }
    let shape = [&[list.len() as u64], first.shape.as_slice()].concat();
    Some(ModelTensor { name, shape, dtype: first.dtype, data: TensorData::Pieces(pieces) })
}
