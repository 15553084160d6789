//! JSON whose errors have an offset, and objects that keep order and repeated names.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};

/// A JSON text inside a file.
pub(crate) struct Json<'a> {
    text: &'a str,
    offset: u64,
    path: &'a Path,
}

impl<'a> Json<'a> {
    /// `text` begins at `offset` of the file.
    pub(crate) fn new(text: &'a str, offset: u64, path: &'a Path) -> Self {
        Json { text, offset, path }
    }

    /// An error at `part`, a slice of the text.
    pub(crate) fn error(&self, part: &str, kind: Kind) -> Error {
        Error::new(kind).file(self.path).at(self.offset_of(part))
    }

    /// Reads `part`, a slice of the text.
    pub(crate) fn read<'p, T: Deserialize<'p>>(&self, part: &'p str) -> Result<T> {
        serde_json::from_str(part).map_err(|error| {
            let line_begin =
                part.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
            // serde_json counts columns in bytes, from 1; 0 at the beginning of a line.
            let at = (line_begin + error.column().saturating_sub(1)).min(part.len());
            let reason = error.to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            Error::new(Kind::Json { reason }).file(self.path).at(self.offset_of(part) + at as u64)
        })
    }

    fn offset_of(&self, part: &str) -> u64 {
        self.offset + (part.as_ptr().addr().saturating_sub(self.text.as_ptr().addr())) as u64
    }
}

/// The members of an object in their order, repeated names included.
pub(crate) struct Pairs<'a, V = &'a RawValue>(pub(crate) Vec<(Cow<'a, str>, V)>);

impl<'de: 'a, 'a, V: Deserialize<'de>> Deserialize<'de> for Pairs<'a, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members<'a, V>(PhantomData<(&'a str, V)>);

        impl<'de: 'a, 'a, V: Deserialize<'de>> Visitor<'de> for Members<'a, V> {
            type Value = Pairs<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Name(name), value)) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// A string that borrows from the text unless it has escapes.
#[derive(serde::Deserialize)]
pub(crate) struct Name<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);
