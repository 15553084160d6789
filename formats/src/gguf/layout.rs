//! Laying out GGUF version 3 as llama.cpp and its Python package do.

use std::collections::HashSet;

use super::value::{put_string, put_u32, put_u64, write};
use super::{MAGIC, MAX_LONG_NAME, alignment, check_shape};
use crate::error::{Error, Item, Kind, Result};
use crate::{Layout, Metadata, TensorSpec};

/// Version that is written.
const VERSION: u32 = 3;

/// No file system holds more than 2^63 bytes; half of that for the tensors leaves room for any header.
const MAX_LENGTH: u64 = 1 << 62;

/// Lays out one file: header, metadata in its order, tensor table, then the tensors in the given order, each padded
/// to `general.alignment` (32 without that key), the last one too.
///
/// Shapes are written as given, as gguf-py does. llama-quantize drops outer dimensions of length one, down to one
/// dimension: see [`trimmed`].
pub fn layout(metadata: &Metadata, tensors: &[TensorSpec]) -> Result<Layout> {
    let alignment = alignment(metadata)?;
    let mut header = Vec::new();
    header.extend_from_slice(MAGIC);
    put_u32(&mut header, VERSION);
    put_u64(&mut header, tensors.len() as u64);
    put_u64(&mut header, metadata.len() as u64);
    for (key, value) in metadata.iter() {
        put_string(&mut header, key);
        write(&mut header, value);
    }
    let mut names = HashSet::with_capacity(tensors.len());
    let mut ranges = Vec::with_capacity(tensors.len());
    let mut offset = 0u64;
    for tensor in tensors {
        let fail = |kind| Error::new(kind).item(Item::Tensor(tensor.name.clone()));
        if tensor.name.is_empty() {
            return Err(fail(Kind::Name { what: "tensor name", name: String::new() }));
        }
        if tensor.name.len() > MAX_LONG_NAME {
            let (length, limit) = (tensor.name.len() as u64, MAX_LONG_NAME as u64);
            return Err(fail(Kind::TooLong { what: "tensor name", length, limit }));
        }
        if !names.insert(tensor.name.as_str()) {
            return Err(fail(Kind::Duplicate));
        }
        let Some(id) = tensor.dtype.info().gguf_id else {
            return Err(fail(Kind::Unrepresentable { format: "GGUF", dtype: tensor.dtype.name() }));
        };
        let bytes = check_shape(&tensor.shape, tensor.dtype).map_err(fail)?;
        put_string(&mut header, &tensor.name);
        put_u32(&mut header, tensor.shape.len() as u32);
        tensor.shape.iter().rev().for_each(|&length| put_u64(&mut header, length));
        put_u32(&mut header, id);
        put_u64(&mut header, offset);
        let end = offset.checked_add(bytes).and_then(|end| padded(end, alignment));
        let end =
            end.filter(|&end| end <= MAX_LENGTH).ok_or_else(|| fail(Kind::Overflow { shape: tensor.shape.clone() }))?;
        ranges.push(offset..offset + bytes);
        offset = end;
    }
    let begin = (header.len() as u64).next_multiple_of(alignment);
    header.resize(begin as usize, 0);
    let length = begin + offset;
    let tensors = ranges.into_iter().map(|range| begin + range.start..begin + range.end).collect();
    Ok(Layout { header, tensors, length })
}

/// Lays out a model in several files, as `llama-quantize --keep-split` does: all metadata in the first, `split.no`,
/// `split.count` and `split.tensors.count` (replacing any there are) at the end of each. One part alone is laid out
/// as by [`layout`], without these keys. Names of the files: [`super::part_name`].
///
/// As in llama.cpp, `general.alignment` holds for the first file only, since the others do not have it.
pub fn layout_split(metadata: &Metadata, parts: &[&[TensorSpec]]) -> Result<Vec<Layout>> {
    let mut first = metadata.clone();
    for key in [super::SPLIT_NO, super::SPLIT_COUNT, super::SPLIT_TENSORS] {
        first.remove(key);
    }
    if let [only] = parts {
        return Ok(vec![layout(&first, only)?]);
    }
    let too_many =
        |count: usize| Error::new(Kind::BadCount { what: "the number of parts or tensors", found: count as i64 });
    let count = u16::try_from(parts.len()).map_err(|_| too_many(parts.len()))?;
    let tensors: usize = parts.iter().map(|part| part.len()).sum();
    let tensors = i32::try_from(tensors).map_err(|_| too_many(tensors))?;
    let mut names = HashSet::new();
    if let Some(twice) = parts.iter().copied().flatten().find(|tensor| !names.insert(tensor.name.as_str())) {
        return Err(Error::new(Kind::Duplicate).item(Item::Tensor(twice.name.clone())));
    }
    (0..count)
        .zip(parts)
        .map(|(number, part)| {
            let mut metadata = if number == 0 { std::mem::take(&mut first) } else { Metadata::new() };
            metadata.set(super::SPLIT_NO, number);
            metadata.set(super::SPLIT_COUNT, count);
            metadata.set(super::SPLIT_TENSORS, tensors);
            layout(&metadata, part)
        })
        .collect()
}

/// `shape` (row-major) without leading dimensions of length one, but at least one dimension: the shape that
/// llama-quantize writes (`ggml_n_dims`).
pub fn trimmed(shape: &[u64]) -> &[u64] {
    let outer = shape.iter().take(shape.len().saturating_sub(1)).take_while(|&&length| length == 1).count();
    &shape[outer..]
}

/// `None` on overflow.
pub(super) fn padded(length: u64, alignment: u64) -> Option<u64> {
    length.checked_next_multiple_of(alignment)
}
