//! The tensors of a model by name, read as they are needed.

use std::collections::HashMap;

use weightmill_kernels::{Dtype, Level};

use super::Error;
use crate::model::{Model, ModelTensor};
use crate::pipeline::TensorReader;
use crate::weights::Weights;

/// A model's tensors.
pub struct Tensors<'a> {
    weights: &'a Weights,
    level: Level,
    by_name: HashMap<&'a str, &'a ModelTensor>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `model`, whose values lie in `weights`.
    pub fn new(model: &'a Model, weights: &'a Weights, level: Level) -> Self {
        Self { weights, level, by_name: model.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect() }
    }

    /// The CPU level that tensors are decoded with.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The shape of a tensor, if there is one of this name.
    pub fn shape(&self, name: &str) -> Option<&'a [u64]> {
        self.by_name.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// Type of a tensor, which decides what activations are rounded to.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.by_name.get(name).map(|tensor| tensor.dtype)
    }

    /// A reader of a tensor that there must be.
    pub fn reader(&self, name: &str) -> Result<TensorReader<'a>, Error> {
        let tensor = self.by_name.get(name).ok_or_else(|| Error::MissingTensor { tensor: name.to_owned() })?;
        Ok(TensorReader::new(tensor, self.weights, self.level)?)
    }

    /// All values of a small tensor, nothing if there is none of this name. `lengths` are how many it may have.
    pub fn vector(&self, name: &str, lengths: &[usize]) -> Result<Vec<f32>, Error> {
        let Some(shape) = self.shape(name) else { return Ok(Vec::new()) };
        let reader = self.reader(name)?;
        let length = reader.rows() * reader.columns();
        if !lengths.contains(&length) {
            let expected = vec![lengths[0] as u64];
            return Err(Error::Shape { tensor: name.to_owned(), found: shape.to_vec(), expected });
        }
        let mut values = vec![0.0; length];
        reader.read(0..reader.rows(), &mut values)?;
        Ok(values)
    }

    /// As [`Tensors::vector`], of a tensor that there must be.
    pub fn required(&self, name: &str, length: usize) -> Result<Vec<f32>, Error> {
        if !self.has(name) {
            return Err(Error::MissingTensor { tensor: name.to_owned() });
        }
        self.vector(name, &[length])
    }
}
