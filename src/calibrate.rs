//! Importance matrices measured here: sums of the squared inputs of every linear layer, as llama-imatrix collects them.
//!
//! Sequences go through the model layer by layer ([`crate::forward`]); what is counted is what llama-imatrix counts, so that its
//! files and these can be merged and are used alike.

use std::collections::BTreeMap;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;
use weightmill_formats::Importance;
use weightmill_formats::imatrix::{Entry, Imatrix};

use crate::corpus::Corpus;
use crate::evaluate::Step;
use crate::forward::{Error, Machine, Observer, Part, Rows};
use crate::model::{Model, ModelTensor};
use crate::plan::expected_values;

/// Columns that a thread sums at a time: their sums stay in the first-level cache.
const COLUMNS_AT_ONCE: usize = 256;

/// Sums that are being collected.
#[derive(Debug, Default)]
pub struct Collector {
    sums: BTreeMap<String, Sums>,
    /// Look at the head too.
    output: bool,
}

/// Sums of one tensor.
#[derive(Debug)]
struct Sums {
    /// Matrix after matrix.
    squares: Vec<f64>,
    /// Tokens: one number for all matrices, or for experts one each.
    counts: Vec<u64>,
}

impl Collector {
    /// Collects for the layers, and for the head if `output` is set, as `--process-output` of llama-imatrix does.
    pub fn new(output: bool) -> Self {
        Self { sums: BTreeMap::new(), output }
    }

    /// Goes on from what an earlier run has collected.
    pub fn resume(output: bool, matrix: &Imatrix) -> Self {
        let sums = matrix.entries.iter().map(|(name, entry)| {
            let squares = entry.sums.iter().map(|sum| f64::from(*sum)).collect();
            (name.clone(), Sums { squares, counts: entry.counts.clone() })
        });
        Self { sums: sums.collect(), output }
    }

    /// Importance by what has been collected in one layer, as [`Self::matrix`] gives it for all.
    pub fn of_layer(&self, layer: usize) -> Importance {
        let prefix = format!("blk.{layer}.");
        let entries = self.sums.iter().filter(|(name, _)| name.starts_with(&prefix)).map(|(name, sums)| {
            let rounded = sums.squares.iter().map(|sum| *sum as f32).collect();
            (name.clone(), Entry { sums: rounded, counts: sums.counts.clone() })
        });
        let entries = entries.collect();
        Imatrix { entries, chunk_size: Some(1), ..Imatrix::default() }.into_importance()
    }

    /// What has been collected. The sums go on from there rounded as they are written, so that a run that is resumed gives what
    /// one without interruption gives.
    pub fn matrix(&mut self, datasets: &[String], chunks: u32, chunk_size: u32) -> Imatrix {
        let entries = self.sums.iter_mut().map(|(name, sums)| {
            let rounded: Vec<f32> = sums.squares.iter().map(|sum| *sum as f32).collect();
            sums.squares.iter_mut().zip(&rounded).for_each(|(sum, rounded)| *sum = f64::from(*rounded));
            (name.clone(), Entry { sums: rounded, counts: sums.counts.clone() })
        });
        let entries = entries.collect();
        Imatrix { entries, datasets: datasets.to_vec(), chunks, chunk_size: Some(chunk_size), others: Vec::new() }
    }
}

impl Observer for Collector {
    fn input(&mut self, tensor: &str, part: Part, input: Rows<'_>) {
        if !(tensor.starts_with("blk.") || self.output && tensor == "output.weight") {
            return;
        }
        let (index, of) = part.place();
        let columns = input.columns;
        let counts = if matches!(part, Part::Expert { .. }) { of } else { 1 };
        let new = || Sums { squares: vec![0.0; columns * of], counts: vec![0; counts] };
        let sums = self.sums.entry(tensor.to_owned()).or_insert_with(new);
        match part {
            Part::Expert { index, .. } => sums.counts[index] += input.rows as u64,
            // all heads see the same tokens
            Part::Whole | Part::Head { index: 0, .. } => sums.counts[0] += input.rows as u64,
            Part::Head { .. } => {}
        }
        let squares = &mut sums.squares[index * columns..(index + 1) * columns];
        squares.par_chunks_mut(COLUMNS_AT_ONCE).enumerate().for_each(|(chunk, squares)| {
            let first = chunk * COLUMNS_AT_ONCE;
            for row in 0..input.rows {
                let begin = row * input.stride + first;
                let values = &input.data[begin..begin + squares.len()];
                squares.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value * value));
            }
        });
    }
}

/// Brings `sequences` of the corpus, counted from `first`, through the model.
///
/// # Errors
/// As [`Machine::layer`].
pub fn collect(
    machine: &Machine<'_>,
    corpus: &Corpus,
    sequences: std::ops::Range<usize>,
    collector: &mut Collector,
    progress: &dyn Fn(Step),
) -> Result<Vec<f64>, Error> {
    let tokens = &corpus.tokens[sequences.start * corpus.context..sequences.end * corpus.context];
    let mut stream = machine.embed(tokens)?;
    let layers = machine.settings().layers;
    let total = layers + usize::from(collector.output);
    let mut seconds = Vec::with_capacity(layers);
    for layer in 0..layers {
        let begin = Instant::now();
        machine.layer(layer, &mut stream, collector)?;
        seconds.push(begin.elapsed().as_secs_f64());
        progress(Step { done: layer + 1, total });
    }
    if collector.output {
        let mut first = 0;
        while first < stream.tokens() {
            let last = stream.tokens().min(first + corpus.context);
            machine.head_input(&stream.read(first..last)?, collector)?;
            first = last;
        }
        progress(Step { done: total, total });
    }
    Ok(seconds)
}

/// What would be measured of `model`, every column alike: for plans.
pub fn assumed(model: &Model) -> Imatrix {
    let layers = model.tensors.iter().filter(|tensor| tensor.name.starts_with("blk.") && tensor.shape.len() > 1);
    let entry = |tensor: &ModelTensor| {
        let values = expected_values(&tensor.shape) as usize;
        (tensor.name.clone(), Entry { sums: vec![1.0; values], counts: vec![1] })
    };
    Imatrix { entries: layers.map(entry).collect(), ..Imatrix::default() }
}

/// How many tokens came to the experts of one tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Name of the tensor.
    pub tensor: String,
    /// Number of experts.
    pub experts: usize,
    /// Experts that saw nothing: their columns all count the same.
    pub unseen: usize,
    /// Tokens of the expert that saw least.
    pub least: u64,
    /// Tokens of the expert that saw most.
    pub most: u64,
}

impl Coverage {
    /// Of every stack of experts in `matrix`, by its last matrix: all of a layer see the same tokens.
    pub fn of(matrix: &Imatrix) -> Vec<Coverage> {
        let stacks = matrix.entries.iter().filter(|(name, entry)| entry.counts.len() > 1 && name.contains("ffn_down"));
        let coverage = |(name, entry): (&String, &Entry)| Coverage {
            tensor: name.clone(),
            experts: entry.counts.len(),
            unseen: entry.counts.iter().filter(|count| **count == 0).count(),
            least: entry.counts.iter().copied().min().unwrap_or(0),
            most: entry.counts.iter().copied().max().unwrap_or(0),
        };
        stacks.map(coverage).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    #[test]
    fn squares_are_summed_by_matrix_and_column() {
        let mut collector = Collector::new(false);
        let rows = Rows::dense(&DATA, 2);
        collector.input("blk.0.ffn_up_exps.weight", Part::Expert { index: 1, of: 3 }, rows);
        collector.input("blk.0.ffn_up_exps.weight", Part::Expert { index: 2, of: 3 }, Rows::dense(&[], 2));
        collector.input("blk.0.attn_k_b.weight", Part::Head { index: 0, of: 2 }, rows);
        collector.input("blk.0.attn_k_b.weight", Part::Head { index: 1, of: 2 }, rows);
        collector.input("output.weight", Part::Whole, rows);
        let matrix = collector.matrix(&[], 1, 16);
        let names: Vec<&str> = matrix.entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["blk.0.attn_k_b.weight", "blk.0.ffn_up_exps.weight"]);
        assert_eq!(matrix.entries[1].sums, [0.0, 0.0, 35.0, 56.0, 0.0, 0.0]);
        assert_eq!(matrix.entries[1].counts, [0, 3, 0]);
        assert_eq!(matrix.entries[0].sums, [35.0, 56.0, 35.0, 56.0]);
        assert_eq!(matrix.entries[0].counts, [3]);
    }

    #[test]
    fn a_resumed_run_goes_on_from_what_was_written() {
        let third = [1.0 / 3.0f32; 2];
        let mut whole = Collector::new(false);
        whole.input("blk.0.x.weight", Part::Whole, Rows::dense(&third, 2));
        let written = whole.matrix(&[], 1, 16);
        let mut resumed = Collector::resume(false, &written);
        for collector in [&mut whole, &mut resumed] {
            collector.input("blk.0.x.weight", Part::Whole, Rows::dense(&third, 2));
        }
        assert_eq!(whole.matrix(&[], 2, 16), resumed.matrix(&[], 2, 16));
    }
}
