//! Laying out safetensors files as the safetensors crate does.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde_json::{Map, Value as Json, json};

use super::{MAX_HEADER, METADATA_KEY};
use crate::error::{Error, Item, Kind, Result};
use crate::{Layout, Metadata, TensorSpec, Value};

/// Lays out one file. `metadata`, which must all be strings, keeps its order (the crate's own writer does not, so equal
/// models would differ); tensors lie in the crate's order, by falling size of their type and then by name, so that
/// each is aligned for its type. The header is padded with spaces to a multiple of 8.
pub fn layout(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Layout> {
    let mut header = Map::new();
    if !metadata.is_empty() {
        let mut strings = Map::new();
        for (key, value) in metadata.iter() {
            let Value::String(text) = value else {
                let kind = Kind::WrongType { expected: "str", found: value.type_name() };
                return Err(Error::new(kind).item(Item::Key(key.to_owned())));
            };
            strings.insert(key.to_owned(), Json::String(text.clone()));
        }
        header.insert(METADATA_KEY.to_owned(), Json::Object(strings));
    }

    let mut placed = Vec::with_capacity(tensors.len());
    let mut names = HashSet::with_capacity(tensors.len());
    for (index, tensor) in tensors.iter().enumerate() {
        let fail = |kind| Error::new(kind).item(Item::Tensor(tensor.name.clone()));
        if tensor.name == METADATA_KEY {
            return Err(fail(Kind::Name { what: "tensor name", name: tensor.name.clone() }));
        }
        if !names.insert(tensor.name.as_str()) {
            return Err(fail(Kind::Duplicate));
        }
        let unknown = || fail(Kind::Unrepresentable { format: "safetensors", dtype: tensor.dtype.name() });
        let name = tensor.dtype.info().safetensors.ok_or_else(unknown)?;
        // The crate's own enum knows the order.
        let dtype: safetensors::Dtype = serde_json::from_value(Json::from(name)).map_err(|_| unknown())?;
        let weights = tensor.shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
        let bytes = weights.and_then(|weights| tensor.dtype.byte_size(weights));
        let bytes = bytes.ok_or_else(|| fail(Kind::Overflow { shape: tensor.shape.clone() }))?;
        placed.push((Reverse(dtype), tensor, index, name, bytes));
    }
    placed.sort_by(|a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));

    let mut ranges = vec![0..0; tensors.len()];
    let mut begin = 0u64;
    for (_, tensor, index, dtype, bytes) in placed {
        let end = begin.checked_add(bytes).filter(|&end| end <= i64::MAX as u64 - MAX_HEADER - 16);
        let end = end.ok_or_else(|| Error::new(Kind::Overflow { shape: tensor.shape.clone() }))?;
        let row = json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [begin, end] });
        header.insert(tensor.name.clone(), row);
        ranges[index] = begin..end;
        begin = end;
    }

    let mut text = Json::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let length = text.len() as u64;
    if length > MAX_HEADER {
        return Err(Error::new(Kind::TooLong { what: "a header", length, limit: MAX_HEADER }));
    }
    let mut header = length.to_le_bytes().to_vec();
    header.append(&mut text);
    let data = header.len() as u64;
    let tensors = ranges.into_iter().map(|range| data + range.start..data + range.end).collect();
    Ok(Layout { header, tensors, length: data + begin })
}
