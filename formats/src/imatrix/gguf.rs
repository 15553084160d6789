//! The GGUF form: tensors `NAME.in_sum2` (sums of squares, one per column and expert) and `NAME.counts` (one per
//! expert). Facts: `common/imatrix-loader.cpp` and `load_imatrix` in `tools/quantize/quantize.cpp` of llama.cpp.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use indexmap::IndexMap;
use weightmill_kernels::Dtype;

use super::{Importance, check_values};
use crate::error::{Error, Item, Kind, Result};
use crate::{Array, Metadata, TensorInfo, Value};

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Importance> {
    let header = crate::gguf::parse(bytes, path)?;
    let datasets = datasets(&header.metadata).map_err(|e| e.file(path))?;
    let chunks = number(&header.metadata, CHUNK_COUNT).map_err(|e| e.file(path))?;
    number(&header.metadata, CHUNK_SIZE).map_err(|e| e.file(path))?;

    let mut pairs: IndexMap<&str, (Option<&TensorInfo>, Option<&TensorInfo>)> = IndexMap::new();
    for tensor in &header.tensors {
        if let Some(name) = tensor.name.strip_suffix(SUMS) {
            pairs.entry(name).or_default().0 = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(COUNTS) {
            pairs.entry(name).or_default().1 = Some(tensor);
        }
    }
    let mut importance = Importance { entries: IndexMap::with_capacity(pairs.len()), datasets, chunks };
    for (name, pair) in pairs {
        let on_entry = |kind| Error::new(kind).file(path).item(Item::Entry(name.to_owned()));
        let (Some(sums), Some(counts)) = pair else {
            let what = if pair.0.is_none() { "sums (.in_sum2)" } else { "counts (.counts)" };
            return Err(on_entry(Kind::Incomplete { what }));
        };
        let divisors = floats(counts, bytes, path)?;
        check_values(&divisors, counts.offset).map_err(|e| e.file(path).item(Item::Tensor(counts.name.clone())))?;
        let values = means(&floats(sums, bytes, path)?, &divisors).map_err(|kind| on_entry(kind).at(sums.offset))?;
        check_values(&values, sums.offset).map_err(|e| e.file(path).item(Item::Entry(name.to_owned())))?;
        importance.entries.insert(name.to_owned(), values);
    }
    if importance.entries.is_empty() {
        return Err(Error::new(Kind::Incomplete { what: "entries" }).file(path));
    }
    Ok(importance)
}

/// Sums divided by the count of their expert; 1 for an expert that saw nothing.
fn means(sums: &[f32], counts: &[f32]) -> std::result::Result<Vec<f32>, Kind> {
    if sums.is_empty() || counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
        return Err(Kind::Counts { sums: sums.len() as u64, counts: counts.len() as u64 });
    }
    let mut values = Vec::with_capacity(sums.len());
    for (expert, count) in sums.chunks(sums.len() / counts.len()).zip(counts) {
        // llama.cpp keeps counts as integers (lround) and converts them back.
        let count = count.round();
        values.extend(expert.iter().map(|sum| if count > 0.0 { sum / count } else { 1.0 }));
    }
    Ok(values)
}

fn floats(tensor: &TensorInfo, bytes: &[u8], path: &Path) -> Result<Vec<f32>> {
    if tensor.dtype != Dtype::F32 {
        let kind = Kind::WrongType { expected: "F32", found: tensor.dtype.name() };
        return Err(Error::new(kind).file(path).item(Item::Tensor(tensor.name.clone())).at(tensor.offset));
    }
    let bytes = &bytes[tensor.offset as usize..][..tensor.bytes as usize];
    let mut values = vec![0.0; bytes.len() / size_of::<f32>()];
    LittleEndian::read_f32_into(bytes, &mut values);
    Ok(values)
}

fn datasets(metadata: &Metadata) -> Result<Vec<String>> {
    match metadata.get(DATASETS) {
        Some(Value::Array(Array::String(names))) => Ok(names.clone()),
        other => Err(wrong(DATASETS, "an array of strings", other)),
    }
}

fn number(metadata: &Metadata, key: &'static str) -> Result<u32> {
    match metadata.get(key) {
        Some(&Value::U32(number)) => Ok(number),
        other => Err(wrong(key, "u32", other)),
    }
}

/// A GGUF file without these keys is no importance matrix.
fn wrong(key: &'static str, expected: &'static str, found: Option<&Value>) -> Error {
    let found = found.map_or("missing", Value::type_name);
    Error::new(Kind::WrongType { expected, found }).item(Item::Key(key.to_owned()))
}
