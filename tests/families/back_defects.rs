//! GGUF files that contradict themselves, on their way back to a checkpoint: one clear error each, or a checkpoint that
//! is whole; never a panic.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use weightmill::arch::Choices;
use weightmill::input::Input;
use weightmill::model::Model;
use weightmill::publish::of_gguf;
use weightmill::weights::Weights;
use weightmill_formats::{Metadata, Pickles, Source, TensorInfo, Value};

use crate::checkpoint::Checkpoint;
use crate::{cases, convert};

/// Tensors of another source, some with other names or shapes.
struct Changed {
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    bytes: Vec<Vec<u8>>,
}

impl Changed {
    fn new(source: &dyn Source, tensors: Vec<TensorInfo>) -> Self {
        let stored = source.tensors();
        let bytes = |tensor: &TensorInfo| {
            let same = |info: &&TensorInfo| (info.file, info.offset) == (tensor.file, tensor.offset);
            source.view(stored.iter().find(same).unwrap()).to_vec()
        };
        Self { metadata: source.metadata().clone(), bytes: tensors.iter().map(bytes).collect(), tensors }
    }
}

impl Source for Changed {
    fn format(&self) -> &'static str {
        "gguf"
    }

    fn files(&self) -> Vec<&Path> {
        vec![Path::new("changed.gguf")]
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    fn view(&self, tensor: &TensorInfo) -> &[u8] {
        &self.bytes[self.tensors.iter().position(|info| info.name == tensor.name).unwrap()]
    }

    fn prefetch(&self, _: &TensorInfo, _: Range<u64>) {}

    fn release(&self, _: &TensorInfo, _: Range<u64>) {}

    fn check_unchanged(&self) -> Result<(), weightmill_formats::Error> {
        Ok(())
    }
}

/// One case of every architecture that comes back, converted.
fn each(check: impl Fn(&str, &Model, &Weights)) {
    let mut seen = BTreeSet::new();
    for (name, golden) in cases() {
        let architecture = golden["metadata"][0][2].as_str().unwrap().to_owned();
        if !seen.insert(architecture) {
            continue;
        }
        let checkpoint = Checkpoint::make(&name, &golden);
        let (_, there) = convert(&checkpoint, &golden);
        let input = Input::open(&there, Pickles::Refuse, &Choices::default()).unwrap();
        if of_gguf(&input.model, &input.weights).is_ok() {
            check(&name, &input.model, &input.weights);
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

/// Whether the model comes back. If so it is whole, if not there is one line that says why.
fn comes_back(what: &str, model: &Model, weights: &Weights) -> bool {
    match of_gguf(model, weights) {
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{what}: {text:?}");
            false
        }
        Ok(published) => {
            assert!(published.config.is_some(), "{what}");
            for tensor in &published.tensors {
                let pieces = tensor.data.pieces();
                let elements: u64 = tensor.shape.iter().product();
                assert_eq!(
                    pieces.iter().map(|piece| piece.view.len()).sum::<u64>(),
                    elements,
                    "{what}: {}",
                    tensor.name
                );
                let inside = pieces
                    .iter()
                    .all(|piece| piece.view.last().is_some_and(|last| last < weights.list()[piece.weight].elements()));
                assert!(inside, "{what}: {}", tensor.name);
            }
            true
        }
    }
}

#[test]
fn metadata_of_any_kind() {
    let values: Vec<Option<Value>> = vec![
        None,
        Some(Value::from(0u32)),
        Some(Value::from(1u32)),
        Some(Value::from(u32::MAX)),
        Some(Value::from(u64::MAX)),
        Some(Value::from(-1i32)),
        Some(Value::from(f32::NAN)),
        Some(Value::from(-1e30f32)),
        Some(Value::from(true)),
        Some(Value::from("text")),
        Some(Value::from(Vec::<u32>::new())),
        Some(Value::from(vec![1u32, 2])),
        Some(Value::from(vec!["text".to_owned()])),
    ];
    each(|name, model, weights| {
        let prefix = format!("{}.", model.architecture);
        let keys = model.metadata.iter().map(|(key, _)| key.to_owned());
        let mut needed = 0;
        for key in keys.filter(|key| key.starts_with(&prefix) || key.starts_with("tokenizer.")) {
            for value in &values {
                let mut model = model.clone();
                match value {
                    None => drop(model.metadata.remove(&key)),
                    Some(value) => model.metadata.replace(key.clone(), value.clone()),
                }
                let what = format!("{name}: {key} = {value:?}");
                let whole = comes_back(&what, &model, weights);
                needed += u32::from(value.is_none() && !whole);
            }
        }
        assert!(needed >= 3, "{name} comes back whatever is missing");
    });
}

#[test]
fn tensors_of_any_shape() {
    each(|name, model, weights| {
        let source = weights.source();
        let tensors = source.tensors();
        let of_first_layer = |info: &TensorInfo| !info.name.starts_with("blk.") || info.name.starts_with("blk.0.");
        for (index, info) in tensors.iter().enumerate().filter(|(_, info)| of_first_layer(info)) {
            let refused = |what: &str, change: &dyn Fn(&mut Vec<TensorInfo>)| {
                let mut tensors = tensors.to_vec();
                change(&mut tensors);
                let weights = Weights::plain(Box::new(Changed::new(source, tensors)));
                !comes_back(&format!("{name}: {} {what}", info.name), model, &weights)
            };
            refused("is missing", &|tensors| drop(tensors.remove(index)));
            assert!(refused("has another name", &|tensors| tensors[index].name.push('x')), "{name}: {}", info.name);
            let elements: u64 = info.shape.iter().product();
            let flat = refused("is flat", &|tensors| tensors[index].shape = vec![elements]);
            assert!(flat || info.shape.iter().filter(|length| **length > 1).count() < 2, "{name}: {}", info.name);
            if let [rows, columns] = info.shape[..]
                && rows != columns
            {
                let transposed = |tensors: &mut Vec<TensorInfo>| tensors[index].shape = vec![columns, rows];
                assert!(refused("is transposed", &transposed), "{name}: {}", info.name);
            }
        }
    });
}

#[test]
fn what_is_missing_is_named() {
    each(|name, model, weights| {
        let mut model = model.clone();
        let key = format!("{}.block_count", model.architecture);
        model.metadata.remove(&key);
        let error = of_gguf(&model, weights).unwrap_err().to_string();
        assert!(error.contains(&key), "{name}: {error}");
        model.metadata.replace(key.clone(), u32::MAX);
        let error = of_gguf(&model, weights).unwrap_err().to_string();
        assert!(error.contains(&key) && error.contains("4294967295 layers"), "{name}: {error}");
    });
}
