//! From the tensors of a checkpoint to those of GGUF: names, shapes, row orders and types, all by rules.

use std::collections::HashMap;

use weightmill_formats::Source;
use weightmill_kernels::Dtype;

use super::error::{IdentifyError, Listing};
use crate::model::{ModelTensor, RowOrder, TensorData};

/// Endings of tensors that runtimes compute themselves; some publishers store them.
const COMPUTED_BY_RUNTIMES: &[&str] = &[".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];

/// How one tensor, or one per layer, goes over to GGUF. `{}` in a name stands for the number of the layer.
#[derive(Clone, Debug)]
pub struct Rule {
    from: &'static str,
    to: &'static str,
    shape: Vec<u64>,
    rows: RowOrder,
    required: bool,
}

impl Rule {
    /// The tensor `from` of config.json's world becomes `to` and has the shape `shape`.
    pub fn new<const N: usize>(from: &'static str, to: &'static str, shape: [u32; N]) -> Self {
        Self { from, to, shape: shape.map(u64::from).to_vec(), rows: RowOrder::Stored, required: true }
    }

    /// The rows are reordered.
    pub fn rows(self, rows: RowOrder) -> Self {
        Self { rows, ..self }
    }

    /// The tensor may be absent, unless `required`.
    pub fn optional_unless(self, required: bool) -> Self {
        Self { required, ..self }
    }

    fn is_per_layer(&self) -> bool {
        self.from.contains("{}")
    }
}

/// Tensors of a checkpoint in GGUF's terms.
#[derive(Debug)]
pub struct Mapped {
    /// In the order in which the reference writes them.
    pub tensors: Vec<ModelTensor>,
    /// The type that matrices keep.
    pub dtype: Dtype,
    /// What was left out.
    pub notes: Vec<String>,
}

/// Applies `rules` to all tensors of `source`.
///
/// The order is that of the files by name, and of the names by bytes inside each, as the reference reads them.
///
/// # Errors
/// When a tensor has no rule, a rule's tensor is missing, or a shape or type is not as expected.
pub fn map(source: &dyn Source, rules: &[Rule], layers: u32) -> Result<Mapped, IdentifyError> {
    let tensors = source.tensors();
    // hostile configurations declare billions
    if u64::from(layers) > tensors.len() as u64 {
        return Err(IdentifyError::Layers { declared: layers, tensors: tensors.len() });
    }
    let files = source.files();
    let name_of = |file: usize| files.get(file).and_then(|path| path.file_name());
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|index| (name_of(tensors[*index].file), tensors[*index].name.as_bytes()));

    let by_name: HashMap<&str, (usize, &Rule)> =
        rules.iter().enumerate().map(|(index, rule)| (rule.from, (index, rule))).collect();
    let dtype = intermediate(source, &order);
    let mut seen = vec![vec![false; layers as usize]; rules.len()];
    let mut mapped = Vec::with_capacity(tensors.len());
    let (mut unnamed, mut computed) = (Listing::default(), 0);
    for index in order {
        let tensor = &tensors[index];
        if COMPUTED_BY_RUNTIMES.iter().any(|ending| tensor.name.ends_with(ending)) {
            computed += 1;
            continue;
        }
        let (pattern, layer) = pattern(&tensor.name);
        let found = by_name.get(pattern.as_str()).filter(|_| layer.is_none_or(|layer| layer < u64::from(layers)));
        let Some((number, rule)) = found else {
            unnamed.push(&tensor.name);
            continue;
        };
        if tensor.shape != rule.shape {
            return Err(IdentifyError::Shape {
                name: tensor.name.clone(),
                found: tensor.shape.clone(),
                expected: rule.shape.clone(),
            });
        }
        if !matches!(tensor.dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(IdentifyError::Dtype { name: tensor.name.clone(), dtype: tensor.dtype });
        }
        let layer = layer.unwrap_or(0);
        seen[*number][layer as usize] = true;
        let name = rule.to.replacen("{}", &layer.to_string(), 1);
        // llama.cpp computes with norms and biases in f32 only
        let exact = tensor.shape.len() < 2 || name.ends_with("_norm.weight") || !name.ends_with(".weight");
        mapped.push(ModelTensor {
            name,
            shape: tensor.shape.clone(),
            dtype: if exact { Dtype::F32 } else { dtype },
            data: TensorData::Stored { index, rows: rule.rows },
        });
    }
    if !unnamed.is_empty() {
        return Err(IdentifyError::Unnamed { unnamed });
    }
    let missing = missing(rules, &seen);
    if !missing.is_empty() {
        return Err(IdentifyError::MissingTensors { missing });
    }
    let mut notes = Vec::new();
    if computed > 0 {
        notes.push(format!("{computed} tensors left out that runtimes compute themselves (rotary frequencies, masks)"));
    }
    Ok(Mapped { tensors: mapped, dtype, notes })
}

/// `name` with its first number replaced by `{}`, and that number. Numbers that no layer can have stay as they are.
fn pattern(name: &str) -> (String, Option<u64>) {
    let mut start = 0;
    for part in name.split('.') {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            // `007` is not how a layer is written
            let number = part.parse().ok().filter(|number: &u64| number.to_string() == part);
            return match number {
                Some(number) => (format!("{}{{}}{}", &name[..start], &name[start + part.len()..]), Some(number)),
                None => (name.to_owned(), None),
            };
        }
        start += part.len() + 1;
    }
    (name.to_owned(), None)
}

fn missing(rules: &[Rule], seen: &[Vec<bool>]) -> Listing {
    let mut missing = Listing::default();
    for (rule, seen) in rules.iter().zip(seen).filter(|(rule, _)| rule.required) {
        let expected = if rule.is_per_layer() { seen.len() } else { 1 };
        for (layer, seen) in seen.iter().enumerate().take(expected) {
            if !seen {
                missing.push(&rule.from.replacen("{}", &layer.to_string(), 1));
            }
        }
    }
    missing
}

/// The type that the reference's own choice (`--outtype auto`) and its f32 route come to: matrices keep the 16-bit
/// type of the first one, and become F32 otherwise.
fn intermediate(source: &dyn Source, order: &[usize]) -> Dtype {
    let matrix = order.iter().map(|index| &source.tensors()[*index]).find(|tensor| tensor.shape.len() >= 2);
    match matrix.map(|tensor| tensor.dtype) {
        Some(dtype @ (Dtype::BF16 | Dtype::F16)) => dtype,
        _ => Dtype::F32,
    }
}
