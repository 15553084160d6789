//! From the weights of a checkpoint to the tensors of GGUF: names, shapes, row orders and types, all by rules.

use std::collections::{BTreeMap, HashMap};

use weightmill_kernels::Dtype;

use super::error::{IdentifyError, Listing};
use super::rule::Rule;
use crate::model::{ModelTensor, Piece, TensorData};
use crate::recipe::stays_f32;
use crate::weights::{Weight, Weights};

/// Endings of tensors that runtimes compute themselves; some publishers store them.
const COMPUTED_BY_RUNTIMES: &[&str] = &[".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq"];

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

/// Applies `rules` to all weights, after `renames` of the beginnings of their names; `by` is the file that the rules
/// follow from, for messages.
///
/// The order is that of the files by name, and of the names by bytes inside each, as the reference reads them.
///
/// # Errors
/// When a weight has no rule, a rule's weight is missing, or a shape or type is not as expected.
pub fn map(
    weights: &Weights,
    renames: &[(String, String)],
    rules: &[Rule],
    layers: u32,
    by: &str,
) -> Result<Mapped, IdentifyError> {
    let list = weights.list();
    // hostile configurations declare billions
    let experts = rules.iter().filter_map(|rule| rule.experts).map(|experts| ("experts", experts));
    for (what, declared) in experts.chain([("layers", layers)]) {
        if u64::from(declared) > list.len() as u64 {
            return Err(IdentifyError::TooMany { what, declared, tensors: list.len() });
        }
    }
    let order = reading_order(weights);
    let dtype = intermediate(list, &order);
    let mut rows = Rows::new(rules, layers);
    let (mut unnamed, mut computed) = (Listing::default(), 0);
    let mut ignored: BTreeMap<&str, usize> = BTreeMap::new();
    let mut tensors = Vec::with_capacity(list.len());
    for index in order {
        let weight = &list[index];
        let name = renamed(&weight.name, renames);
        if COMPUTED_BY_RUNTIMES.iter().any(|ending| name.ends_with(ending)) {
            computed += 1;
            continue;
        }
        let ignoring = |rule: &&Rule| rule.ignored.is_some() && name.starts_with(&rule.takes[0].name);
        if let Some(note) = rules.iter().find(ignoring).and_then(|rule| rule.ignored.as_deref()) {
            *ignored.entry(note).or_default() += 1;
            continue;
        }
        let found = |place: Place| rows.find(&place).map(|(rule, input)| (place, rule, input));
        let Some((place, rule, input)) = Place::all(&name).into_iter().find_map(found) else {
            unnamed.push(&weight.name);
            continue;
        };
        let expected = &rules[rule].takes[input].shape;
        if weight.shape != *expected {
            let (name, found, expected) = (weight.name.clone(), weight.shape.clone(), expected.clone());
            return Err(IdentifyError::Shape { name, found, expected, by: by.to_owned() });
        }
        if weight.encoded().is_none() && !is_floating(weight.dtype) {
            return Err(IdentifyError::Dtype { name: weight.name.clone(), dtype: weight.dtype });
        }
        let experts = rules[rule].copies();
        if place.expert >= u64::from(experts) {
            return Err(IdentifyError::ExtraExpert { name: weight.name.clone(), experts, by: by.to_owned() });
        }
        if let Some(found) = rows.arrive(rule, input, &place, index) {
            tensors.extend(make(&rules[rule], place.layer, &found, list, dtype));
        }
    }
    if !unnamed.is_empty() {
        return Err(IdentifyError::Unnamed { unnamed, by: by.to_owned() });
    }
    let missing = rows.missing();
    if !missing.is_empty() {
        return Err(IdentifyError::MissingTensors { missing, by: by.to_owned() });
    }
    let mut notes = Vec::new();
    if computed > 0 {
        notes.push(format!("{computed} tensors left out that runtimes compute themselves (rotary frequencies, masks)"));
    }
    notes.extend(ignored.into_iter().map(|(note, count)| format!("{count} tensors left out: {note}")));
    Ok(Mapped { tensors, dtype, notes })
}

/// Weights by file, and in each by name; those of a pickle in its own order.
fn reading_order(weights: &Weights) -> Vec<usize> {
    let files = weights.source().files();
    let name_of = |file: usize| files.get(file).and_then(|path| path.file_name());
    let list = weights.list();
    let by_name = weights.source().format() != "pickle";
    let mut order: Vec<usize> = (0..list.len()).collect();
    order.sort_by_key(|index| {
        let name = if by_name { list[*index].name.as_bytes() } else { b"" };
        (name_of(weights.main_tensor(&list[*index]).file), name)
    });
    order
}

pub(super) fn renamed(name: &str, renames: &[(String, String)]) -> String {
    let found = renames.iter().find_map(|(from, to)| Some((to, name.strip_prefix(from)?)));
    found.map_or_else(|| name.to_owned(), |(to, rest)| format!("{to}{rest}"))
}

/// What a rule makes of the weights that it took, the inputs of all experts one after the other.
fn make<'a>(
    rule: &'a Rule,
    layer: u64,
    found: &'a [usize],
    list: &'a [Weight],
    dtype: Dtype,
) -> impl Iterator<Item = ModelTensor> + 'a {
    rule.makes.iter().map(move |part| {
        let experts = rule.copies() as usize;
        let inputs = rule.takes.len();
        let pieces = (0..experts).flat_map(|expert| {
            part.pieces.iter().map(move |(input, view, map)| Piece {
                weight: found[expert * inputs + input],
                view: view.clone(),
                map: *map,
            })
        });
        let pieces: Vec<Piece> = pieces.collect();
        let name = part.to.replacen("{}", &layer.to_string(), 1);
        let stack = rule.experts.map(u64::from);
        let shape: Vec<u64> = stack.into_iter().chain(part.shape.iter().copied()).collect();
        let weight = &list[pieces[0].weight];
        let codes = weight.encoded().filter(|_| rule.keeps_codes).and_then(|encoded| encoded.lossless());
        let stored = codes.unwrap_or(weight.dtype);
        let dtype = match () {
            () if stays_f32(&name, &shape) => Dtype::F32,
            () if stored.is_quantized() => stored,
            () => dtype,
        };
        ModelTensor { name, shape, dtype, data: TensorData::Pieces(pieces) }
    })
}

fn is_floating(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The type that the reference's own choice (`--outtype auto`) and its f32 route come to: matrices keep the 16-bit
/// type of the first one, and become F32 otherwise.
fn intermediate(list: &[Weight], order: &[usize]) -> Dtype {
    let matrix = order.iter().map(|index| &list[*index]).find(|weight| weight.shape.len() >= 2);
    match matrix.map(|weight| weight.dtype) {
        Some(dtype @ (Dtype::BF16 | Dtype::F16)) => dtype,
        _ => Dtype::F32,
    }
}

/// Most numbers of a name that may be that of a layer or an expert.
const MAX_NUMBERS: usize = 4;

/// A tensor's name taken apart: with `{}` and `{e}` for numbers in it, and these.
pub(super) struct Place {
    pub pattern: String,
    pub layer: u64,
    pub expert: u64,
    numbers: usize,
}

impl Place {
    /// The ways in which numbers of a name can be those of a layer and an expert, the most usual first: the first two.
    pub fn all(name: &str) -> Vec<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        // `007` is not how a layer is written
        let number = |part: &str| part.parse().ok().filter(|number: &u64| number.to_string() == part);
        let numbers = parts.iter().enumerate().filter_map(|(index, part)| Some((index, number(part)?)));
        let numbers: Vec<(usize, u64)> = numbers.take(MAX_NUMBERS).collect();
        let pairs = numbers
            .iter()
            .enumerate()
            .flat_map(|(first, layer)| numbers[first + 1..].iter().map(move |expert| vec![*layer, *expert]));
        let chosen = pairs.chain(numbers.iter().map(|layer| vec![*layer])).chain([Vec::new()]);
        let place = |chosen: Vec<(usize, u64)>| {
            let mut parts = parts.clone();
            for ((index, _), mark) in chosen.iter().zip(["{}", "{e}"]) {
                parts[*index] = mark;
            }
            let number = |index: usize| chosen.get(index).map_or(0, |(_, number)| *number);
            Self { pattern: parts.join("."), layer: number(0), expert: number(1), numbers: chosen.len() }
        };
        chosen.map(place).collect()
    }
}

/// The rules by name, and which of their weights were seen.
struct Rows<'a> {
    rules: &'a [Rule],
    layers: u32,
    /// Rule and input by pattern.
    by_name: HashMap<&'a str, Vec<(usize, usize)>>,
    /// By rule and layer: for every expert and input the weight.
    seen: HashMap<(usize, u64), Vec<Option<usize>>>,
}

impl<'a> Rows<'a> {
    fn new(rules: &'a [Rule], layers: u32) -> Self {
        let mut by_name: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        for (rule, row) in rules.iter().enumerate().filter(|(_, row)| row.ignored.is_none()) {
            for (input, taken) in row.takes.iter().enumerate() {
                by_name.entry(&taken.name).or_default().push((rule, input));
            }
        }
        Self { rules, layers, by_name, seen: HashMap::new() }
    }

    fn find(&self, place: &Place) -> Option<(usize, usize)> {
        if place.numbers > 0 && place.layer >= u64::from(self.layers) {
            return None;
        }
        let rules = self.by_name.get(place.pattern.as_str())?;
        rules.iter().copied().find(|(rule, _)| (self.rules[*rule].on)(place.layer as u32))
    }

    /// Notes a weight; when it is the last of its rule and layer, returns all of them.
    fn arrive(&mut self, rule: usize, input: usize, place: &Place, weight: usize) -> Option<Vec<usize>> {
        let inputs = self.rules[rule].takes.len();
        let slots = inputs * self.rules[rule].copies() as usize;
        let seen = self.seen.entry((rule, place.layer)).or_insert_with(|| vec![None; slots]);
        seen[place.expert as usize * inputs + input] = Some(weight);
        seen.iter().copied().collect()
    }

    /// Whether the tensor `name` of a layer was seen.
    fn has(&self, name: &str, layer: u64) -> bool {
        let places = self.by_name.get(name).into_iter().flatten();
        places
            .into_iter()
            .any(|(rule, input)| self.seen.get(&(*rule, layer)).is_some_and(|seen| seen[*input].is_some()))
    }

    fn missing(&self) -> Listing {
        let mut missing = Listing::default();
        for (number, rule) in self.rules.iter().enumerate().filter(|(_, rule)| rule.ignored.is_none()) {
            let layers = if rule.is_per_layer() { self.layers } else { 1 };
            for layer in (0..layers).filter(|layer| !rule.is_per_layer() || (rule.on)(*layer)) {
                let seen = self.seen.get(&(number, u64::from(layer)));
                let required = match rule.depends {
                    Some((names, there)) => names.iter().any(|name| self.has(name, layer.into())) == there,
                    None => rule.required,
                };
                if seen.is_none() && !required {
                    continue;
                }
                for slot in 0..rule.takes.len() * rule.copies() as usize {
                    if seen.is_none_or(|seen| seen[slot].is_none()) {
                        let (expert, input) = (slot / rule.takes.len(), slot % rule.takes.len());
                        let name = rule.takes[input].name.replacen("{}", &layer.to_string(), 1);
                        missing.push(&name.replacen("{e}", &expert.to_string(), 1));
                    }
                }
            }
        }
        missing
    }
}
