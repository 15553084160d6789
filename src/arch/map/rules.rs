//! From the entries of an architecture map to the rules that built-in architectures consist of. Shapes, where a map does
//! not state them, are those that the tensors have.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use super::super::config::Config;
use super::super::rule::{Part, Rule, Taken};
use super::super::tensors::{Place, renamed};
use super::expression::{Expression, lookup};
use super::file::{Arithmetic, Required, Tensors};
use crate::model::Map;
use crate::view::{Axis, View};
use crate::weights::Weights;

/// What entries are compiled with.
pub(super) struct Compiler<'a> {
    pub config: &'a Config,
    pub layers: u32,
    pub experts: Option<u32>,
    pub stored: Stored<'a>,
}

/// Shapes of the stored tensors by pattern and layer; of experts those of the first.
pub(super) struct Stored<'a>(HashMap<String, BTreeMap<u64, &'a [u64]>>);

impl<'a> Stored<'a> {
    /// Finds the tensors that the patterns of `entries` mean.
    pub fn find<'b>(
        weights: &'a Weights,
        renames: &[(String, String)],
        entries: impl Iterator<Item = &'b Tensors>,
    ) -> Self {
        let patterns: HashSet<&str> = entries.flat_map(|entry| entry.from.list()).map(String::as_str).collect();
        let mut shapes: HashMap<String, BTreeMap<u64, &[u64]>> = HashMap::new();
        for weight in weights.list() {
            let places = Place::all(&renamed(&weight.name, renames));
            if let Some(place) = places.into_iter().find(|place| patterns.contains(place.pattern.as_str())) {
                shapes.entry(place.pattern).or_default().entry(place.layer).or_insert(&weight.shape);
            }
        }
        Stored(shapes)
    }

    /// The shape of the tensor in one layer; where it is missing there, in another one.
    fn shape(&self, pattern: &str, layer: u32) -> Vec<u64> {
        let shapes = self.0.get(pattern);
        let found = shapes.and_then(|shapes| shapes.get(&layer.into()).or_else(|| shapes.values().next()));
        found.map(|shape| shape.to_vec()).unwrap_or_default()
    }

    /// The shape of the only or the first tensor of this pattern.
    pub fn first(&self, pattern: &str) -> Option<&[u64]> {
        self.0.get(pattern)?.values().next().copied()
    }
}

/// Checks that patterns are well formed and go together, whatever the checkpoint has.
///
/// # Errors
/// When they do not.
pub(super) fn check(entry: &Tensors) -> Result<(), String> {
    let (from, to) = (entry.from.list(), entry.to.list());
    if from.is_empty() || to.is_empty() {
        return Err("from and to name one tensor at least".to_owned());
    }
    for name in from.iter().chain(to) {
        let parts: Vec<&str> = name.split('.').collect();
        let count = |mark: &str| parts.iter().filter(|part| **part == mark).count();
        let known = count("{}") + count("{e}");
        let experts = count("{e}");
        let in_order = parts.iter().position(|part| *part == "{}") < parts.iter().position(|part| *part == "{e}");
        if name.matches(['{', '}']).count() != 2 * known || count("{}") > 1 || experts > 1 {
            return Err(format!(
                "{name:?}: {{}} for the layer and {{e}} for the expert stand alone between points, once each"
            ));
        }
        if experts > 0 && (count("{}") == 0 || !in_order) {
            return Err(format!("{name:?}: {{e}} stands behind the {{}} of its layer"));
        }
    }
    let marks = |names: &[String], mark: &str| names.iter().filter(|name| name.contains(mark)).count();
    let (layers, experts) = (marks(from, "{}"), marks(from, "{e}"));
    if ![0, from.len()].contains(&layers) || ![0, from.len()].contains(&experts) {
        return Err("either all or none of the names in `from` have {} or {e}".to_owned());
    }
    if marks(to, "{}") != if layers > 0 { to.len() } else { 0 } {
        return Err("names in `to` have {} if and only if those in `from` have it".to_owned());
    }
    if marks(to, "{e}") > 0 {
        return Err("names in `to` have no {e}: experts are stacked".to_owned());
    }
    match (experts > 0, from.len(), to.len()) {
        (true, taken, made) if taken != made => Err("of experts `to` has as many names as `from`".to_owned()),
        (true, _, _) if entry.rows.is_some() || entry.groups.is_some() => {
            Err("experts that are stacked are not divided: rows and groups are for one tensor".to_owned())
        }
        (false, 2.., 2..) => Err("of several tensors one is made, and several of one only".to_owned()),
        (false, 1, made @ 2..) if entry.rows.as_ref().is_none_or(|rows| rows.len() != made) => {
            Err(format!("rows has one number for each of the {made} names in `to`"))
        }
        (false, _, 1) if entry.rows.is_some() => Err("rows is for several names in `to`".to_owned()),
        (false, 2.., _) if entry.groups.is_some() => Err("groups is for one tensor that becomes several".to_owned()),
        _ if entry.groups.is_some() && entry.transpose => Err("groups and transpose exclude each other".to_owned()),
        _ => Ok(()),
    }
}

impl Compiler<'_> {
    /// The rules of an entry: one, or where layers have different shapes one for each of these.
    ///
    /// # Errors
    /// When its numbers do not fit the shapes.
    pub fn compile(&self, entry: &Tensors) -> Result<Vec<Rule>, String> {
        let from = entry.from.list();
        let number = |bound: &Option<Expression>| bound.as_ref().map(|bound| bound.count(self.config)).transpose();
        let first = number(&entry.first_layer)?.unwrap_or(0);
        let end = number(&entry.end_layer)?.unwrap_or(u64::MAX);
        if !from[0].contains("{}") {
            return Ok(vec![self.rule(entry, self.shapes(entry, 0)?)?]);
        }
        let mut layers: BTreeMap<Vec<Vec<u64>>, BTreeSet<u32>> = BTreeMap::new();
        for layer in (0..self.layers).filter(|layer| (first..end).contains(&u64::from(*layer))) {
            layers.entry(self.shapes(entry, layer)?).or_default().insert(layer);
        }
        let rules = layers.into_iter().map(|(shapes, layers)| {
            let rule = self.rule(entry, shapes)?;
            Ok(Rule { on: Rc::new(move |layer| layers.contains(&layer)), ..rule })
        });
        rules.collect()
    }

    /// Shapes of the tensors taken in one layer.
    fn shapes(&self, entry: &Tensors, layer: u32) -> Result<Vec<Vec<u64>>, String> {
        let stated = entry.shape.as_ref().map(|shape| shape.iter().map(|length| length.count(self.config)).collect());
        let stated: Option<Vec<u64>> = stated.transpose()?;
        let shape = |pattern: &String| stated.clone().unwrap_or_else(|| self.stored.shape(pattern, layer));
        Ok(entry.from.list().iter().map(shape).collect())
    }

    fn rule(&self, entry: &Tensors, shapes: Vec<Vec<u64>>) -> Result<Rule, String> {
        let (from, to) = (entry.from.list(), entry.to.list());
        let map = match entry.map {
            None => Map::Same,
            Some(Arithmetic::PlusOne) => Map::PlusOne,
            Some(Arithmetic::MinusOne) => Map::MinusOne,
            Some(Arithmetic::MinusExp) => Map::MinusExp,
        };
        let slices = self.slices(entry, &shapes)?;
        let mut makes: Vec<Part> = Vec::with_capacity(to.len());
        for (number, slice) in slices.iter().enumerate() {
            let (view, shape) = slice.view(&shapes[slice.input]).ok_or_else(|| slice.misfit(from, &shapes))?;
            match makes.get_mut(number) {
                _ if to.len() == 1 && number > 0 => {
                    let part = &mut makes[0];
                    if part.shape[1..] != shape[1..] {
                        return Err(format!("{:?} and {:?} have rows of different lengths", from[0], from[number]));
                    }
                    part.shape[0] = part.shape[0].saturating_add(shape[0]);
                    part.pieces.push((slice.input, view, map));
                }
                _ => makes.push(Part { to: to[number].clone().into(), shape, pieces: vec![(slice.input, view, map)] }),
            }
        }
        let takes = from.iter().zip(shapes).map(|(name, shape)| Taken { name: name.clone(), shape }).collect();
        let experts = match from[0].contains("{e}") {
            true => Some(self.experts.ok_or("{e} needs `experts`, the number of experts, in the map")?),
            false => None,
        };
        Ok(Rule { experts, required: self.required(entry)?, keeps_codes: entry.keep_codes, ..Rule::of(takes, makes) })
    }

    /// Which rows of which tensor make what.
    fn slices(&self, entry: &Tensors, shapes: &[Vec<u64>]) -> Result<Vec<Slice>, String> {
        let count = |number: &Expression| number.count(self.config);
        let pieces = entry.from.list().len().max(entry.to.list().len());
        let heads: Vec<u64> = match &entry.interleave_heads {
            None => vec![0; pieces],
            Some(heads) => heads.list().iter().map(count).collect::<Result<_, _>>()?,
        };
        if heads.len() != pieces {
            return Err(format!("interleave_heads has {} numbers, where {pieces} are expected", heads.len()));
        }
        let groups = entry.groups.as_ref().map(count).transpose()?.unwrap_or(1);
        // rows of a tensor have one length, which those of vectors of different lengths do not
        let elements = entry.to.list().len() < entry.from.list().len();
        let transpose = entry.transpose;
        let slice = |input, first, rows, heads| Slice { input, first, rows, groups, heads, transpose, elements };
        let Some(rows) = &entry.rows else {
            let whole = (0..pieces).map(|input| slice(input, 0, None, heads[input]));
            return Ok(whole.collect());
        };
        let mut first = 0u64;
        let mut slices = Vec::with_capacity(pieces);
        for (rows, heads) in rows.iter().zip(heads) {
            let rows = count(rows)?;
            slices.push(slice(0, first, Some(rows), heads));
            first = first.checked_add(rows).ok_or("more rows than can be counted")?;
        }
        let has = Slice { rows: None, ..slices[0].clone() }.rows_in(&shapes[0]);
        // without the tensor there is nothing to compare with, and that it is missing is found later
        match has {
            Some(has) if has != first && !shapes[0].is_empty() => Err(format!(
                "rows add up to {first}, but {:?} has {has} in each of {groups} groups",
                entry.from.list()[0]
            )),
            _ => Ok(slices),
        }
    }

    fn required(&self, entry: &Tensors) -> Result<bool, String> {
        let setting = match &entry.required {
            None => return Ok(true),
            Some(Required::Always(required)) => return Ok(*required),
            Some(Required::Setting(setting)) => setting,
        };
        let (negated, key) = setting.strip_prefix('!').map_or((false, setting.as_str()), |key| (true, key));
        match lookup(self.config, key) {
            None => Ok(negated),
            Some(serde_json::Value::Bool(flag)) => Ok(*flag != negated),
            Some(other) => Err(format!("{key} of config.json is {other}, where true or false is expected")),
        }
    }
}

/// Rows of a tensor.
#[derive(Clone)]
struct Slice {
    input: usize,
    /// In each group.
    first: u64,
    /// In each group; all of them if there is no number.
    rows: Option<u64>,
    groups: u64,
    heads: u64,
    transpose: bool,
    /// Every element of a vector is a row.
    elements: bool,
}

impl Slice {
    /// Matrices before each other, and rows and columns of one as they are made.
    fn matrix(&self, shape: &[u64]) -> Option<(u64, u64, u64)> {
        let (count, rows, columns) = match shape {
            [] => (1, 0, 1),
            [length] => (1, *length, 1),
            [outer @ .., rows, columns] => {
                (outer.iter().try_fold(1u64, |product, length| product.checked_mul(*length))?, *rows, *columns)
            }
        };
        Some(if self.transpose { (count, columns, rows) } else { (count, rows, columns) })
    }

    fn rows_in(&self, shape: &[u64]) -> Option<u64> {
        let (_, rows, _) = self.matrix(shape)?;
        (self.groups > 0 && rows.is_multiple_of(self.groups)).then(|| rows / self.groups)
    }

    /// What it is of a tensor of this shape, and the shape of that; `None` if it does not fit.
    fn view(&self, shape: &[u64]) -> Option<(View, Vec<u64>)> {
        let in_group = self.rows_in(shape)?;
        let rows = self.rows.unwrap_or(in_group);
        if shape.is_empty() {
            // a tensor that is not there: this is never looked at
            return Some((View::whole(&[0]), vec![0]));
        }
        if self.transpose && shape.len() < 2 || self.first.checked_add(rows)? > in_group {
            return None;
        }
        let made_rows = rows.checked_mul(self.groups)?;
        let made = match shape {
            [_] => vec![made_rows],
            [outer @ .., _, _] => {
                let (_, _, columns) = self.matrix(shape)?;
                outer.iter().copied().chain([made_rows, columns]).collect()
            }
            [] => return None,
        };
        let (count, all_rows, columns) = self.matrix(shape)?;
        if rows == in_group && self.heads == 0 && !self.transpose && !(self.elements && shape.len() == 1) {
            return Some((View::whole(shape), made));
        }
        let (row, column) = if self.transpose { (1, all_rows) } else { (columns, 1) };
        let group = in_group.checked_mul(row)?;
        let mut axes = vec![Axis::new(count, all_rows.checked_mul(columns)?), Axis::new(self.groups, group)];
        match self.heads {
            0 => axes.push(Axis::new(rows, row)),
            heads => {
                let heads = heads.is_multiple_of(self.groups).then(|| heads / self.groups)?;
                let half = rows.is_multiple_of(heads.checked_mul(2)?).then(|| rows / heads / 2)?;
                let stride = half.checked_mul(row)?;
                axes.extend([Axis::new(heads, stride.checked_mul(2)?), Axis::new(half, row), Axis::new(2, stride)]);
            }
        }
        axes.retain(|axis| axis.length != 1);
        if axes.is_empty() {
            axes.push(Axis::new(1, 1));
        }
        Some((View { base: self.first.checked_mul(row)?, rows: axes, columns: Axis::new(columns, column) }, made))
    }

    fn misfit(&self, from: &[String], shapes: &[Vec<u64>]) -> String {
        let Self { input, groups, heads, .. } = self;
        format!(
            "{:?} of shape {:?} does not have so many rows, or they are no multiple of the {groups} groups or of twice the \
             {heads} heads",
            from[*input], shapes[*input]
        )
    }
}
