//! Recipes: what a type name such as `Q4_K_M` means for every tensor of a model.
//!
//! A recipe is a row of [`RECIPES`]: a default type and a list of rules "tensors of this role, in this position of
//! this kind of model, get that type". Rules and numbers are those of llama.cpp (`src/llama-quant.cpp`), so that
//! the choice is the same.

mod choose;
mod facts;
mod keep;
mod rule;
mod table;

pub(crate) use choose::block_number;
pub use choose::{Candidate, Choice, ChooseError, choose};
pub use facts::Facts;
pub(crate) use keep::{can_be_quantized, own_matrices, stays_f32};
pub use rule::{Role, Rule, When};
pub use table::RECIPES;

use weightmill_kernels::Dtype;

/// One row of the table of recipes.
#[derive(Debug)]
pub struct Recipe {
    /// llama-quantize's name.
    pub name: &'static str,
    /// Other names that mean the same.
    pub aliases: &'static [&'static str],
    /// The number in `general.file_type`: llama.cpp's `llama_ftype`. `COPY` keeps the input's.
    pub file_type: u32,
    /// What it is good for, in one line of help.
    pub description: &'static str,
    /// The type of tensors that no rule speaks of.
    pub default: Dtype,
    /// The type of `output.weight`, and of token embeddings that serve as the output.
    pub output: Dtype,
    /// Tried in order; the first that holds decides.
    pub rules: &'static [Rule],
    /// Rules say all there is to say: the bits that attention gets on top in models of 70B or with eight experts
    /// are left out, and layers are counted, not read from names.
    pub rules_only: bool,
    /// Types that are noise without an importance matrix in this recipe, besides those that always are.
    pub needs_importance: &'static [Dtype],
}

/// A type name that is no recipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Nobody has it.
    #[error("no type is called `{name}`; known are {known}")]
    Unknown {
        /// As it was given.
        name: String,
        /// All recipes, the most similar names first.
        known: String,
    },
}

impl Recipe {
    /// The recipe of this name or alias, in any case, with or without underscores; a number is llama.cpp's file type.
    pub fn find(name: &str) -> Result<&'static Recipe, RecipeError> {
        let wanted = plain(name);
        let by_name = RECIPES.iter().find(|recipe| recipe.names().any(|known| plain(known) == wanted));
        let by_number = || name.parse().ok().and_then(|id: u32| RECIPES.iter().find(|recipe| recipe.file_type == id));
        if let Some(recipe) = by_name.or_else(by_number) {
            return Ok(recipe);
        }
        let known = nearest(name, RECIPES.iter().map(|recipe| recipe.name)).join(", ");
        Err(RecipeError::Unknown { name: name.to_owned(), known })
    }

    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// The recipe's command-line flags without the dashes: every name in lower case, with and without underscores.
    pub fn flags(&self) -> Vec<String> {
        flags_of(self.names())
    }

    /// True for `COPY`, which keeps every tensor as it is.
    pub fn is_copy(&self) -> bool {
        self.name == "COPY"
    }
}

/// Every name in lower case, with and without underscores.
pub(crate) fn flags_of(names: impl Iterator<Item = &'static str>) -> Vec<String> {
    let mut flags = Vec::new();
    for name in names {
        for flag in [name.to_ascii_lowercase(), name.to_ascii_lowercase().replace('_', "")] {
            if !flags.contains(&flag) {
                flags.push(flag);
            }
        }
    }
    flags
}

/// A name in lower case without underscores and dashes.
pub(crate) fn plain(name: &str) -> String {
    name.chars().filter(|&c| c != '_' && c != '-').map(|c| c.to_ascii_lowercase()).collect()
}

/// `known`, the names most similar to `name` first (smallest edit distance, then the order given).
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = plain(name);
    let mut names: Vec<&str> = known.collect();
    names.sort_by_key(|known| edit_distance(&wanted, &plain(known)));
    names
}

/// Levenshtein distance, one row of the table at a time.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let replace = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
