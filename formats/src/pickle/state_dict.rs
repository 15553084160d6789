//! From the objects that a pickle describes to the tensors of a model and the places of their bytes.

use std::collections::HashSet;

use super::archive::Archive;
use super::machine::{Memory, Object, Value};
use super::{Defect, Header};
use crate::TensorInfo;
use crate::error::{Error, Item, Kind, Result};

/// Keys under which training programs put the model, beside the state of the training.
const MODELS: [&str; 2] = ["state_dict", "model"];

/// The tensors of the dictionary that the pickle is, in its order. Its numbers and texts become metadata.
///
/// A dictionary without tensors may hold the model under one of [`MODELS`]; what else it holds is training state.
pub(super) fn read(memory: &Memory<'_>, archive: &Archive<'_>) -> Result<Header> {
    let no_tensors = || Error::new(Kind::Pickle(Defect::NoTensors));
    let outer = dictionary(memory, memory.result).ok_or_else(no_tensors)?;
    let holds_tensors = |pairs: &[(Value, Value)]| pairs.iter().any(|(_, value)| tensor(memory, *value));
    if holds_tensors(outer) {
        return entries(memory, archive, outer);
    }
    let inner = MODELS.iter().find_map(|name| {
        let (_, value) = outer.iter().find(|(key, _)| memory.text(*key) == Some(name))?;
        dictionary(memory, *value).filter(|pairs| holds_tensors(pairs))
    });
    entries(memory, archive, inner.ok_or_else(no_tensors)?)
}

fn dictionary<'m>(memory: &'m Memory<'_>, value: Value) -> Option<&'m [(Value, Value)]> {
    match memory.object(value)? {
        Object::Dict(pairs) => Some(pairs),
        _ => None,
    }
}

fn tensor(memory: &Memory<'_>, value: Value) -> bool {
    matches!(memory.object(value), Some(Object::Tensor(_)))
}

fn entries(memory: &Memory<'_>, archive: &Archive<'_>, pairs: &[(Value, Value)]) -> Result<Header> {
    let mut header = Header::default();
    let mut names = HashSet::new();
    for (key, value) in pairs {
        let Some(name) = memory.text(*key) else {
            return Err(Error::new(Kind::Pickle(Defect::Program("a key of the dictionary of tensors is no text"))));
        };
        let on_entry = |error: Error| {
            let item = if tensor(memory, *value) { Item::Tensor } else { Item::Entry };
            error.item(item(name.to_owned()))
        };
        if !names.insert(name) {
            return Err(on_entry(Error::new(Kind::Duplicate)));
        }
        match value {
            Value::None => {}
            Value::Bool(value) => header.metadata.set(name, *value),
            Value::Integer(value) => header.metadata.set(name, *value),
            Value::Float(value) => header.metadata.set(name, *value),
            Value::Global(_) => return Err(on_entry(not_tensor("class"))),
            Value::Object(_) => match memory.object(*value).expect("an object") {
                Object::Text(text) => header.metadata.set(name, *text),
                Object::Tensor(tensor) => {
                    let key = memory.text(tensor.storage.key).expect("a storage's key is a text");
                    let range = archive.storage(key).map_err(on_entry)?;
                    let (needed, found) = (tensor.storage.bytes, range.end - range.start);
                    if found < needed {
                        let defect = Defect::OutsideStorage { end: needed, length: found };
                        return Err(on_entry(Error::new(Kind::Pickle(defect)).at(range.start)));
                    }
                    header.tensors.push(TensorInfo {
                        name: name.to_owned(),
                        shape: tensor.shape.clone(),
                        dtype: tensor.dtype,
                        file: 0,
                        offset: range.start + tensor.offset,
                        bytes: tensor.bytes,
                    });
                }
                other => return Err(on_entry(not_tensor(other.kind()))),
            },
        }
    }
    Ok(header)
}

fn not_tensor(found: &'static str) -> Error {
    Error::new(Kind::Pickle(Defect::NotTensor { found }))
}
