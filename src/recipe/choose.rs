//! Choosing the type of every tensor of a model, in the order of the output file.
//!
//! Order matters: conditions such as "the first eighth" count the tensors of a role as they come by.

use std::collections::HashMap;

use weightmill_kernels::Dtype;

use super::Facts;
use super::Recipe;
use super::keep::{can_be_quantized, own_matrices};
use super::rule::{Role, Situation, first_match};
use crate::options::TypeOptions;

/// A tensor that needs a type.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// GGUF name, as it will be written.
    pub name: &'a str,
    /// Row-major shape.
    pub shape: &'a [u64],
    /// The type it has, and keeps if it is not to be quantized.
    pub dtype: Dtype,
}

/// The type of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The type to write.
    pub to: Dtype,
    /// What it would have been if the rows filled whole blocks.
    pub fallback_from: Option<Dtype>,
    /// The type is so coarse that the tensor is worthless without an importance matrix, or cannot be written at all.
    pub needs_importance: bool,
}

/// Why a tensor has no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ChooseError {
    #[error(
        "tensor {}: rows of {columns} weights do not fill blocks of {dtype} ({block} weights), which was asked for by name; choose another type for it",
        name.escape_debug()
    )]
    DoesNotFit { name: String, columns: u64, dtype: Dtype, block: usize },
    #[error(
        "tensor {}: rows of {columns} weights do not fill blocks of {dtype}, and no other type is known to take its place",
        name.escape_debug()
    )]
    NoFallback { name: String, columns: u64, dtype: Dtype },
    #[error(
        "tensor {}: a model with experts needs the block number in the names of its feed-forward tensors, as in blk.0.",
        name.escape_debug()
    )]
    NoBlock { name: String },
    #[error("tensor {} is in block {block}, but the metadata says that there are {layers}", name.escape_debug())]
    BadBlock { name: String, block: i32, layers: usize },
}

/// Types that stand in for others when rows do not fill blocks of 256; if they do not fit either, F16 does.
// tensor_type_fallback
const FALLBACKS: &[(Dtype, Dtype)] = &[
    (Dtype::IQ1_S, Dtype::IQ4_NL),
    (Dtype::IQ1_M, Dtype::IQ4_NL),
    (Dtype::IQ2_XXS, Dtype::IQ4_NL),
    (Dtype::IQ2_XS, Dtype::IQ4_NL),
    (Dtype::IQ2_S, Dtype::IQ4_NL),
    (Dtype::IQ3_XXS, Dtype::IQ4_NL),
    (Dtype::IQ3_S, Dtype::IQ4_NL),
    (Dtype::IQ4_XS, Dtype::IQ4_NL),
    (Dtype::Q2_0, Dtype::Q4_0),
    (Dtype::Q2_K, Dtype::Q4_0),
    (Dtype::Q3_K, Dtype::Q4_0),
    (Dtype::TQ1_0, Dtype::Q4_0),
    (Dtype::TQ2_0, Dtype::Q4_0),
    (Dtype::Q4_K, Dtype::Q5_0),
    (Dtype::Q5_K, Dtype::Q5_1),
    (Dtype::Q6_K, Dtype::Q8_0),
];

/// Types that are noise without an importance matrix, but for embeddings and output.
// tensor_requires_imatrix
const NEED_IMPORTANCE: &[Dtype] =
    &[Dtype::IQ3_XXS, Dtype::IQ2_XXS, Dtype::IQ2_XS, Dtype::IQ2_S, Dtype::IQ1_M, Dtype::IQ1_S];

/// The types of `tensors`, which are all tensors of the model in the order of the output.
///
/// `importance` says whether there is an importance matrix, whatever it covers.
pub fn choose(
    recipe: &Recipe,
    options: &TypeOptions,
    facts: &Facts,
    importance: bool,
    tensors: &[Candidate<'_>],
) -> Result<Vec<Choice>, ChooseError> {
    let count = |role| tensors.iter().filter(|tensor| Role::of(tensor.name) == role).count();
    let mut chooser = Chooser {
        recipe,
        options,
        facts,
        importance,
        values: count(Role::AttentionV),
        // Without an output matrix the token embeddings serve as one.
        tied: count(Role::Output) == 0,
        seen: HashMap::new(),
    };
    if facts.own_names {
        let matrices = own_matrices(tensors.iter().map(|tensor| (tensor.name, tensor.shape, tensor.dtype)));
        return Ok(tensors.iter().zip(matrices).map(|(&tensor, matrix)| chooser.choose_own(tensor, matrix)).collect());
    }
    tensors.iter().map(|&tensor| chooser.choose(tensor)).collect()
}

struct Chooser<'a> {
    recipe: &'a Recipe,
    options: &'a TypeOptions,
    facts: &'a Facts,
    importance: bool,
    /// Number of value projections.
    values: usize,
    tied: bool,
    /// Tensors of each role that the recipe has decided about so far.
    seen: HashMap<Role, usize>,
}

impl Chooser<'_> {
    fn choose(&mut self, tensor: Candidate<'_>) -> Result<Choice, ChooseError> {
        let role = Role::of(tensor.name);
        if self.recipe.is_copy() || !can_be_quantized(tensor, self.facts, self.options) {
            return Ok(Choice { to: tensor.dtype, fallback_from: None, needs_importance: false });
        }
        let (wanted, to) = match self.by_name(tensor, role) {
            Some(dtype) => (dtype, must_fit(tensor, dtype)?),
            None if !self.recipe.default.is_quantized() => (self.recipe.default, self.recipe.default),
            None => {
                let (wanted, dtype) = match self.by_pattern(tensor.name) {
                    Some(dtype) => (dtype, dtype),
                    None if self.options.pure => (self.recipe.default, self.recipe.default),
                    None => self.by_recipe(tensor, role)?,
                };
                (wanted, fit(tensor, dtype)?)
            }
        };
        let exempt = matches!(role, Role::TokenEmbedding | Role::Output);
        let needs_importance = to.info().needs_importance || self.is_coarse(to) && !exempt;
        Ok(Choice { to, fallback_from: (wanted != to).then_some(wanted), needs_importance })
    }

    /// The type of a tensor of a source that is no language model: the recipe's own for matrices, or what takes its place,
    /// or its own where nothing fits. A mixture needs roles.
    fn choose_own(&self, tensor: Candidate<'_>, is_matrix: bool) -> Choice {
        if !is_matrix {
            return Choice { to: tensor.dtype, fallback_from: None, needs_importance: false };
        }
        let default = self.recipe.default;
        let wanted = self.by_pattern(tensor.name).filter(|_| default.is_quantized()).unwrap_or(default);
        let to =
            [Some(wanted), smaller_blocks(wanted)].into_iter().flatten().find(|dtype| fills_blocks(tensor, *dtype));
        let to = to.unwrap_or(tensor.dtype);
        let needs_importance = to.info().needs_importance || self.is_coarse(to);
        Choice { to, fallback_from: (wanted != to).then_some(wanted), needs_importance }
    }

    /// True for types that are noise without an importance matrix.
    fn is_coarse(&self, dtype: Dtype) -> bool {
        NEED_IMPORTANCE.contains(&dtype) || self.recipe.needs_importance.contains(&dtype)
    }

    /// `--token-embedding-type` and `--output-tensor-type`.
    fn by_name(&self, tensor: Candidate<'_>, role: Role) -> Option<Dtype> {
        match role {
            // Per-layer embeddings are a large table of their own, for which a pattern counts more.
            Role::TokenEmbedding if tensor.name.starts_with("per_layer") && self.by_pattern(tensor.name).is_some() => {
                None
            }
            Role::TokenEmbedding => self.options.token_embedding,
            Role::Output => self.options.output_tensor,
            _ => None,
        }
    }

    /// `--tensor-type`: the first pattern found in the name.
    fn by_pattern(&self, name: &str) -> Option<Dtype> {
        self.options.tensors.iter().find(|option| option.pattern.is_match(name)).map(|option| option.dtype)
    }

    /// The type that the recipe wants, and the one it takes if the shape forbids that one.
    fn by_recipe(&mut self, tensor: Candidate<'_>, role: Role) -> Result<(Dtype, Dtype), ChooseError> {
        let same = |dtype| (dtype, dtype);
        if self.facts.architecture == "glm5-next" && super::keep::is_sensitive_in_glm5(tensor.name) {
            return Ok(same(Dtype::Q8_0));
        }
        if role == Role::Output || (self.tied && role == Role::TokenEmbedding) {
            return Ok(match self.options.output_tensor {
                Some(dtype) => same(dtype),
                None if self.facts.architecture == "falcon" => same(Dtype::Q8_0),
                None if fills_blocks(tensor, self.recipe.default) => same(self.recipe.output),
                None => (self.recipe.output, Dtype::Q8_0),
            });
        }
        let (i, n) = self.position(tensor.name, role)?;
        let stacked = tensor.shape.iter().rev().nth(2).is_some_and(|&matrices| matrices > 1);
        let at = Situation { facts: self.facts, importance: self.importance, stacked, i, n };
        let dtype = first_match(self.recipe.rules, role, at).unwrap_or(self.recipe.default);
        *self.seen.entry(role).or_default() += 1;
        Ok(same(if self.recipe.rules_only { dtype } else { self.more_for_attention(role, dtype) }))
    }

    /// Key and value projections that many query heads or many experts share are small and worth more bits.
    fn more_for_attention(&self, role: Role, dtype: Dtype) -> Dtype {
        match (role, dtype) {
            (Role::AttentionV | Role::AttentionK, _) if self.facts.experts == 8 => Dtype::Q8_0,
            (Role::AttentionV, Dtype::Q3_K | Dtype::Q4_K) if self.facts.seventy_b => Dtype::Q5_K,
            _ => dtype,
        }
    }

    /// Layer and number of layers, as conditions count them.
    fn position(&self, name: &str, role: Role) -> Result<(usize, usize), ChooseError> {
        let counted = self.seen.get(&role).copied().unwrap_or(0);
        let layers = self.facts.layers;
        match role {
            Role::AttentionV => Ok((counted, self.values)),
            // A block has feed-forward tensors of several experts, or of none: only the name tells the layer.
            Role::FfnDown | Role::FfnUp | Role::FfnGate if self.facts.experts > 1 && !self.recipe.rules_only => {
                let block = block_number(name).ok_or_else(|| ChooseError::NoBlock { name: name.to_owned() })?;
                match usize::try_from(block) {
                    Ok(layer) if layer < layers => Ok((layer, layers)),
                    _ => Err(ChooseError::BadBlock { name: name.to_owned(), block, layers }),
                }
            }
            _ => Ok((counted, layers)),
        }
    }
}

fn columns(tensor: Candidate<'_>) -> u64 {
    tensor.shape.last().copied().unwrap_or(1)
}

fn fills_blocks(tensor: Candidate<'_>, dtype: Dtype) -> bool {
    columns(tensor).is_multiple_of(dtype.info().block_len as u64)
}

/// The type that stands in for `dtype` where rows do not fill its blocks.
fn smaller_blocks(dtype: Dtype) -> Option<Dtype> {
    FALLBACKS.iter().find(|&&(from, _)| from == dtype).map(|&(_, to)| to)
}

/// `dtype` if the rows of the tensor fill its blocks, otherwise what llama.cpp takes instead.
fn fit(tensor: Candidate<'_>, dtype: Dtype) -> Result<Dtype, ChooseError> {
    if fills_blocks(tensor, dtype) {
        return Ok(dtype);
    }
    match smaller_blocks(dtype) {
        Some(to) if fills_blocks(tensor, to) => Ok(to),
        None if dtype.info().block_len > 32 => {
            Err(ChooseError::NoFallback { name: tensor.name.to_owned(), columns: columns(tensor), dtype })
        }
        _ => Ok(Dtype::F16),
    }
}

/// `dtype`, which the user named for this very tensor, if its rows fill its blocks.
fn must_fit(tensor: Candidate<'_>, dtype: Dtype) -> Result<Dtype, ChooseError> {
    if fills_blocks(tensor, dtype) {
        return Ok(dtype);
    }
    let (name, columns, block) = (tensor.name.to_owned(), columns(tensor), dtype.info().block_len);
    Err(ChooseError::DoesNotFit { name, columns, dtype, block })
}

/// The number in names that begin with `blk.N`.
///
/// Read as `sscanf("blk.%d.")` reads it, up to 9 digits: no model has more blocks.
pub(crate) fn block_number(name: &str) -> Option<i32> {
    let rest = name.strip_prefix("blk.")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits.min(9)].parse().ok()
}
