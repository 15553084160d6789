//! Scales that move from one operation of a model to those before it: the model computes the same, and the weights that are to be
//! quantized are others.
//!
//! What gives channels divides them by scales, what takes them multiplies ([`Link`]). Which operations these are follows from the
//! graph of the family (`graph`), and which stored weights that concerns from the tensors of the model (`place`): links whose
//! scales would reach anything else are left out. Folded weights are multiplied while they are read ([`Factors`]), so every output
//! of a run has them.

mod factors;
mod graph;
mod link;
mod place;
mod strip;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Serialize, Serializer};
use weightmill_kernels::{Dtype, Level};

use self::place::{Axis, Places, Vector};
use crate::forward::{self, Settings};
use crate::model::{Map, Model};
use crate::weights::{self, Weights};

pub use factors::Factors;
pub use link::{Columns, Link, Origin, User};

/// An input that cannot be scaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unlinked {
    /// A tensor that sees it.
    pub tensor: String,
    /// The reason.
    pub because: Why,
}

/// Why an input cannot be scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// There is no norm before.
    NoNorm,
    /// Something between is not linear.
    NotLinear,
    /// Latent attention uses the matrix in two ways.
    Latent,
    /// What comes before is stored in a way that the scales would reach something else.
    Storage,
    /// The graph has something else there.
    Unknown,
    /// It is in none of the layers that are run.
    Outside,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::NoNorm => "no norm before it",
            Why::NotLinear => "a function before it that is not linear",
            Why::Latent => "latent attention",
            Why::Storage => "weights before it that are stored with others",
            Why::Unknown => "nothing before it that is known",
            Why::Outside => "in none of the layers that are run",
        })
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The links of a model and the stored weights that they concern.
#[derive(Clone, Debug)]
pub struct Folding {
    links: Vec<Link>,
    unlinked: Vec<Unlinked>,
    places: Places,
}

/// In which forms a stored weight is written: what is computed of its values, and the type of the result.
pub type Written<'a> = &'a dyn Fn(usize) -> Vec<(Map, Dtype)>;

impl Folding {
    /// Finds the links of `model`, whose values lie in `weights`. Only those that are `wanted` are made.
    ///
    /// # Errors
    /// If the architecture is none whose graph is known.
    pub fn new(model: &Model, weights: &Weights, wanted: &dyn Fn(&Link) -> bool) -> Result<Self, forward::Error> {
        let (mut links, mut unlinked) = graph::links(model, &Settings::of(model)?);
        links.retain(wanted);
        loop {
            let (places, refused) = Places::of(&links, model, weights);
            if refused.is_empty() {
                return Ok(Self { links, unlinked, places });
            }
            let is_refused = |number: usize| refused.contains(&number);
            let left_out = links.iter().enumerate().filter(|(number, _)| is_refused(*number));
            let reason =
                |(_, link): (usize, &Link)| Unlinked { tensor: link.measured.tensor.clone(), because: Why::Storage };
            unlinked.extend(left_out.map(reason));
            let mut number = 0;
            links.retain(|_| {
                number += 1;
                !is_refused(number - 1)
            });
        }
    }

    /// All links, in the order of layers.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The inputs that have none.
    pub fn unlinked(&self) -> &[Unlinked] {
        &self.unlinked
    }

    /// Bytes of all scales, as long as weights are folded.
    pub fn bytes(&self) -> u64 {
        self.links.iter().map(|link| 2 * (link.channels * size_of::<f32>()) as u64).sum()
    }

    /// Says of the weights that will be folded that they will.
    pub fn mark(&self, weights: &mut Weights) {
        self.places.weights().for_each(|weight| weights.fold(weight, Factors::default()));
    }

    /// Folds these scales, one for each channel of each link, into the weights. Where a norm is written in a type that cannot hold
    /// its scaled values, scales change such that it holds them; what was folded is returned.
    ///
    /// # Panics
    /// If there are more or fewer scales.
    pub fn fold(
        &self,
        weights: &mut Weights,
        scales: &[Vec<f32>],
        written: Written<'_>,
        level: Level,
    ) -> Vec<Vec<f32>> {
        let lengths = self.links.iter().map(|link| link.channels);
        assert!(lengths.eq(scales.iter().map(Vec::len)), "a scale for every channel");
        let mut scales = scales.to_vec();
        let mut values: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for (&weight, vector) in &self.places.vectors {
            let Vector::Norm { map, channels } = vector else { continue };
            let mut own = stored(weights, weight, level);
            let written = written(weight);
            let stored_as = &weights.list()[weight];
            // as the pipeline computes what is stored in f16
            let halves = *map != Map::Same && stored_as.dtype == Dtype::F16 && stored_as.encoded().is_none();
            let made = if halves { Dtype::F16 } else { Dtype::F32 };
            for (value, (link, channel)) in own.iter_mut().zip(channels) {
                let scale = &mut scales[*link][*channel];
                [*value, *scale] = scaled(*value, *scale, (*map, made), &written, level);
            }
            values.insert(weight, own);
        }
        for (&weight, vector) in &self.places.vectors {
            let Vector::Bias { ids } = vector else { continue };
            let mut own = stored(weights, weight, level);
            let factors = ids.iter().map(|id| self.places.factor(*id, &scales));
            own.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
            values.insert(weight, own);
        }
        let mut known: HashMap<(usize, bool), Arc<[f32]>> = HashMap::new();
        let mut of_axis = |axis: &Axis| -> Option<Arc<[f32]>> {
            Some(match axis {
                Axis::Whole { link, divides } => {
                    let all =
                        || scales[*link].iter().map(|scale| if *divides { 1.0 / scale } else { *scale }).collect();
                    Arc::clone(known.entry((*link, *divides)).or_insert_with(all))
                }
                Axis::Each(ids) => ids.iter().map(|id| self.places.factor(*id, &scales)).collect(),
            })
        };
        let mut folded: BTreeMap<usize, Factors> = BTreeMap::new();
        for (&weight, axis) in &self.places.rows {
            folded.entry(weight).or_default().rows = of_axis(axis);
        }
        for (&(weight, matrix), axis) in &self.places.columns {
            let columns = &mut folded.entry(weight).or_default().columns;
            columns.resize(columns.len().max(matrix + 1), None);
            columns[matrix] = of_axis(axis);
        }
        for (weight, values) in values {
            folded.entry(weight).or_default().values = Some(values.into());
        }
        folded.into_iter().for_each(|(weight, factors)| weights.fold(weight, factors));
        scales
    }

    /// Divides the importance of columns, which is of squared inputs, by what these are scaled with.
    pub fn weigh(&self, scales: &[Vec<f32>], tensor: &str, importance: &mut [f32], matrices: usize) {
        for (link, scales) in self.links.iter().zip(scales) {
            let width = link.width();
            let users = link.users.iter().filter(|user| user.tensor == tensor);
            for matrix in users.flat_map(|user| user.matrix.map_or(0..matrices, |matrix| matrix..matrix + 1)) {
                let Some(own) = importance.get_mut(matrix * width..(matrix + 1) * width) else { continue };
                own.iter_mut().enumerate().for_each(|(column, value)| {
                    let scale = scales[link.channel(column)];
                    *value /= scale * scale;
                });
            }
        }
    }

    /// Names of all tensors whose columns are scaled.
    pub fn users(&self) -> BTreeSet<&str> {
        self.links.iter().flat_map(|link| &link.users).map(|user| user.tensor.as_str()).collect()
    }
}

/// All values of a stored weight, without factors that it may have.
fn stored(weights: &Weights, weight: usize, level: Level) -> Vec<f32> {
    let weight = &weights.list()[weight];
    let mut values = vec![0.0; weight.elements() as usize];
    let rows = values.len() / weight.columns().max(1);
    weights.decode_stored(weight, level, 0..rows, 0..weight.columns(), &mut values);
    values
}

/// A stored value of a norm divided by a scale, as it can be written, and the scale by which it then was divided. What the norm
/// multiplies with is made of the value by `map`, and rounded to a type.
fn scaled(stored: f32, scale: f32, (map, made): (Map, Dtype), written: &[(Map, Dtype)], level: Level) -> [f32; 2] {
    let apply = |map: Map, value: f32| {
        let mut value = [value];
        map.apply(&mut value);
        value[0]
    };
    let used = |value: f32| nearest(apply(map, value), made, level);
    let meant = used(stored);
    let mut value = apply(map.inverse(), meant / scale);
    for (map, dtype) in written {
        value = apply(map.inverse(), nearest(apply(*map, value), *dtype, level));
    }
    let scale = meant / used(value);
    if scale.is_finite() && scale > 0.0 && value.is_finite() { [value, scale] } else { [stored, 1.0] }
}

/// The nearest value that a type has.
fn nearest(value: f32, dtype: Dtype, level: Level) -> f32 {
    if dtype == Dtype::F32 || dtype.info().block_len != 1 || dtype.info().quantize.is_none() {
        return value;
    }
    let mut value = [value];
    weights::round(level, dtype, &mut value);
    value[0]
}
