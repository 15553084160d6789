//! Builds files byte by byte, sound ones and broken ones.
#![allow(dead_code)] // each test binary uses its part

use byteorder::{LittleEndian, WriteBytesExt};

pub const U8: u32 = 0;
pub const U16: u32 = 2;
pub const U32: u32 = 4;
pub const I32: u32 = 5;
pub const BOOL: u32 = 7;
pub const STRING: u32 = 8;
pub const ARRAY: u32 = 9;

pub const F32: u32 = 0;
pub const Q8_0: u32 = 8;

/// Bytes of a file, little-endian.
#[derive(Clone, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Magic, version and counts of a GGUF file.
    pub fn gguf(version: u32, tensors: u64, entries: u64) -> Self {
        Bytes(b"GGUF".to_vec()).u32(version).u64(tensors).u64(entries)
    }

    pub fn at(&self) -> u64 {
        self.0.len() as u64
    }

    pub fn u8(mut self, n: u8) -> Self {
        self.0.push(n);
        self
    }

    pub fn u16(mut self, n: u16) -> Self {
        self.0.write_u16::<LittleEndian>(n).unwrap();
        self
    }

    pub fn u32(mut self, n: u32) -> Self {
        self.0.write_u32::<LittleEndian>(n).unwrap();
        self
    }

    pub fn i32(mut self, n: i32) -> Self {
        self.0.write_i32::<LittleEndian>(n).unwrap();
        self
    }

    pub fn u64(mut self, n: u64) -> Self {
        self.0.write_u64::<LittleEndian>(n).unwrap();
        self
    }

    pub fn floats(mut self, numbers: &[f32]) -> Self {
        numbers.iter().for_each(|&n| self.0.write_f32::<LittleEndian>(n).unwrap());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }

    pub fn pad(self, alignment: usize) -> Self {
        let missing = self.0.len().next_multiple_of(alignment) - self.0.len();
        self.zeros(missing)
    }

    /// A GGUF string.
    pub fn string(self, text: &str) -> Self {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    /// Key and type of a metadata entry.
    pub fn key(self, key: &str, kind: u32) -> Self {
        self.string(key).u32(kind)
    }

    /// A row of the tensor table; dimensions in file order, the contiguous one first.
    pub fn tensor(self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        let row = self.string(name).u32(dimensions.len() as u32);
        dimensions.iter().fold(row, |row, &n| row.u64(n)).u32(kind).u64(offset)
    }

    /// An importance matrix's `i32` length and text.
    pub fn short_string(self, text: &str) -> Self {
        self.i32(text.len() as i32).raw(text.as_bytes())
    }

    /// A safetensors file of this header.
    pub fn safetensors(header: &str, data: usize) -> Self {
        Bytes::default().u64(header.len() as u64).raw(header.as_bytes()).zeros(data)
    }
}

/// Asserts kind, item and offset of an error, and that the message names the file and the item.
#[macro_export]
macro_rules! assert_defect {
    ($result:expr, $kind:pat $(if $guard:expr)?, $item:expr, $offset:expr) => {{
        let error = $result.expect_err("a defect");
        assert!(matches!(error.kind(), $kind $(if $guard)?), "{error:?}");
        let item: Option<weightmill_formats::Item> = $item;
        let offset: Option<u64> = $offset;
        assert_eq!(error.about(), item.as_ref(), "{error}");
        assert_eq!(error.offset(), offset, "{error}");
        let file = error.in_file().expect("a file").display().to_string();
        let message = error.to_string();
        assert!(message.starts_with(&file), "{message}");
        if let Some(item) = item {
            assert!(message.contains(&item.to_string()), "{message}");
        }
        message
    }};
}

/// Asserts kind and item of an error that has some place in the file.
#[macro_export]
macro_rules! assert_placed {
    ($result:expr, $kind:pat, $item:expr) => {{
        let result = $result.map(|_| ());
        let offset = result.as_ref().err().and_then(weightmill_formats::Error::offset);
        assert!(offset.is_some());
        assert_defect!(result, $kind, $item, offset)
    }};
}

pub fn tensor(name: &str) -> Option<weightmill_formats::Item> {
    Some(weightmill_formats::Item::Tensor(name.to_owned()))
}

pub fn key(name: &str) -> Option<weightmill_formats::Item> {
    Some(weightmill_formats::Item::Key(name.to_owned()))
}

pub fn entry(name: &str) -> Option<weightmill_formats::Item> {
    Some(weightmill_formats::Item::Entry(name.to_owned()))
}
