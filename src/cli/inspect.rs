//! `quantize inspect`: what is in a file, for people and as JSON.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde_json::{Value as Json, json};
use weightmill::input;
use weightmill_formats::{Array, Source, TensorInfo, Value};

use super::args::{InspectArgs, pickles};

/// Elements of an array and characters of a text that are shown.
const SHOWN_ELEMENTS: usize = 6;
const SHOWN_CHARACTERS: usize = 80;

pub(super) fn run(args: &InspectArgs) -> Result<()> {
    let source = input::find(&args.file, pickles(args.allow_pickle))?.source;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &document(source.as_ref())).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        print(&mut out, source.as_ref())?;
    }
    Ok(out.flush()?)
}

fn print(out: &mut impl Write, source: &dyn Source) -> io::Result<()> {
    for file in source.files() {
        writeln!(out, "{}", file.display())?;
    }
    let tensors = source.tensors();
    let weights: u64 = tensors.iter().map(TensorInfo::weights).sum();
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    writeln!(
        out,
        "{}: {} metadata entries, {} tensors, {} weights, {}",
        source.format(),
        source.metadata().len(),
        tensors.len(),
        HumanCount(weights),
        HumanBytes(bytes)
    )?;
    if weights > 0 {
        writeln!(out, "{:.2} bits per weight", bytes as f64 * 8.0 / weights as f64)?;
    }

    if !source.metadata().is_empty() {
        writeln!(out, "\nMetadata")?;
    }
    for (key, value) in source.metadata().iter() {
        writeln!(out, "  {} = {}", key.escape_debug(), shown(value))?;
    }

    writeln!(out, "\nTensors")?;
    let width = |text: fn(&TensorInfo) -> String| tensors.iter().map(|tensor| text(tensor).len()).max().unwrap_or(0);
    let (names, shapes) = (width(name), width(shape));
    for tensor in tensors {
        let TensorInfo { dtype, bytes, .. } = tensor;
        writeln!(out, "  {:names$}  {:shapes$}  {dtype:8} {bytes:>14}", name(tensor), shape(tensor))?;
    }

    writeln!(out, "\nTypes")?;
    for (dtype, (count, bytes)) in types(tensors) {
        writeln!(out, "  {dtype:8} {count:>6} tensors {bytes:>16} bytes")?;
    }
    Ok(())
}

fn name(tensor: &TensorInfo) -> String {
    tensor.name.escape_debug().to_string()
}

fn shape(tensor: &TensorInfo) -> String {
    format!("{:?}", tensor.shape)
}

/// Number of tensors and bytes by type, by the type's name.
fn types(tensors: &[TensorInfo]) -> BTreeMap<&'static str, (u64, u64)> {
    let mut types = BTreeMap::new();
    for tensor in tensors {
        let (count, bytes) = types.entry(tensor.dtype.name()).or_insert((0, 0));
        *count += 1;
        *bytes += tensor.bytes;
    }
    types
}

/// A value in one line: texts are cut and their control characters escaped, for a file may hold anything.
fn shown(value: &Value) -> String {
    if let Value::F32(number) = value {
        return format!("{number:?} (f32)");
    }
    let (kind, json) = typed(value, SHOWN_ELEMENTS);
    let element = |json: &Json| match json {
        Json::String(text) if text.chars().count() > SHOWN_CHARACTERS => {
            format!("{:?}...", text.chars().take(SHOWN_CHARACTERS).collect::<String>())
        }
        Json::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    match (&json, value) {
        (Json::Array(elements), Value::Array(array)) => {
            let more = if array_len(array) > elements.len() { ", ..." } else { "" };
            let elements: Vec<String> = elements.iter().map(element).collect();
            format!("[{}{more}] ({} of {kind})", elements.join(", "), array_len(array))
        }
        (json, _) => format!("{} ({kind})", element(json)),
    }
}

fn document(source: &dyn Source) -> Json {
    let metadata: serde_json::Map<String, Json> = source
        .metadata()
        .iter()
        .map(|(key, value)| {
            let (kind, json) = typed(value, usize::MAX);
            let kind = if matches!(value, Value::Array(_)) { format!("[{kind}]") } else { kind.to_owned() };
            (key.to_owned(), json!({"type": kind, "value": json}))
        })
        .collect();
    let tensor = |tensor: &TensorInfo| {
        let TensorInfo { name, shape, dtype, file, offset, bytes } = tensor;
        json!({"name": name, "shape": shape, "type": dtype.name(), "bytes": bytes, "file": file, "offset": offset})
    };
    let tensors = source.tensors();
    let weights: u64 = tensors.iter().map(TensorInfo::weights).sum();
    let bytes: u64 = tensors.iter().map(|tensor| tensor.bytes).sum();
    let types: serde_json::Map<String, Json> = types(tensors)
        .into_iter()
        .map(|(dtype, (count, bytes))| (dtype.to_owned(), json!({"tensors": count, "bytes": bytes})))
        .collect();
    json!({
        "format": source.format(),
        "files": source.files().iter().map(|file| file.to_string_lossy()).collect::<Vec<_>>(),
        "weights": weights,
        "bytes": bytes,
        "metadata": metadata,
        "types": types,
        "tensors": tensors.iter().map(tensor).collect::<Vec<_>>(),
    })
}

macro_rules! kinds {
    ($value:expr, $limit:expr; $($variant:ident $name:literal),*) => {
        match $value {
            $(Value::$variant(value) => ($name, json!(value)),)*
            $(Value::Array(Array::$variant(values)) => ($name, json!(&values[..values.len().min($limit)])),)*
            Value::Array(Array::Array(values)) => {
                let elements = values.iter().take($limit).map(|array| typed(&Value::Array(array.clone()), usize::MAX).1);
                ("array", elements.collect())
            }
        }
    };
}

/// The name of a value's type (of an array's elements) and the value, of an array at most `limit` elements.
fn typed(value: &Value, limit: usize) -> (&'static str, Json) {
    kinds!(value, limit; U8 "u8", I8 "i8", U16 "u16", I16 "i16", U32 "u32", I32 "i32", F32 "f32", Bool "bool",
        String "string", U64 "u64", I64 "i64", F64 "f64")
}

fn array_len(array: &Array) -> usize {
    macro_rules! len {
        ($($variant:ident),*) => { match array { $(Array::$variant(values) => values.len()),* } };
    }
    len!(U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64)
}
