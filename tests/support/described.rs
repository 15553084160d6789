//! A GGUF file in the words of the golden files: what the scripts in `tests/golden` write with `describe`.

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use weightmill_formats::{Array, Value};

/// Entries of an array from which on a digest stands for it.
const LONG_ARRAY: usize = 41;

/// Key, type and value; a long array as its length and a digest of its JSON.
///
/// # Panics
/// On types that no golden file has.
pub fn entry(key: &str, value: &Value) -> Json {
    let (kind, value) = match value {
        Value::String(text) => ("STRING", json!(text)),
        Value::U32(number) => ("UINT32", json!(number)),
        Value::I32(number) => ("INT32", json!(number)),
        Value::F32(number) => ("FLOAT32", json!(f64::from(*number))),
        Value::Bool(flag) => ("BOOL", json!(flag)),
        Value::Array(Array::String(texts)) => ("ARRAY/STRING", json!(texts)),
        Value::Array(Array::I32(numbers)) => ("ARRAY/INT32", json!(numbers)),
        Value::Array(Array::U32(numbers)) => ("ARRAY/UINT32", json!(numbers)),
        Value::Array(Array::Bool(flags)) => ("ARRAY/BOOL", json!(flags)),
        Value::Array(Array::F32(numbers)) => {
            ("ARRAY/FLOAT32", json!(numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>()))
        }
        other => panic!("no such value is expected here: {other:?}"),
    };
    match value.as_array() {
        Some(items) if items.len() >= LONG_ARRAY => json!([key, kind, [items.len(), digest(value.to_string())]]),
        _ => json!([key, kind, value]),
    }
}

/// The first 16 hexadecimal digits of the SHA-256.
pub fn digest(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds to `differences` what distinguishes the rows of a golden file from those that were made.
pub fn compare(want: &Json, got: &[Json], differences: &mut Vec<String>) {
    let want = want.as_array().unwrap();
    if want.len() != got.len() {
        let keys = |rows: &[Json]| rows.iter().map(|row| row[0].to_string()).collect::<Vec<_>>().join(" ");
        differences.push(format!("want {} rows, got {}:\n{}\n{}", want.len(), got.len(), keys(want), keys(got)));
    }
    let pairs = want.iter().zip(got).filter(|(want, got)| want != got);
    differences.extend(pairs.map(|(want, got)| format!("want {want}, got {got}")));
}

/// The bytes that Base64 letters stand for.
pub fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let digits: Vec<u32> =
        digits.map(|byte| LETTERS.iter().position(|letter| *letter == byte).unwrap() as u32).collect();
    let groups = digits.chunks(4).flat_map(|group| {
        let bits = (0..4).fold(0, |bits, i| bits << 6 | group.get(i).copied().unwrap_or(0));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}
