//! Which matrices are rounded with which moment, and how many moments exist at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Error;
use super::moment::{Moment, Site, representative};
use super::replaced::Places;
use crate::model::Model;
use crate::pipeline::{Form, Goal};
use crate::plan::Holders;

/// Least memory for activations, decoded weights and rows that are being rounded or tried, beside the moments.
pub(super) const BESIDE: u64 = 128 << 20;

/// Moments together take at most this share of the memory, unless one alone takes more.
const SHARE_OF_MOMENTS: (u64, u64) = (5, 8);

/// Bytes that moments may take together of so much memory.
pub(super) fn share_of_moments(memory: u64) -> u64 {
    (memory / SHARE_OF_MOMENTS.1 * SHARE_OF_MOMENTS.0).min(memory.saturating_sub(BESIDE))
}

/// What is rounded when.
pub struct Schedule<'a> {
    goals: Vec<Goal<'a>>,
    /// By layer, in the order of sites.
    layers: BTreeMap<usize, Vec<Measured>>,
    /// Quantized tensors whose inputs are not measured.
    left_out: Vec<String>,
    /// What results stand for; `None` where a tensor has two.
    places: Option<Places>,
    /// By goal: the entry of an importance matrix that weighs it, and its first matrix that is meant.
    entries: Vec<(String, usize)>,
    moments: u64,
    /// Without what is taken by something else.
    max_memory: u64,
    taken: u64,
}

/// A moment and what is rounded with it.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub site: Site,
    pub columns: usize,
    /// Number of the goal, and of the matrix in it.
    pub users: Vec<(usize, usize)>,
}

/// The moments of one run of a layer.
pub(super) struct Pass {
    pub sites: Vec<Measured>,
}

/// What rounding takes, for the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Tensors to round.
    pub tensors: usize,
    /// Bytes of the largest moment.
    pub largest_moment: u64,
    /// Bytes of the moments that exist at a time.
    pub moments: u64,
    /// How often the layer with the most moments is run.
    pub passes: usize,
    /// Least `--max-memory`.
    pub least_memory: u64,
    /// Bytes on the disk beside the outputs, until the run ends.
    pub disk: u64,
}

impl<'a> Schedule<'a> {
    /// Divides the goals of a run over the layers of `model`. Of the memory `taken` bytes are something else's.
    ///
    /// # Errors
    /// If the memory does not suffice for one of the moments.
    pub fn new(goals: Vec<Goal<'a>>, model: &Model, max_memory: u64, taken: u64) -> Result<Self, Error> {
        let names: BTreeSet<&str> = model.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        let mut layers: BTreeMap<usize, BTreeMap<Site, Measured>> = BTreeMap::new();
        let holders = Holders::new(model);
        let (mut kept, mut left_out, mut entries) = (Vec::new(), Vec::new(), Vec::new());
        for goal in goals {
            let Some((layer, entry, sites)) = sites_of(&goal, &holders, &names) else {
                left_out.push(goal.tensor.name.clone());
                continue;
            };
            for (matrix, site) in sites.into_iter().enumerate() {
                let new = Measured { site: site.clone(), columns: goal.columns, users: Vec::new() };
                let measured = layers.entry(layer).or_default().entry(site).or_insert(new);
                measured.users.push((kept.len(), matrix));
            }
            kept.push(goal);
            entries.push(entry);
        }
        let layers: BTreeMap<usize, Vec<Measured>> =
            layers.into_iter().map(|(layer, sites)| (layer, sites.into_values().collect())).collect();
        // memory is checked above, unless there is no goal
        for measured in layers.values().flatten() {
            let needed = measured.bytes().saturating_add(BESIDE).saturating_add(taken);
            if needed > max_memory {
                let (tensor, columns) = (measured.site.tensor.clone(), measured.columns);
                return Err(Error::Memory { tensor, columns, needed, limit: max_memory });
            }
        }
        let places = Places::new(&kept, model);
        let max_memory = max_memory.saturating_sub(taken);
        let mut schedule = Self { goals: kept, layers, left_out, places, entries, moments: 0, max_memory, taken };
        let passes = schedule.layers.keys().flat_map(|layer| schedule.passes(*layer, &|_| true));
        schedule.moments = passes.map(|pass| pass.bytes()).max().unwrap_or(0);
        Ok(schedule)
    }

    /// All goals with their numbers.
    pub(super) fn goals(&self) -> impl Iterator<Item = (usize, &Goal<'a>)> {
        self.goals.iter().enumerate()
    }

    pub(super) fn goal(&self, number: usize) -> &Goal<'a> {
        &self.goals[number]
    }

    /// What results stand for in the model, if every tensor has one result at most.
    pub(super) fn places(&self) -> Option<&Places> {
        self.places.as_ref()
    }

    /// True if no tensor is written in two types.
    pub fn is_single(&self) -> bool {
        self.places.is_some()
    }

    /// The entry of an importance matrix that weighs a goal, and its first matrix that is meant.
    pub(super) fn entry(&self, number: usize) -> (&str, usize) {
        let (name, matrix) = &self.entries[number];
        (name, *matrix)
    }

    /// Numbers of the goals in a layer, some more than once.
    pub(super) fn of_layer(&self, layer: usize) -> impl Iterator<Item = usize> {
        let users = self.layers.get(&layer).into_iter().flatten().flat_map(|measured| &measured.users);
        users.map(|(number, _)| *number)
    }

    /// Quantized tensors that are rounded plainly, as their inputs are not measured.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// Memory for the forward pass beside the moments.
    pub fn forward_memory(&self) -> u64 {
        self.max_memory - self.moments
    }

    /// Memory for rows that are being rounded: activations are not being computed then, but those between layers stay.
    pub(super) fn strip_bytes(&self) -> u64 {
        self.forward_memory() / 2
    }

    /// The runs of a layer with their moments, for the goals that are `wanted`.
    pub(super) fn passes(&self, layer: usize, wanted: &dyn Fn(usize) -> bool) -> Vec<Pass> {
        let limit = share_of_moments(self.max_memory);
        let mut passes: Vec<Pass> = Vec::new();
        for measured in self.layers.get(&layer).into_iter().flatten() {
            let mut measured = measured.clone();
            measured.users.retain(|(number, _)| wanted(*number));
            if measured.users.is_empty() {
                continue;
            }
            let bytes = measured.bytes();
            match passes.last_mut().filter(|pass| pass.bytes().saturating_add(bytes) <= limit) {
                Some(pass) => pass.sites.push(measured),
                None => passes.push(Pass { sites: vec![measured] }),
            }
        }
        passes
    }

    /// What all of it takes.
    pub fn needs(&self) -> Needs {
        let largest = self.layers.values().flatten().map(Measured::bytes).max().unwrap_or(0);
        Needs {
            tensors: self.goals.len(),
            largest_moment: largest,
            moments: self.moments,
            passes: self.layers.keys().map(|layer| self.passes(*layer, &|_| true).len()).max().unwrap_or(0),
            least_memory: largest + BESIDE + self.taken,
            disk: self.goals.iter().map(Goal::bytes).sum(),
        }
    }
}

impl Measured {
    fn bytes(&self) -> u64 {
        Moment::bytes(self.columns)
    }
}

impl Pass {
    fn bytes(&self) -> u64 {
        self.sites.iter().map(Measured::bytes).sum()
    }
}

/// The layer that a goal belongs to, its tensor and first matrix by the model's names, and for each of its matrices the one
/// whose inputs it sees. `None` if they are not measured.
fn sites_of(
    goal: &Goal<'_>,
    holders: &Holders<'_>,
    names: &BTreeSet<&str>,
) -> Option<(usize, (String, usize), Vec<Site>)> {
    let count = goal.matrices();
    let (mut layer, mut entry) = (None, None);
    let sites = (0..count).map(|number| {
        // tensors of the model stand for themselves, those of a checkpoint for the matrices that have their columns
        let (name, matrix) = match goal.form {
            Form::Blocks(_) => (goal.tensor.name.as_str(), number),
            Form::Coded(..) => match holders.of_matrix(goal.tensor, count, number) {
                Some(holder) if holder.columns == goal.columns as u64 => (holder.name, holder.matrix),
                _ if count == 1 => (goal.tensor.name.as_str(), 0),
                _ => return None,
            },
        };
        let own = layer_of(name)?;
        entry.get_or_insert((name.to_owned(), matrix));
        let tensor = representative(name, |name| names.contains(name));
        (*layer.get_or_insert(own) == own).then_some(Site { tensor, matrix })
    });
    let sites = sites.collect::<Option<Vec<_>>>()?;
    Some((layer?, entry?, sites))
}

/// The layer that a tensor belongs to.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}
