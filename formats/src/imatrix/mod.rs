//! Importance matrices: for each tensor, how much every column matters, as llama-imatrix measures it.
//!
//! Both forms are read: GGUF and the older `.dat`. The values are those that llama-quantize computes from them.

mod dat;
mod gguf;

use std::path::Path;

use indexmap::IndexMap;

use crate::error::{Error, Kind, Result};
use crate::mmap::Map;

/// A whole importance matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Importance {
    /// One non-negative value per column (for merged experts: per expert and column) by tensor name, in file order.
    pub entries: IndexMap<String, Vec<f32>>,
    /// Names of the texts that were measured, as the file has them (often paths).
    pub datasets: Vec<String>,
    /// Number of chunks of text; 0 if the file does not say.
    pub chunks: u32,
}

impl Importance {
    /// The values for the tensor of this name.
    pub fn get(&self, tensor: &str) -> Option<&[f32]> {
        self.entries.get(tensor).map(Vec::as_slice)
    }
}

/// Reads an importance matrix of either form.
pub fn open(path: &Path) -> Result<Importance> {
    let map = Map::open(path)?;
    parse(map.bytes(), path)
}

/// Reads an importance matrix from the bytes of a whole file. `path` appears in errors only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Importance> {
    if bytes.starts_with(crate::gguf::MAGIC) { gguf::parse(bytes, path) } else { dat::parse(bytes, path) }
}

/// Means of squares, and counts, are finite and not negative. The values stand in the file from `begin` on.
fn check_values(values: &[f32], begin: u64) -> Result<()> {
    match values.iter().position(|value| !value.is_finite() || *value < 0.0) {
        None => Ok(()),
        Some(index) => {
            let kind = Kind::BadValue { index: index as u64, found: values[index].into() };
            Err(Error::new(kind).at(begin + (index * size_of::<f32>()) as u64))
        }
    }
}
