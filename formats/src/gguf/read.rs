//! Reading a GGUF header.

use std::collections::HashSet;
use std::path::Path;

use weightmill_kernels::Dtype;

use super::layout::padded;
use super::{MAGIC, MAX_DIMENSIONS, alignment, check_shape, value};
use crate::cursor::Cursor;
use crate::error::{Error, Item, Kind, Result};
use crate::{Metadata, TensorInfo};

/// Smallest metadata entry: key length, type, one byte of value (and a key, which is not counted here).
const MIN_ENTRY_BYTES: u64 = 13;

/// Smallest row of the tensor table: name length, number of dimensions, type, offset (name and dimensions not counted).
const MIN_TENSOR_BYTES: u64 = 24;

/// A file's header, validated: every tensor lies inside the file, and they follow one another without gap or overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// Version of the format, 2 or 3.
    pub version: u32,
    /// Metadata in file order.
    pub metadata: Metadata,
    /// Tensors in file order; `file` is 0.
    pub tensors: Vec<TensorInfo>,
    /// Alignment of the tensors.
    pub alignment: u64,
    /// Offset at which the header, padding included, ends and the first tensor begins.
    pub data: u64,
}

/// Reads the header at the beginning of `bytes`, which are the whole file. `path` appears in errors only.
///
/// Bytes after the last tensor are accepted, as llama.cpp does, and so is a missing padding of the last tensor.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Header> {
    let cursor = &mut Cursor::new(bytes, path);
    let version = read_version(cursor)?;
    let at = cursor.at();
    let tensors = cursor.u64("the number of tensors")?;
    let entries = cursor.count("metadata entries", MIN_ENTRY_BYTES)?;
    let tensors = cursor.check_count(at, tensors, "tensors", MIN_TENSOR_BYTES)?;

    let mut metadata = Metadata::new();
    let mut alignment_at = 0;
    for _ in 0..entries {
        let begin = cursor.at();
        let key = cursor.string("a metadata key")?;
        if key.is_empty() {
            return Err(cursor.error(begin, Kind::Name { what: "metadata key", name: String::new() }));
        }
        let on_key = |error: Error| error.item(Item::Key(key.to_owned()));
        if metadata.get(key).is_some() {
            return Err(on_key(cursor.error(begin, Kind::Duplicate)));
        }
        let id = cursor.u32("a metadata type").map_err(on_key)?;
        if key == super::ALIGNMENT_KEY {
            alignment_at = cursor.at();
        }
        metadata.set(key, value::read(cursor, id).map_err(on_key)?);
    }
    let alignment = alignment(&metadata).map_err(|e| e.file(path).at(alignment_at))?;

    let at = cursor.at();
    cursor.check_count(at, tensors as u64, "tensors", MIN_TENSOR_BYTES)?;
    let mut rows = Vec::with_capacity(tensors);
    let mut names = HashSet::with_capacity(tensors);
    for _ in 0..tensors {
        let begin = cursor.at();
        let (name, row) = read_tensor(cursor)?;
        if !names.insert(name) {
            return Err(row.fail(cursor, begin, Kind::Duplicate));
        }
        rows.push(row);
    }

    let end = cursor.at();
    // Without tensors nothing need follow the table, not even its padding.
    let data = if rows.is_empty() { end } else { end.next_multiple_of(alignment) };
    let mut next = 0;
    let mut placed: Vec<TensorInfo> = Vec::with_capacity(rows.len());
    for mut row in rows {
        let (at, declared) = (row.offset_at, row.info.offset);
        if declared > next {
            return Err(row.fail(cursor, at, Kind::Gap { by: declared - next }));
        }
        if declared < next {
            let other = placed.last().map(|tensor| tensor.name.clone()).unwrap_or_default();
            return Err(row.fail(cursor, at, Kind::Overlap { other, by: next - declared }));
        }
        let overflow = || Kind::Overflow { shape: row.info.shape.clone() };
        let size = padded(row.info.bytes, alignment).and_then(|size| next.checked_add(size));
        let first = data.checked_add(declared).filter(|first| first.checked_add(row.info.bytes).is_some());
        let (Some(after), Some(first)) = (size, first) else {
            return Err(row.fail(cursor, at, overflow()));
        };
        if first + row.info.bytes > bytes.len() as u64 {
            let remaining = (bytes.len() as u64).saturating_sub(first);
            return Err(row.fail(
                cursor,
                first,
                Kind::Truncated { what: "a tensor", needed: row.info.bytes, remaining },
            ));
        }
        next = after;
        row.info.offset = first;
        placed.push(row.info);
    }
    Ok(Header { version, metadata, tensors: placed, alignment, data })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let found = cursor.take(cursor.remaining().min(4), "the magic")?;
    if found != MAGIC {
        return Err(cursor.error(0, Kind::Magic { found: found.to_vec(), expected: "\"GGUF\"" }));
    }
    let at = cursor.at();
    match cursor.u32("the version")? {
        version @ (2 | 3) => Ok(version),
        // As llama.cpp tells them: no version will ever reach 2^16.
        swapped if swapped & 0xffff == 0 && swapped != 0 => Err(cursor.error(at, Kind::BigEndian)),
        found => Err(cursor.error(at, Kind::Version { found })),
    }
}

/// A row of the tensor table. `info.offset` is still relative to the data.
struct Row {
    info: TensorInfo,
    offset_at: u64,
}

impl Row {
    fn fail(&self, cursor: &Cursor<'_>, at: u64, kind: Kind) -> Error {
        cursor.error(at, kind).item(Item::Tensor(self.info.name.clone()))
    }
}

fn read_tensor<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, Row)> {
    const WHAT: &str = "the tensor table";
    let begin = cursor.at();
    let name = cursor.string("a tensor name")?;
    if name.is_empty() {
        return Err(cursor.error(begin, Kind::Name { what: "tensor name", name: String::new() }));
    }
    let on_tensor = |error: Error| error.item(Item::Tensor(name.to_owned()));
    let shape_at = cursor.at();
    let count = cursor.u32(WHAT).map_err(on_tensor)?;
    if count == 0 || count as usize > MAX_DIMENSIONS {
        let kind = Kind::Dimensions { found: count.into(), limit: MAX_DIMENSIONS as u64 };
        return Err(on_tensor(cursor.error(shape_at, kind)));
    }
    let mut shape = Vec::with_capacity(count as usize);
    for _ in 0..count {
        shape.push(cursor.u64(WHAT).map_err(on_tensor)?);
    }
    // In the file the contiguous dimension comes first.
    shape.reverse();
    let type_at = cursor.at();
    let id = cursor.u32(WHAT).map_err(on_tensor)?;
    let Some(dtype) = Dtype::from_gguf_id(id) else {
        return Err(on_tensor(cursor.error(type_at, Kind::UnknownType { id: id.to_string() })));
    };
    let offset_at = cursor.at();
    let offset = cursor.u64(WHAT).map_err(on_tensor)?;
    let bytes = check_shape(&shape, dtype).map_err(|kind| on_tensor(cursor.error(shape_at, kind)))?;
    let info = TensorInfo { name: name.to_owned(), shape, dtype, file: 0, offset, bytes };
    Ok((name, Row { info, offset_at }))
}
