//! What a model's metadata declare, against the tensors and tokens that are there.
//!
//! Readers do not need this: a file may be sound as a container and still describe another model. Everything refused
//! here makes llama.cpp refuse the model too, or read beyond an array. Facts: `llama-model.cpp`, `llama-vocab.cpp`.

use crate::error::{Error, Item, Kind, Result};
use crate::{Array, Metadata, TensorInfo, Value};

/// Most layers of a model (`LLAMA_MAX_LAYERS`).
pub const MAX_LAYERS: u64 = 512;

/// Most experts of a layer (`LLAMA_MAX_EXPERTS`).
pub const MAX_EXPERTS: u64 = 1024;

const TOKENS: &str = "tokenizer.ggml.tokens";

/// `LLAMA_TOKEN_TYPE_BYTE`.
const BYTE_TOKEN: i32 = 6;

/// Compares declared layers, heads and experts with the tensors, and the vocabulary with its own arrays and the
/// embedding. Keys that are not there are not missed, and without tensors only the vocabulary is looked at.
pub fn check_declared(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<()> {
    check_vocabulary(metadata)?;
    if let Some(Value::Array(tokens)) = metadata.get(TOKENS)
        && let Some(embedding) = tensors.iter().find(|tensor| tensor.name == "token_embd.weight")
    {
        same("tokens", tokens.len() as u64, rows(embedding)).map_err(|e| on(e, embedding))?;
    }
    let Some(architecture) = metadata.string("general.architecture") else { return Ok(()) };
    let number = |name: &str| metadata.unsigned(&format!("{architecture}.{name}"));
    let limited = |name: &'static str, limit| match number(name) {
        Some(found) if found > limit => {
            let error = Error::new(Kind::Limit { what: name, found, limit });
            Err(error.item(Item::Key(format!("{architecture}.{name}"))))
        }
        found => Ok(found),
    };
    // Some architectures have layers without anything; those give their heads as an array.
    let every_layer = number("attention.head_count").is_some();
    if let Some(layers) = limited("block_count", MAX_LAYERS)? {
        check_layers(layers, every_layer, tensors)?;
    }
    if let Some(experts) = limited("expert_count", MAX_EXPERTS)?.filter(|&experts| experts > 0) {
        let merged = |tensor: &&TensorInfo| tensor.name.ends_with("_exps.weight") && tensor.shape.len() == 3;
        for tensor in tensors.iter().filter(merged) {
            same("experts", experts, tensor.shape[0]).map_err(|e| on(e, tensor))?;
        }
    }
    for (key, name) in [("attention.head_count", ".attn_q.weight"), ("attention.head_count_kv", ".attn_k.weight")] {
        let Some(heads) = number(key).filter(|&heads| heads > 0) else { continue };
        for tensor in tensors.iter().filter(|tensor| tensor.name.ends_with(name)) {
            if !rows(tensor).is_multiple_of(heads) {
                return Err(on(Error::new(Kind::Heads { rows: rows(tensor), heads }), tensor));
            }
        }
    }
    Ok(())
}

/// The layer of a tensor named `blk.N.…`; the largest number for one that is larger still.
fn layer(name: &str) -> Option<usize> {
    let (number, _) = name.strip_prefix("blk.")?.split_once('.')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().unwrap_or(usize::MAX))
}

fn check_layers(layers: u64, every_layer: bool, tensors: &[TensorInfo]) -> Result<()> {
    let mut present = vec![false; layers as usize];
    for tensor in tensors {
        let Some(number) = layer(&tensor.name) else { continue };
        match present.get_mut(number) {
            Some(present) => *present = true,
            None => {
                let kind = Kind::Declared { what: "layers", declared: layers, found: number.saturating_add(1) as u64 };
                return Err(on(Error::new(kind), tensor));
            }
        }
    }
    let found = present.iter().filter(|&&present| present).count() as u64;
    if every_layer && found > 0 { same("layers", layers, found) } else { Ok(()) }
}

fn check_vocabulary(metadata: &Metadata) -> Result<()> {
    let on_key = |key: &str, kind| Err(Error::new(kind).item(Item::Key(key.to_owned())));
    let tokens = match metadata.get(TOKENS) {
        None => return Ok(()),
        Some(Value::Array(Array::String(tokens))) => tokens,
        Some(other) => {
            return on_key(TOKENS, Kind::WrongType { expected: "an array of str", found: other.type_name() });
        }
    };
    let enough = |key: &str, what, found: usize| {
        // llama.cpp wants at least as many; published files have a few with more.
        if found < tokens.len() {
            return on_key(key, Kind::Declared { what, declared: tokens.len() as u64, found: found as u64 });
        }
        Ok(())
    };
    let key = "tokenizer.ggml.scores";
    match metadata.get(key) {
        None => {}
        Some(Value::Array(scores @ (Array::F32(_) | Array::I32(_)))) => enough(key, "tokens", scores.len())?,
        Some(other) => {
            return on_key(key, Kind::WrongType { expected: "an array of f32", found: other.type_name() });
        }
    }
    let key = "tokenizer.ggml.token_type";
    let types = match metadata.get(key) {
        None => return Ok(()),
        Some(Value::Array(Array::I32(types))) => types,
        Some(other) => {
            return on_key(key, Kind::WrongType { expected: "an array of i32", found: other.type_name() });
        }
    };
    enough(key, "tokens", types.len())?;
    // Other tokenizers may mean something else by this type.
    if metadata.string("tokenizer.ggml.model") == Some("llama") {
        let bytes = tokens.iter().zip(types).filter(|(_, kind)| **kind == BYTE_TOKEN);
        if let Some((text, _)) = bytes.into_iter().find(|(text, _)| byte_of(text).is_none()) {
            return on_key(TOKENS, Kind::Name { what: "byte token", name: text.clone() });
        }
    }
    Ok(())
}

/// The byte that `<0xNN>` stands for: exactly two hexadecimal digits, no sign.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// Length of the dimension outside of the rows' weights.
fn rows(tensor: &TensorInfo) -> u64 {
    tensor.shape.iter().rev().nth(1).copied().unwrap_or(1)
}

fn same(what: &'static str, declared: u64, found: u64) -> Result<()> {
    if declared == found { Ok(()) } else { Err(Error::new(Kind::Declared { what, declared, found })) }
}

fn on(error: Error, tensor: &TensorInfo) -> Error {
    error.item(Item::Tensor(tensor.name.clone())).at(tensor.offset)
}
