//! The older form, little-endian without a magic: `i32` number of entries; each entry `i32` length and name, `i32`
//! calls, `i32` number of values, values; then, in all but the oldest files, `i32` chunks, `i32` length and name of the
//! text. Values are means times calls. Facts: `common_imatrix_load_legacy`, `load_imatrix` and `save_imatrix_legacy` of
//! llama.cpp.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian, WriteBytesExt as _};
use indexmap::IndexMap;

use super::{Entry, Imatrix};
use crate::cursor::Cursor;
use crate::error::{Error, Item, Kind, Result};
use crate::output::OutputFile;

/// Smallest entry: three numbers, one byte of name, one value.
const MIN_ENTRY_BYTES: u64 = 17;

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Imatrix> {
    let cursor = &mut Cursor::new(bytes, path);
    let entries = positive(cursor, "the number of entries")?;
    let entries = cursor.check_count(0, entries, "entries", MIN_ENTRY_BYTES)?;
    let mut matrix = Imatrix { entries: IndexMap::with_capacity(entries), ..Imatrix::default() };
    for _ in 0..entries {
        let begin = cursor.at();
        let length = positive(cursor, "the length of a name")?;
        let name = cursor.text(begin, length, "an entry's name")?.to_owned();
        let on_entry = |error: crate::Error| error.item(Item::Entry(name.clone()));
        let calls = cursor.i32("the number of calls").map_err(on_entry)?;
        let at = cursor.at();
        let count = positive(cursor, "the number of values").map_err(on_entry)?;
        let count = cursor.check_count(at, count, "values", 4).map_err(on_entry)?;
        let mut sums = vec![0.0f32; count];
        LittleEndian::read_f32_into(cursor.take(count as u64 * 4, "values").map_err(on_entry)?, &mut sums);
        if matrix.entries.contains_key(&name) {
            return Err(on_entry(cursor.error(begin, Kind::Duplicate)));
        }
        // Fewer than no calls are none: llama.cpp divides by positive ones only.
        let counts = vec![u64::try_from(calls).unwrap_or(0)];
        matrix.entries.insert(name, Entry { sums, counts });
    }
    if cursor.remaining() > 0 {
        let at = cursor.at();
        let chunks = cursor.i32("the number of chunks")?;
        matrix.chunks = u32::try_from(chunks)
            .map_err(|_| cursor.error(at, Kind::BadCount { what: "the number of chunks", found: chunks.into() }))?;
    }
    if cursor.remaining() > 0 {
        let begin = cursor.at();
        let length = cursor.i32("the length of the text's name")?;
        let length = u64::try_from(length).map_err(|_| {
            cursor.error(begin, Kind::BadCount { what: "the length of the text's name", found: length.into() })
        })?;
        if length > 0 {
            matrix.datasets.push(cursor.text(begin, length, "the text's name")?.to_owned());
        }
    }
    match cursor.remaining() {
        0 => Ok(matrix),
        by => Err(cursor.error(cursor.at(), Kind::Trailing { by })),
    }
}

/// An `i32` greater than zero.
fn positive(cursor: &mut Cursor<'_>, what: &'static str) -> Result<u64> {
    let at = cursor.at();
    match cursor.i32(what)? {
        found @ ..=0 => Err(cursor.error(at, Kind::BadCount { what, found: found.into() })),
        found => Ok(found as u64),
    }
}

/// Writes the file. A value is the mean times the calls; of experts that saw nothing the mean is 1.
pub(super) fn write(matrix: &Imatrix, path: &Path, force: bool) -> Result<()> {
    let mut entries = matrix.sorted();
    entries.retain(|(_, entry)| entry.counts.iter().any(|&count| count > 0));
    if entries.is_empty() {
        return Err(Error::new(Kind::Incomplete { what: "entries" }).file(path));
    }
    let dataset = matrix.datasets.last().map_or("", String::as_str);
    let sizes = entries.iter().map(|(name, entry)| 12 + (name.len() + 4 * entry.sums.len()) as u64);
    let length = 12 + sizes.sum::<u64>() + dataset.len() as u64;
    let output = OutputFile::create(path, length, force)?;

    let fail = |error: Error| error.file(path);
    let mut at = 0;
    let mut bytes = Vec::new();
    put(&mut bytes, number(entries.len() as u64, "the number of entries").map_err(fail)?);
    for (name, entry) in entries {
        append(entry, name, matrix.chunk_size, &mut bytes).map_err(|e| fail(e).item(Item::Entry(name.to_owned())))?;
        output.write_all_at(&bytes, at)?;
        at += bytes.len() as u64;
        bytes.clear();
    }
    put(&mut bytes, number(matrix.chunks.into(), "the number of chunks").map_err(fail)?);
    put(&mut bytes, number(dataset.len() as u64, "the length of the text's name").map_err(fail)?);
    bytes.extend_from_slice(dataset.as_bytes());
    output.write_all_at(&bytes, at)?;
    output.commit()
}

fn append(entry: &Entry, name: &str, chunk_size: Option<u32>, bytes: &mut Vec<u8>) -> Result<()> {
    let most = entry.counts.iter().max().copied().unwrap_or(0);
    let calls = number(most.div_ceil(chunk_size.unwrap_or(1).max(1).into()), "the number of calls")?;
    put(bytes, number(name.len() as u64, "the length of a name")?);
    bytes.extend_from_slice(name.as_bytes());
    put(bytes, calls);
    put(bytes, number(entry.sums.len() as u64, "the number of values")?);
    for (count, sums) in entry.parts() {
        for &sum in sums {
            let value = match count {
                0 => calls as f32,
                // Exactly as it was read: division and multiplication would round twice.
                count if count == calls as u64 => sum,
                count => sum / count as f32 * calls as f32,
            };
            bytes.write_f32::<LittleEndian>(value).expect("writing to a Vec does not fail");
        }
    }
    Ok(())
}

/// A number that the form has 31 bits for.
fn number(n: u64, what: &'static str) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::new(Kind::Limit { what, found: n, limit: i32::MAX as u64 }))
}

fn put(bytes: &mut Vec<u8>, number: i32) {
    bytes.write_i32::<LittleEndian>(number).expect("writing to a Vec does not fail");
}
