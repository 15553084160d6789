//! Calibrated rounding: levels chosen such that what a layer computes on a text changes least (GPTQ).
//!
//! The text goes through the model layer by layer ([`crate::forward`]). Of the inputs of every linear layer the second moment is
//! measured (`moment`) and factored (`factor`); then the matrices that see these inputs are rounded column by column,
//! each column making up for the errors of those before it (`rows`), on the scales that the plain quantizer
//! finds, and scales and levels are fitted to each other again (`descent`). Layers that follow may see what is written of
//! those before them (`replaced`). So files keep their format, size and readers. Moments exist a few at a time: as many as the memory
//! holds, for which a layer may have to be run several times. What is rounded lies in a folder beside the output until the run
//! ends (`store`).

mod clip;
mod descent;
mod error;
mod factor;
mod matrix;
mod moment;
mod plain;
mod replaced;
mod report;
mod rows;
#[cfg(test)]
mod samples;
pub mod scales;
mod schedule;
mod store;
mod view;
mod work;

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use weightmill_kernels::Level;

use self::moment::Moments;
use self::replaced::Replaced;
use self::schedule::{Measured, Pass};
use self::work::{Numbers, Work};
use crate::calibrate::Collector;
use crate::corpus::Corpus;
use crate::evaluate::Step;
use crate::forward::{self, Machine, Observer, Part, Rows};
use crate::pipeline::{self, Chosen, Goal};
use crate::weights::Weights;

pub use error::Error;
pub use report::{Figures, Report, RoundedTensor};
pub use schedule::{Needs, Schedule};
pub use store::Store;

/// What is chosen with moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The level of every weight, on the plain quantizer's scales.
    Levels,
    /// Scales of groups of integers; levels are the nearest.
    Scales,
}

/// How rounding is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is chosen.
    pub choice: Choice,
    /// What tells the weights from those of the source, if scales are folded into them.
    pub folded: Option<String>,
    /// Added to the diagonal of moments, relative to its mean.
    pub damping: f32,
    /// A matrix that fewer tokens came to, relative to its columns, is rounded plainly.
    pub least_tokens: f32,
    /// How often levels and scales are looked at again, once all are chosen.
    pub sweeps: usize,
    /// Later layers see what is written of those before them, not the model's own weights. For this every tensor is written in
    /// one type only ([`Schedule::is_single`]); where it is in two, layers see the model's own.
    pub sequential: bool,
    /// Results of another run may be removed.
    pub force: bool,
    /// CPU level of the kernels.
    pub level: Level,
}

impl Settings {
    /// The usual ones.
    pub fn new(level: Level) -> Self {
        Self {
            choice: Choice::Levels,
            folded: None,
            damping: 0.01,
            least_tokens: 0.125,
            sweeps: 2,
            sequential: false,
            force: false,
            level,
        }
    }

    /// Those that results depend on.
    fn identity(&self) -> Json {
        json!({
            "choice": format!("{:?}", self.choice),
            "folded": self.folded,
            "settings": json!([self.damping, self.least_tokens, self.sweeps, self.sequential]),
        })
    }
}

/// What a layer's tensors lost, summed over those that were measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerErrors {
    /// Number of the layer.
    pub layer: usize,
    /// Relative error of plain rounding, the mean over tensors.
    pub before: f64,
    /// Relative error of what is written, likewise.
    pub after: f64,
}

impl LayerErrors {
    /// The means over what is known of a layer, if anything is.
    fn of(layer: usize, figures: &[Figures]) -> Option<Self> {
        let mean = |of: fn(&Figures) -> f64| figures.iter().map(of).sum::<f64>() / figures.len() as f64;
        let errors =
            || Self { layer, before: mean(|figures| figures.error_before), after: mean(|figures| figures.error_after) };
        (!figures.is_empty()).then(errors)
    }
}

/// What the caller hears of.
pub struct Progress<'a> {
    /// After every layer.
    pub step: &'a dyn Fn(Step),
    /// After every layer of which something was rounded.
    pub layer: &'a dyn Fn(LayerErrors),
}

/// Tensors that were rounded.
pub struct Rounded {
    store: Store,
    numbers: Numbers,
    /// What rounding did.
    pub report: Report,
}

impl Rounded {
    /// Removes what the outputs have now.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.store.remove()
    }
}

impl Chosen for Rounded {
    fn read(&self, tensor: &str, to: &str, offset: u64, bytes: &mut [u8]) -> Result<bool, pipeline::Error> {
        let number = self.numbers.get(tensor).and_then(|numbers| numbers.iter().find(|(name, _)| *name == to));
        let Some((_, number)) = number else { return Ok(false) };
        self.store.read(*number, offset, bytes)?;
        Ok(true)
    }
}

/// Rounds everything that `schedule` lists; its goals come from a run on the model that `machine` runs. With a collector their
/// importance is what it sees in the same run of the text, in place of their own.
///
/// # Errors
/// If the model cannot be run on the text, if the results cannot be kept, or if the folder has those of another run.
pub fn round(
    machine: &Machine<'_>,
    weights: &Weights,
    corpus: &Corpus,
    schedule: &Schedule<'_>,
    (folder, settings): (PathBuf, &Settings),
    mut collector: Option<&mut Collector>,
    progress: &Progress<'_>,
) -> Result<Rounded, Error> {
    let measured = collector.is_some();
    let run = identity(weights, corpus, schedule.goals().map(|(_, goal)| goal), measured, settings.identity());
    let store = Store::open(folder, &run, settings.force)?;
    let cancelled = |error: forward::Error| store.stopped(error);
    let mut work = Work::new(weights, schedule, &store, settings);
    let resumed = work.results();
    let layers = machine.settings().layers;
    let places = schedule.places().filter(|_| settings.sequential);
    let mut stream = machine.embed(&corpus.tokens).map_err(cancelled)?;
    for layer in 0..layers {
        if work.is_complete() && !measured {
            break;
        }
        let mut passes = schedule.passes(layer, &|number| work.lacks(number));
        if passes.is_empty() && (measured || places.is_none()) {
            passes.push(Pass { sites: Vec::new() });
        }
        for (number, Pass { sites }) in passes.iter().enumerate() {
            let moments = Moments::new(sites.iter().map(|site| (&site.site, site.columns)));
            let mut seen = Seen { moments, collector: collector.as_deref_mut().filter(|_| number == 0) };
            if places.is_none() && number + 1 == passes.len() {
                machine.layer(layer, &mut stream, &mut seen).map_err(cancelled)?;
            } else {
                machine.observe(layer, &mut stream, &mut seen).map_err(cancelled)?;
            }
            let Seen { moments, .. } = seen;
            if let Some(collector) = collector.as_deref_mut().filter(|_| number == 0) {
                work.importance = Some(collector.of_layer(layer));
            }
            round_sites(machine, &mut work, sites, moments, &cancelled)?;
        }
        if let Some(places) = places {
            let has = |number: usize| !work.lacks(number);
            let mut replaced = Replaced { places, schedule, has: &has, store: &store, level: settings.level };
            machine.layer(layer, &mut stream, &mut replaced).map_err(cancelled)?;
        }
        (progress.step)(Step { done: layer + 1, total: layers });
        LayerErrors::of(layer, &work.of_layer(layer)).into_iter().for_each(progress.layer);
    }
    let (report, numbers) = work.finish(corpus.tokens.len(), resumed);
    Ok(Rounded { store, numbers, report })
}

/// Sees the inputs of some matrices, and of all of them if there is a collector.
struct Seen<'a> {
    moments: Moments,
    collector: Option<&'a mut Collector>,
}

impl Observer for Seen<'_> {
    fn input(&mut self, tensor: &str, part: Part, input: Rows<'_>) {
        self.moments.input(tensor, part, input);
        if let Some(collector) = &mut self.collector {
            collector.input(tensor, part, input);
        }
    }
}

/// Rounds what sees the inputs of these moments, each of which goes as soon as it is used.
fn round_sites(
    machine: &Machine<'_>,
    work: &mut Work<'_>,
    sites: &[Measured],
    mut moments: Moments,
    cancelled: &dyn Fn(forward::Error) -> Error,
) -> Result<(), Error> {
    for site in sites {
        machine.check_cancelled().map_err(cancelled)?;
        let moment = moments.by_site.remove(&site.site).expect("measured before");
        work.round(site, moment)?;
    }
    Ok(())
}

/// Everything that results in a [`Store`] depend on: source, text, what is to be written with which importance, unless that is
/// measured in the same run, and `choice`, what else is special to a way of choosing.
fn identity<'a>(
    weights: &Weights,
    corpus: &Corpus,
    goals: impl Iterator<Item = &'a Goal<'a>>,
    measured: bool,
    choice: Json,
) -> Json {
    let goals = goals.map(|goal| {
        let importance = goal.importance.unwrap_or_default().iter().map(|value| value.to_bits());
        let importance = if measured { "measured".to_owned() } else { digest(importance) };
        json!([goal.tensor.name, goal.to(), importance])
    });
    json!({
        "program": env!("CARGO_PKG_VERSION"),
        "source": store::state_of(&weights.source().files()),
        "tokens": [corpus.context, corpus.sequences(), digest(corpus.tokens.iter().copied())],
        "tensors": goals.collect::<Vec<_>>(),
        "choice": choice,
    })
}

/// A number by which equal data are told from other data, by the same build of the program.
fn digest(data: impl Iterator<Item = u32>) -> String {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    data.for_each(|word| hasher.write_u32(word));
    format!("{:016x}", hasher.finish())
}
