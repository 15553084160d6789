//! Model files as memory-mapped sources of tensors, and lay-out-first writers for them.
//!
//! A reader validates the whole header before it hands out a single view; a writer knows every offset before
//! the first byte is written. Numbers in headers are hostile until checked.

mod metadata;
mod source;

pub use metadata::{Array, Metadata, Value};
pub use source::{Source, TensorInfo};
