//! Reading a safetensors header.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::value::RawValue;
use weightmill_kernels::Dtype;

use super::{MAX_HEADER, METADATA_KEY};
use crate::error::{Error, Item, Kind, Result};
use crate::json::{Json, Pairs};
use crate::{Metadata, TensorInfo};

/// Bytes of the length before the header.
const PREFIX: u64 = 8;

/// A file's header, validated: the tensors fill the rest of the file without gap or overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The strings of `__metadata__`, in file order.
    pub metadata: Metadata,
    /// Tensors by offset; `file` is 0.
    pub tensors: Vec<TensorInfo>,
    /// Offset at which the header ends and the first tensor begins.
    pub data: u64,
}

/// The value of a tensor's name in the header.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    dtype: Cow<'a, str>,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// Reads the header at the beginning of `bytes`, which are the whole file. `path` appears in errors only.
///
/// A tensor with a dimension of length zero is valid and has no bytes.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Header> {
    let text = header_text(bytes, path)?;
    let json = Json::new(text, PREFIX, path);
    let data = PREFIX + text.len() as u64;
    let Pairs(pairs): Pairs<'_> = json.read(text)?;

    let mut metadata = Metadata::new();
    let mut tensors = Vec::new();
    let mut names = HashSet::new();
    for (name, value) in &pairs {
        if name == METADATA_KEY {
            if !names.insert(METADATA_KEY) {
                return Err(json.error(value.get(), Kind::Duplicate).item(Item::Key(METADATA_KEY.to_owned())));
            }
            metadata = read_metadata(&json, value)?;
            continue;
        }
        let on_tensor = |error: Error| error.item(Item::Tensor(name.to_string()));
        if !names.insert(name) {
            return Err(on_tensor(json.error(value.get(), Kind::Duplicate)));
        }
        let row: Row<'_> = json.read(value.get()).map_err(on_tensor)?;
        let tensor = check_row(name, row, data).map_err(|kind| on_tensor(json.error(value.get(), kind)))?;
        tensors.push(tensor);
    }
    check_order(&mut tensors, data, bytes.len() as u64).map_err(|e| e.file(path))?;
    SafeTensors::read_metadata(bytes)
        .map_err(|e| Error::new(Kind::Json { reason: e.to_string() }).file(path).at(PREFIX))?;
    Ok(Header { metadata, tensors, data })
}

fn header_text<'a>(bytes: &'a [u8], path: &Path) -> Result<&'a str> {
    let fail = |at: u64, kind| Error::new(kind).file(path).at(at);
    let remaining = bytes.len() as u64;
    let Some((prefix, rest)) = bytes.split_at_checked(PREFIX as usize) else {
        return Err(fail(0, Kind::Truncated { what: "the header's length", needed: PREFIX, remaining }));
    };
    let length = LittleEndian::read_u64(prefix);
    if length > MAX_HEADER {
        return Err(fail(0, Kind::TooLong { what: "a header", length, limit: MAX_HEADER }));
    }
    let Some(text) = rest.get(..length as usize) else {
        let remaining = rest.len() as u64;
        return Err(fail(PREFIX, Kind::Truncated { what: "the header", needed: length, remaining }));
    };
    std::str::from_utf8(text).map_err(|e| fail(PREFIX + e.valid_up_to() as u64, Kind::Utf8 { what: "the header" }))
}

fn read_metadata(json: &Json<'_>, value: &RawValue) -> Result<Metadata> {
    let mut metadata = Metadata::new();
    let pairs: Option<Pairs<'_, Cow<'_, str>>> =
        json.read(value.get()).map_err(|e| e.item(Item::Key(METADATA_KEY.to_owned())))?;
    for (key, text) in pairs.map(|Pairs(pairs)| pairs).unwrap_or_default() {
        if metadata.get(&key).is_some() {
            return Err(json.error(value.get(), Kind::Duplicate).item(Item::Key(key.into_owned())));
        }
        metadata.set(key.into_owned(), text.into_owned());
    }
    Ok(metadata)
}

/// What can be said of one tensor without knowing the others. Its offset becomes one of the file.
fn check_row(name: &str, row: Row<'_>, data: u64) -> std::result::Result<TensorInfo, Kind> {
    let Row { dtype, shape, data_offsets: (begin, end) } = row;
    let Some(dtype) = Dtype::from_safetensors(&dtype) else {
        return Err(Kind::UnknownType { id: dtype.into_owned() });
    };
    let Some(found) = end.checked_sub(begin) else {
        return Err(Kind::Reversed { begin, end });
    };
    let weights = shape.iter().try_fold(1u64, |product, &length| product.checked_mul(length));
    let Some(expected) = weights.and_then(|weights| dtype.byte_size(weights)) else {
        return Err(Kind::Overflow { shape });
    };
    if found != expected {
        return Err(Kind::Size { expected, found });
    }
    let Some(offset) = data.checked_add(begin).filter(|offset| offset.checked_add(found).is_some()) else {
        return Err(Kind::Overflow { shape });
    };
    Ok(TensorInfo { name: name.to_owned(), shape, dtype, file: 0, offset, bytes: found })
}

/// Sorts by offset and finds gaps, overlaps, and what lies beyond the end or before it.
fn check_order(tensors: &mut [TensorInfo], data: u64, length: u64) -> Result<()> {
    // Stable: tensors without bytes at the same offset keep the order of the header.
    tensors.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
    let (mut next, mut previous) = (data, "");
    for TensorInfo { name, offset, bytes, .. } in tensors.iter() {
        let fail = |kind| Error::new(kind).item(Item::Tensor(name.clone())).at(*offset);
        if *offset > next {
            return Err(fail(Kind::Gap { by: offset - next }));
        }
        if *offset < next {
            return Err(fail(Kind::Overlap { other: previous.to_owned(), by: next - offset }));
        }
        let end = offset + bytes;
        if end > length {
            let remaining = length.saturating_sub(*offset);
            return Err(fail(Kind::Truncated { what: "a tensor", needed: *bytes, remaining }));
        }
        (next, previous) = (end, name);
    }
    match length - next {
        0 => Ok(()),
        by => Err(Error::new(Kind::Trailing { by }).at(next)),
    }
}
