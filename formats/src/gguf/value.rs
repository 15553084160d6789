//! Metadata values as bytes: one row per `gguf_type`, read and written from the same table.

use byteorder::{ByteOrder, LittleEndian, WriteBytesExt};

use crate::cursor::Cursor;
use crate::error::{Kind, Result};
use crate::{Array, Value};

/// Levels of arrays inside arrays that are read. llama.cpp reads one; the format sets no limit.
pub const MAX_ARRAY_DEPTH: usize = 4;

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Length and type take at least this much: `u32` type, `u64` count.
const MIN_ARRAY_BYTES: u64 = 12;
const MIN_STRING_BYTES: u64 = 8;

macro_rules! values {
    ($($variant:ident $rust:ty, $id:literal $name:literal $bytes:literal $read:ident $read_into:ident $write:ident;)*) => {
        impl Value {
            /// Number of the type in a GGUF file.
            fn type_id(&self) -> u32 {
                match self {
                    $(Value::$variant(_) => $id,)*
                    Value::Bool(_) => BOOL,
                    Value::String(_) => STRING,
                    Value::Array(_) => ARRAY,
                }
            }

            /// llama.cpp's name of the type, as in `u32`, `str` or `arr`.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Value::$variant(_) => $name,)*
                    Value::Bool(_) => "bool",
                    Value::String(_) => "str",
                    Value::Array(_) => "arr",
                }
            }
        }

        impl Array {
            fn element_id(&self) -> u32 {
                match self {
                    $(Array::$variant(_) => $id,)*
                    Array::Bool(_) => BOOL,
                    Array::String(_) => STRING,
                    Array::Array(_) => ARRAY,
                }
            }

            /// llama.cpp's name of the elements' type.
            pub fn element_name(&self) -> &'static str {
                match self {
                    $(Array::$variant(_) => $name,)*
                    Array::Bool(_) => "bool",
                    Array::String(_) => "str",
                    Array::Array(_) => "arr",
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Array::$variant(items) => items.len(),)*
                    Array::Bool(items) => items.len(),
                    Array::String(items) => items.len(),
                    Array::Array(items) => items.len(),
                }
            }

            /// True without elements.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        /// Reads the value of a type.
        pub(super) fn read(cursor: &mut Cursor<'_>, id: u32) -> Result<Value> {
            const WHAT: &str = "a metadata value";
            Ok(match id {
                $($id => Value::$variant(values!(@scalar $read cursor.take($bytes, WHAT)?)),)*
                BOOL => Value::Bool(read_bool(cursor)?),
                STRING => Value::String(cursor.string("a string value")?.to_owned()),
                ARRAY => Value::Array(read_array(cursor, 1)?),
                _ => return Err(cursor.error(cursor.at() - 4, Kind::UnknownValueType { id })),
            })
        }

        fn read_array(cursor: &mut Cursor<'_>, depth: usize) -> Result<Array> {
            let begin = cursor.at();
            if depth > MAX_ARRAY_DEPTH {
                return Err(cursor.error(begin, Kind::Nesting { limit: MAX_ARRAY_DEPTH }));
            }
            let id = cursor.u32("an array")?;
            const WHAT: &str = "array elements";
            Ok(match id {
                $($id => {
                    let count = cursor.count(WHAT, $bytes)?;
                    let bytes = cursor.take(count as u64 * $bytes, WHAT)?;
                    let mut items = vec![<$rust>::default(); count];
                    values!(@array $read_into bytes, &mut items);
                    Array::$variant(items)
                })*
                BOOL => {
                    let count = cursor.count(WHAT, 1)?;
                    Array::Bool((0..count).map(|_| read_bool(cursor)).collect::<Result<_>>()?)
                }
                STRING => {
                    let count = cursor.count(WHAT, MIN_STRING_BYTES)?;
                    let mut items = Vec::with_capacity(count);
                    for _ in 0..count {
                        items.push(cursor.string("a string in an array")?.to_owned());
                    }
                    Array::String(items)
                }
                ARRAY => {
                    let count = cursor.count(WHAT, MIN_ARRAY_BYTES)?;
                    let mut items = Vec::with_capacity(count);
                    for _ in 0..count {
                        items.push(read_array(cursor, depth + 1)?);
                    }
                    Array::Array(items)
                }
                _ => return Err(cursor.error(begin, Kind::UnknownValueType { id })),
            })
        }

        /// Appends type and value.
        pub(super) fn write(out: &mut Vec<u8>, value: &Value) {
            put_u32(out, value.type_id());
            match value {
                $(Value::$variant(item) => values!(@write $write out, *item),)*
                Value::Bool(item) => out.push((*item).into()),
                Value::String(item) => put_string(out, item),
                Value::Array(items) => write_array(out, items),
            }
        }

        fn write_array(out: &mut Vec<u8>, array: &Array) {
            put_u32(out, array.element_id());
            put_u64(out, array.len() as u64);
            match array {
                $(Array::$variant(items) => items.iter().for_each(|&item| values!(@write $write out, item)),)*
                Array::Bool(items) => out.extend(items.iter().map(|&item| u8::from(item))),
                Array::String(items) => items.iter().for_each(|item| put_string(out, item)),
                Array::Array(items) => items.iter().for_each(|item| write_array(out, item)),
            }
        }
    };
    // Single bytes have no order, so byteorder's functions for them look different.
    (@scalar u8 $bytes:expr) => { $bytes[0] };
    (@scalar i8 $bytes:expr) => { $bytes[0] as i8 };
    (@scalar $read:ident $bytes:expr) => { LittleEndian::$read($bytes) };
    (@array u8 $bytes:expr, $items:expr) => { $items.copy_from_slice($bytes) };
    (@array i8 $bytes:expr, $items:expr) => {
        for (item, &byte) in $items.iter_mut().zip($bytes) {
            *item = byte as i8;
        }
    };
    (@array $read_into:ident $bytes:expr, $items:expr) => { LittleEndian::$read_into($bytes, $items) };
    (@write write_u8 $out:expr, $item:expr) => { $out.push($item) };
    (@write write_i8 $out:expr, $item:expr) => { $out.push($item as u8) };
    (@write $write:ident $out:expr, $item:expr) => { $out.$write::<LittleEndian>($item).expect(INFALLIBLE) };
}

const INFALLIBLE: &str = "writing to a Vec does not fail";

// gguf.h, enum gguf_type; 7, 8 and 9 are bool, string and array.
values! {
    U8  u8,  0  "u8"  1 u8       u8            write_u8;
    I8  i8,  1  "i8"  1 i8       i8            write_i8;
    U16 u16, 2  "u16" 2 read_u16 read_u16_into write_u16;
    I16 i16, 3  "i16" 2 read_i16 read_i16_into write_i16;
    U32 u32, 4  "u32" 4 read_u32 read_u32_into write_u32;
    I32 i32, 5  "i32" 4 read_i32 read_i32_into write_i32;
    F32 f32, 6  "f32" 4 read_f32 read_f32_into write_f32;
    U64 u64, 10 "u64" 8 read_u64 read_u64_into write_u64;
    I64 i64, 11 "i64" 8 read_i64 read_i64_into write_i64;
    F64 f64, 12 "f64" 8 read_f64 read_f64_into write_f64;
}

fn read_bool(cursor: &mut Cursor<'_>) -> Result<bool> {
    let begin = cursor.at();
    match cursor.u8("a bool")? {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(cursor.error(begin, Kind::Bool { found })),
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.write_u32::<LittleEndian>(number).expect(INFALLIBLE);
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.write_u64::<LittleEndian>(number).expect(INFALLIBLE);
}

pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_u64(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}
