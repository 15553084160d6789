//! The older form, little-endian without a magic: `i32` number of entries; each entry `i32` length and name, `i32`
//! calls, `i32` number of values, values; then, in all but the oldest files, `i32` chunks, `i32` length and name of the
//! text. Values are means times calls. Facts: `common_imatrix_load_legacy` and `load_imatrix` of llama.cpp.

use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};
use indexmap::IndexMap;

use super::{Importance, check_values};
use crate::cursor::Cursor;
use crate::error::{Item, Kind, Result};

/// Smallest entry: three numbers, one byte of name, one value.
const MIN_ENTRY_BYTES: u64 = 17;

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Importance> {
    let cursor = &mut Cursor::new(bytes, path);
    let entries = positive(cursor, "the number of entries")?;
    let entries = cursor.check_count(0, entries, "entries", MIN_ENTRY_BYTES)?;
    let mut importance = Importance { entries: IndexMap::with_capacity(entries), ..Importance::default() };
    for _ in 0..entries {
        let begin = cursor.at();
        let length = positive(cursor, "the length of a name")?;
        let name = cursor.text(begin, length, "an entry's name")?.to_owned();
        let on_entry = |error: crate::Error| error.item(Item::Entry(name.clone()));
        let calls = cursor.i32("the number of calls").map_err(on_entry)?;
        let at = cursor.at();
        let count = positive(cursor, "the number of values").map_err(on_entry)?;
        let count = cursor.check_count(at, count, "values", 4).map_err(on_entry)?;
        let at = cursor.at();
        let mut values = vec![0.0f32; count];
        LittleEndian::read_f32_into(cursor.take(count as u64 * 4, "values").map_err(on_entry)?, &mut values);
        if calls > 0 {
            values.iter_mut().for_each(|value| *value /= calls as f32);
        }
        check_values(&values, at).map_err(|e| on_entry(e.file(path)))?;
        if importance.entries.contains_key(&name) {
            return Err(on_entry(cursor.error(begin, Kind::Duplicate)));
        }
        importance.entries.insert(name, values);
    }
    if cursor.remaining() > 0 {
        let at = cursor.at();
        let chunks = cursor.i32("the number of chunks")?;
        importance.chunks = u32::try_from(chunks)
            .map_err(|_| cursor.error(at, Kind::BadCount { what: "the number of chunks", found: chunks.into() }))?;
    }
    if cursor.remaining() > 0 {
        let begin = cursor.at();
        let length = cursor.i32("the length of the text's name")?;
        let length = u64::try_from(length).map_err(|_| {
            cursor.error(begin, Kind::BadCount { what: "the length of the text's name", found: length.into() })
        })?;
        if length > 0 {
            importance.datasets.push(cursor.text(begin, length, "the text's name")?.to_owned());
        }
    }
    match cursor.remaining() {
        0 => Ok(importance),
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
