//! The GGUF form: tensors `NAME.in_sum2` (sums of squares, one per column and expert) and `NAME.counts` (one per
//! expert). Facts: `common/imatrix-loader.cpp`, `load_imatrix` in `tools/quantize/quantize.cpp` and `save_imatrix` in
//! `tools/imatrix/imatrix.cpp` of llama.cpp.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use indexmap::IndexMap;
use weightmill_kernels::Dtype;

use super::{Entry, Imatrix};
use crate::error::{Error, Item, Kind, Result};
use crate::gguf::{MAX_NAME, layout, trimmed};
use crate::output::OutputFile;
use crate::{Array, Metadata, TensorInfo, TensorSpec, Value};

const TYPE: &str = "general.type";
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// Counts are 64-bit integers in llama.cpp.
const MAX_COUNT: f32 = i64::MAX as f32;

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Imatrix> {
    let header = crate::gguf::parse(bytes, path)?;
    let datasets = datasets(&header.metadata).map_err(|e| e.file(path))?;
    let chunks = number(&header.metadata, CHUNK_COUNT).map_err(|e| e.file(path))?;
    let chunk_size = number(&header.metadata, CHUNK_SIZE).map_err(|e| e.file(path))?;

    let mut pairs: IndexMap<&str, (Option<&TensorInfo>, Option<&TensorInfo>)> = IndexMap::new();
    let mut others = Vec::new();
    for tensor in &header.tensors {
        if let Some(name) = tensor.name.strip_suffix(SUMS) {
            pairs.entry(name).or_default().0 = Some(tensor);
        } else if let Some(name) = tensor.name.strip_suffix(COUNTS) {
            pairs.entry(name).or_default().1 = Some(tensor);
        } else {
            others.push(tensor.name.clone());
        }
    }
    let mut entries = IndexMap::with_capacity(pairs.len());
    for (name, pair) in pairs {
        let on_entry = |kind| Error::new(kind).file(path).item(Item::Entry(name.to_owned()));
        let (Some(sums), Some(counts)) = pair else {
            let what = if pair.0.is_none() { "sums (.in_sum2)" } else { "counts (.counts)" };
            return Err(on_entry(Kind::Incomplete { what }));
        };
        let (at, counts) = (sums.offset, whole(counts, bytes, path)?);
        let sums = floats(sums, bytes, path)?;
        if sums.is_empty() || counts.is_empty() || !sums.len().is_multiple_of(counts.len()) {
            return Err(on_entry(Kind::Counts { sums: sums.len() as u64, counts: counts.len() as u64 }).at(at));
        }
        entries.insert(name.to_owned(), Entry { sums, counts });
    }
    if entries.is_empty() {
        return Err(Error::new(Kind::Incomplete { what: "entries" }).file(path));
    }
    Ok(Imatrix { entries, datasets, chunks, chunk_size: Some(chunk_size), others })
}

/// Counts, which stand in the file as floats; llama.cpp rounds them (`lround`).
fn whole(counts: &TensorInfo, bytes: &[u8], path: &Path) -> Result<Vec<u64>> {
    let floats = floats(counts, bytes, path)?;
    match floats.iter().position(|count| !(0.0..MAX_COUNT).contains(count)) {
        None => Ok(floats.into_iter().map(|count| count.round() as u64).collect()),
        Some(index) => {
            let kind = Kind::BadValue { index: index as u64, found: floats[index].into() };
            let at = counts.offset + (index * size_of::<f32>()) as u64;
            Err(Error::new(kind).file(path).item(Item::Tensor(counts.name.clone())).at(at))
        }
    }
}

/// Writes the file.
pub(super) fn write(matrix: &Imatrix, path: &Path, force: bool) -> Result<()> {
    let entries = matrix.sorted();
    let mut metadata = Metadata::new();
    metadata.set(TYPE, "imatrix");
    metadata.set(DATASETS, matrix.datasets.clone());
    metadata.set(CHUNK_COUNT, matrix.chunks);
    metadata.set(CHUNK_SIZE, matrix.chunk_size.unwrap_or(0));
    let layout = layout(&metadata, &specs(&entries).map_err(|e| e.file(path))?).map_err(|e| e.file(path))?;

    let output = OutputFile::create(path, layout.length, force)?;
    output.write_all_at(&layout.header, 0)?;
    let mut bytes = Vec::new();
    for ((_, entry), places) in entries.iter().zip(layout.tensors.chunks_exact(2)) {
        let counts: Vec<f32> = entry.counts.iter().map(|&count| count as f32).collect();
        for (numbers, place) in [&entry.sums, &counts].into_iter().zip(places) {
            bytes.resize(numbers.len() * size_of::<f32>(), 0);
            LittleEndian::write_f32_into(numbers, &mut bytes);
            output.write_all_at(&bytes, place.start)?;
        }
    }
    output.commit()
}

/// Sums and counts of every entry: a row for each count, outer dimensions of length one left out.
fn specs(entries: &[(&str, &Entry)]) -> Result<Vec<TensorSpec>> {
    let mut specs = Vec::with_capacity(2 * entries.len());
    for (name, entry) in entries {
        let fail = |kind| Error::new(kind).item(Item::Entry((*name).to_owned()));
        if name.len() + SUMS.len() > MAX_NAME {
            let (length, limit) = (name.len() as u64, (MAX_NAME - SUMS.len()) as u64);
            return Err(fail(Kind::TooLong { what: "a name", length, limit }));
        }
        if entry.counts.is_empty() || !entry.sums.len().is_multiple_of(entry.counts.len()) {
            let (sums, counts) = (entry.sums.len() as u64, entry.counts.len() as u64);
            return Err(fail(Kind::Counts { sums, counts }));
        }
        let rows = entry.counts.len() as u64;
        for (suffix, columns) in [(SUMS, entry.shared() as u64), (COUNTS, 1)] {
            let shape = trimmed(&[rows, columns]).to_vec();
            specs.push(TensorSpec { name: format!("{name}{suffix}"), shape, dtype: Dtype::F32 });
        }
    }
    Ok(specs)
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
