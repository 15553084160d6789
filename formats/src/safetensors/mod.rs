//! safetensors: Hugging Face's file format. A length, a JSON header, then the tensors without gap or padding.
//!
//! The `safetensors` crate is the judge of what is valid. It does not say where a file is broken, and it does not see
//! a name that occurs twice; the checks here find that out.

mod header;
mod layout;

use std::path::Path;

use crate::Source;
use crate::error::Result;
use crate::index;
use crate::mapped::MappedModel;
use crate::mmap::Map;

pub use crate::index::{Index, parse_index};
pub use header::{Header, parse};
pub use layout::layout;

/// Longest header that is read or written: the limit of the safetensors crate and of its specification.
pub const MAX_HEADER: u64 = 100_000_000;

/// Header key whose value is not a tensor but a map of strings.
const METADATA_KEY: &str = "__metadata__";

/// Whether a file that begins like this is one: a plausible length, then an opening brace.
pub fn sniff(head: &[u8]) -> bool {
    match head.split_first_chunk::<8>() {
        Some((&length, rest)) => u64::from_le_bytes(length) <= MAX_HEADER && rest.first() == Some(&b'{'),
        None => false,
    }
}

/// Opens a single file. Shards need their index: [`open_index`].
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let map = Map::open(path)?;
    let header = parse(map.bytes(), path)?;
    Ok(Box::new(MappedModel::new("safetensors", vec![map], header.metadata, header.tensors)))
}

/// Opens a `model.safetensors.index.json` and all the shards that it names.
pub fn open_index(path: &Path) -> Result<Box<dyn Source>> {
    index::open("safetensors", path, |bytes, path| {
        let Header { metadata, tensors, .. } = parse(bytes, path)?;
        Ok((metadata, tensors))
    })
}
