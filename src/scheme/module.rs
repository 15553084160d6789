//! A weight in the making: its main tensor, and those beside it.

use super::error::SchemeError;
use super::grouped::Grouped;
use super::settings::Settings;
use super::tensors::{Part, Tensors};

/// The tensors around the one that holds a weight's codes.
pub(super) struct Module<'t, 'a> {
    /// The codes.
    pub main: Part<'a>,
    /// What config.json says.
    pub settings: &'t Settings<'t>,
    /// Its name up to what distinguishes the tensors of a weight, as in `model.layers.0.mlp.up_proj.`.
    prefix: &'a str,
    tensors: &'t mut Tensors<'a>,
}

/// A weight that was found.
pub(super) struct Found {
    /// Name by which architectures know it.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<u64>,
    /// How it is stored.
    pub weight: Grouped,
}

impl<'t, 'a> Module<'t, 'a> {
    pub fn new(tensors: &'t mut Tensors<'a>, settings: &'t Settings<'t>, main: Part<'a>, prefix: &'a str) -> Self {
        Module { main, settings, prefix, tensors }
    }

    /// Takes the tensor with this after the prefix, if there is one.
    pub fn take(&mut self, name: &str) -> Result<Option<Part<'a>>, SchemeError> {
        self.tensors.take(&format!("{}{name}", self.prefix))
    }

    /// Takes the tensor with this after the prefix.
    pub fn need(&mut self, name: &str) -> Result<Part<'a>, SchemeError> {
        self.tensors.need(&format!("{}{name}", self.prefix), self.main)
    }

    /// Path of the module, as config.json has it.
    pub fn path(&self) -> &'a str {
        self.prefix.trim_end_matches('.')
    }

    /// The weight of this module: its name is the prefix, after a point with `weight`.
    ///
    /// # Errors
    /// When a tensor does not have the bytes that the weight is read from.
    pub fn found(&self, shape: &[usize], weight: Grouped) -> Result<Option<Found>, SchemeError> {
        weight.check(self.tensors)?;
        let name = match self.prefix {
            prefix if prefix.is_empty() || prefix.ends_with('.') => format!("{prefix}weight"),
            prefix => prefix.to_owned(),
        };
        Ok(Some(Found { name, shape: shape.iter().map(|&length| length as u64).collect(), weight }))
    }
}
