//! Checked little-endian reading from a byte slice; every failure knows its offset.

use std::ops::Range;
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::{Error, Kind, Result};

/// Longest string that is read: far above any chat template or token, far below what could exhaust memory.
pub(crate) const MAX_STRING: u64 = 64 << 20;

/// A position in the bytes of a file.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    path: &'a Path,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8], path: &'a Path) -> Self {
        Cursor { bytes, at: 0, path }
    }

    /// Reads `range` of the bytes; offsets stay those of the whole.
    ///
    /// # Panics
    /// If the range does not lie inside the bytes.
    pub(crate) fn within(bytes: &'a [u8], range: Range<u64>, path: &'a Path) -> Self {
        let bytes = &bytes[..range.end as usize];
        assert!(range.start <= range.end, "a range");
        Cursor { bytes, at: range.start as usize, path }
    }

    /// Bytes that were read before, by their offsets.
    pub(crate) fn bytes(&self, range: Range<u64>) -> &'a [u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    /// Offset of the next byte.
    pub(crate) fn at(&self) -> u64 {
        self.at as u64
    }

    /// Bytes up to the end.
    pub(crate) fn remaining(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    /// An error at `offset` of this file.
    pub(crate) fn error(&self, offset: u64, kind: Kind) -> Error {
        Error::new(kind).file(self.path).at(offset)
    }

    /// The next `length` bytes.
    pub(crate) fn take(&mut self, length: u64, what: &'static str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(self.error(self.at(), Kind::Truncated { what, needed: length, remaining: self.remaining() })),
        }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8> {
        Ok(self.take(1, what)?[0])
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32> {
        self.take(4, what).map(LittleEndian::read_u32)
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32> {
        self.take(4, what).map(LittleEndian::read_i32)
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64> {
        self.take(8, what).map(LittleEndian::read_u64)
    }

    /// A count of things that take at least `each` bytes, compared with the bytes that are left.
    pub(crate) fn count(&mut self, what: &'static str, each: u64) -> Result<usize> {
        let begin = self.at();
        let count = self.u64(what)?;
        self.check_count(begin, count, what, each)
    }

    /// Compares `count`, read at `offset`, with the bytes that are left.
    pub(crate) fn check_count(&self, offset: u64, count: u64, what: &'static str, each: u64) -> Result<usize> {
        let remaining = self.remaining();
        match usize::try_from(count) {
            Ok(fits) if count <= remaining / each => Ok(fits),
            _ => Err(self.error(offset, Kind::Count { what, count, each, remaining })),
        }
    }

    /// UTF-8 of `length` bytes; `begin` is where its length stands.
    pub(crate) fn text(&mut self, begin: u64, length: u64, what: &'static str) -> Result<&'a str> {
        if length > MAX_STRING {
            return Err(self.error(begin, Kind::TooLong { what, length, limit: MAX_STRING }));
        }
        let at = self.at();
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|e| self.error(at + e.valid_up_to() as u64, Kind::Utf8 { what }))
    }

    /// A GGUF string: 64-bit length, then UTF-8 without a terminator.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<&'a str> {
        let begin = self.at();
        let length = self.u64(what)?;
        self.text(begin, length, what)
    }
}
