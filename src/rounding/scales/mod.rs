//! Scales of the inputs of layers, chosen on a text and folded into what comes before: AWQ (arXiv 2306.00978) enlarges columns
//! whose inputs are large before they are rounded, so that they lose less; SmoothQuant (arXiv 2211.10438) makes inputs more even
//! that are rounded themselves.
//!
//! For every link of a model ([`crate::folding`]) its channels are measured: for AWQ their second moment, as for calibrated
//! rounding, for SmoothQuant their ranges and some tokens. Several sets of scales, which follow from the size of inputs and
//! weights, are tried on rows of the matrices behind it, and compared by the error of their outputs on the text. The model that is
//! run stays as it is, for folding does not change what it computes.

mod evidence;
mod grid;
mod plan;
mod report;
mod trial;

use std::path::PathBuf;

use serde_json::json;

use self::evidence::Collected;
use self::trial::Trial;
use super::store::Store;
use super::{Error, Figures, LayerErrors, Progress, Settings, digest, identity};
use crate::corpus::Corpus;
use crate::evaluate::Step;
use crate::forward::{self, Machine};
use crate::weights::Weights;

pub use plan::{ScaleNeeds, ScalePlan};
pub use report::{ScaleReport, ScaledInput};

/// How scales are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By the error that rounded weights make.
    Awq,
    /// By the error that rounded inputs and weights make, both of 8 bits.
    SmoothQuant,
}

/// Scales that were chosen.
pub struct Scales {
    /// Of every link one for each channel.
    pub channels: Vec<Vec<f32>>,
    /// What they do.
    pub report: ScaleReport,
    store: Store,
}

impl Scales {
    /// A number by which these are told from others.
    pub fn digest(&self) -> String {
        digest(self.channels.iter().flatten().map(|scale| scale.to_bits()))
    }

    /// Removes what was kept for a run that goes on.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.store.remove()
    }
}

/// Chooses scales for all links of `plan`, whose goals come from a run on the model that `machine` runs.
///
/// # Errors
/// If the model cannot be run on the text, if the results cannot be kept, or if the folder has those of another run.
pub fn search(
    machine: &Machine<'_>,
    weights: &Weights,
    corpus: &Corpus,
    plan: &ScalePlan<'_>,
    (folder, settings): (PathBuf, &Settings),
    progress: &Progress<'_>,
) -> Result<Scales, Error> {
    let links = plan.folding().links();
    let choice = json!({
        "method": format!("{:?}", plan.method()),
        "settings": [settings.least_tokens],
        "links": links.len(),
    });
    let store = Store::open(folder, &identity(weights, corpus, plan.goals().iter(), false, choice), settings.force)?;
    let cancelled = |error: forward::Error| store.stopped(error);
    let mut done: Vec<Option<Figures>> = vec![None; links.len()];
    if store.is_resumed() {
        let kept = links.iter().enumerate().map(|(number, link)| store.figures(number, bytes(link.channels)));
        done = kept.collect();
    }
    let resumed = done.iter().flatten().count();
    let layers = machine.settings().layers;
    let mut stream = machine.embed(&corpus.tokens).map_err(cancelled)?;
    for layer in 0..layers {
        if done.iter().all(Option::is_some) {
            break;
        }
        let passes = plan.passes(layer, &|link| done[link].is_none());
        let last = passes.len().saturating_sub(1);
        for (number, pass) in passes.iter().enumerate() {
            let sites: Vec<_> = pass.iter().map(|link| (plan.site(*link), links[*link].width())).collect();
            let mut collected = Collected::new(plan.method(), &sites, corpus.tokens.len());
            match number == last {
                true => machine.layer(layer, &mut stream, &mut collected),
                false => machine.observe(layer, &mut stream, &mut collected),
            }
            .map_err(cancelled)?;
            for &link in pass {
                machine.check_cancelled().map_err(cancelled)?;
                let evidence = collected.take(&plan.site(link)).expect("measured before");
                let (channels, figures) = Trial::new(plan, link, weights, settings)?.choose(&evidence)?;
                let writing = store.create(link, bytes(channels.len()))?;
                let data: Vec<u8> = channels.iter().flat_map(|scale| scale.to_le_bytes()).collect();
                writing.write(&data, 0)?;
                writing.finish(&figures)?;
                done[link] = Some(figures);
            }
        }
        if passes.is_empty() {
            machine.layer(layer, &mut stream, &mut ()).map_err(cancelled)?;
        }
        (progress.step)(Step { done: layer + 1, total: layers });
        let of_layer = links.iter().zip(&done).filter(|(link, _)| link.layer == layer);
        let figures: Vec<Figures> = of_layer.filter_map(|(_, figures)| *figures).collect();
        LayerErrors::of(layer, &figures).into_iter().for_each(progress.layer);
    }
    let mut channels = Vec::with_capacity(links.len());
    for (number, link) in links.iter().enumerate() {
        // links of layers that are none that runs
        let mut scales = vec![1.0; link.channels];
        if done[number].is_some() {
            let mut data = vec![0; 4 * link.channels];
            store.read(number, 0, &mut data)?;
            let words = data.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word));
            scales.iter_mut().zip(words).for_each(|(scale, word)| *scale = word);
        }
        channels.push(scales);
    }
    let report = plan.report(&done, corpus.tokens.len(), resumed);
    Ok(Scales { channels, report, store })
}

fn bytes(channels: usize) -> u64 {
    (channels * size_of::<f32>()) as u64
}
