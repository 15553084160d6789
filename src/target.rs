//! What an output can be: a GGUF file by a recipe, or a checkpoint folder, with plain or with quantized weights.

use crate::publish::{CHECKPOINT_TYPES, CheckpointType};
use crate::recipe::{RECIPES, Recipe, RecipeError, flags_of, nearest, plain};
use crate::scheme::{OUTPUT_SCHEMES, OutputScheme};

/// A type name of the command line and what it stands for.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// One GGUF file (or parts of one).
    Gguf(&'static Recipe),
    /// A folder with safetensors files, configuration and tokenizer.
    Checkpoint(&'static CheckpointType),
    /// Such a folder whose weights are quantized.
    Scheme(&'static OutputScheme),
}

impl Target {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Target> {
        let folders = OUTPUT_SCHEMES.iter().map(Target::Scheme).chain(CHECKPOINT_TYPES.iter().map(Target::Checkpoint));
        RECIPES.iter().map(Target::Gguf).chain(folders)
    }

    /// The target of this name or alias, in any case, with or without underscores and dashes.
    ///
    /// # Errors
    /// If there is none: names the nearest.
    pub fn find(name: &str) -> Result<Target, RecipeError> {
        let wanted = plain(name);
        let named = |target: &Target| target.names().into_iter().any(|name| plain(name) == wanted);
        if let Some(found) = Target::all().filter(|target| target.is_folder()).find(named) {
            return Ok(found);
        }
        Recipe::find(name).map(Target::Gguf).map_err(|RecipeError::Unknown { name, .. }| {
            let known = nearest(&name, Target::all().map(Target::name)).join(", ");
            RecipeError::Unknown { name, known }
        })
    }

    /// The name, as in `Q4_K_M`.
    pub fn name(self) -> &'static str {
        match self {
            Target::Gguf(recipe) => recipe.name,
            Target::Checkpoint(kind) => kind.name,
            Target::Scheme(scheme) => scheme.name,
        }
    }

    /// The name and the aliases.
    pub fn names(self) -> Vec<&'static str> {
        match self {
            Target::Gguf(recipe) => recipe.names().collect(),
            Target::Checkpoint(kind) => vec![kind.name],
            Target::Scheme(scheme) => [scheme.name].into_iter().chain(scheme.alias).collect(),
        }
    }

    /// What it is good for, in one line of help.
    pub fn description(self) -> &'static str {
        match self {
            Target::Gguf(recipe) => recipe.description,
            Target::Checkpoint(kind) => kind.description,
            Target::Scheme(scheme) => scheme.description,
        }
    }

    /// The command-line flags without the dashes.
    pub fn flags(self) -> Vec<String> {
        flags_of(self.names().into_iter())
    }

    /// The recipe, if it is a GGUF file.
    pub fn recipe(self) -> Option<&'static Recipe> {
        match self {
            Target::Gguf(recipe) => Some(recipe),
            Target::Checkpoint(_) | Target::Scheme(_) => None,
        }
    }

    /// The scheme, if it is a folder of quantized weights.
    pub(crate) fn scheme(self) -> Option<&'static OutputScheme> {
        match self {
            Target::Scheme(scheme) => Some(scheme),
            Target::Gguf(_) | Target::Checkpoint(_) => None,
        }
    }

    /// True for a folder, false for GGUF.
    pub fn is_folder(self) -> bool {
        self.recipe().is_none()
    }
}
