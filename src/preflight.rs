//! What is checked before the first byte is written, as data and in a few lines.
//!
//! Most defects are errors before there is a plan: an unknown architecture or tokenizer, a tensor or expert that is missing or
//! too many, a shape that contradicts config.json. What is here is what those checks found, and what depends on this computer:
//! licence, room on the disk, time. It is no part of the plan, which is the same everywhere.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use weightmill_formats::{Array, Value};

use crate::input::Input;
use crate::license::License;
use crate::pipeline::{Disk, Error, Run};
use crate::plan::Plan;
use crate::recipe::own_matrices;
use crate::rounding::Needs;
use crate::rounding::scales::ScaleNeeds;

/// What was found before the start.
#[derive(Debug, Serialize)]
pub struct Preflight {
    /// `general.architecture`.
    pub architecture: String,
    /// Blocks of the model, where it says.
    pub layers: Option<u64>,
    /// Experts of a layer; none in a model without.
    pub experts: Option<u64>,
    /// How text becomes tokens; none in a model without a vocabulary.
    pub tokenizer: Option<Tokenizer>,
    /// Tensors of the source.
    pub tensors: Tensors,
    /// The licence that the model states.
    pub license: License,
    /// The file system that the outputs fill most.
    pub disk: Option<Disk>,
    /// How long the run will take, writing to a slow disk left out.
    pub forecast_seconds: f64,
    /// What calibrated rounding takes, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Needs>,
    /// What choosing scales takes, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScaleNeeds>,
    /// Why the run would not start.
    pub problems: Vec<String>,
}

/// The tokenizer by llama.cpp's names.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Tokenizer {
    pub model: String,
    /// The pre-tokenizer of a byte-level vocabulary.
    pub pre: Option<String>,
    pub tokens: u64,
}

/// The tensors of the source. That one is missing, superfluous or of another shape would have been an error.
#[derive(Debug, Serialize)]
#[allow(missing_docs)]
pub struct Tensors {
    /// What says which there must be.
    pub checked_against: String,
    pub stored: usize,
    /// Those that the model consists of.
    pub used: usize,
    /// Those that it does not need; notes say why.
    pub left_out: usize,
    /// Of a source that is no language model, those that get the type asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub two_dimensional_weights: Option<usize>,
}

impl Preflight {
    /// Looks at everything that the run depends on, and measures for about a tenth of a second how fast it will be.
    ///
    /// # Errors
    /// If there is no telling: a disk that does not say how full it is, threads that cannot be started.
    pub fn of(input: &Input, plan: &Plan, run: &Run<'_>) -> Result<Self, Error> {
        let architecture = &input.model.architecture;
        let metadata = &input.model.metadata;
        let number = |key: &str| metadata.unsigned(&format!("{architecture}.{key}"));
        let text = |key: &str| metadata.string(key).map(str::to_owned);
        let tokens = match metadata.get("tokenizer.ggml.tokens") {
            Some(Value::Array(Array::String(tokens))) => tokens.len() as u64,
            _ => 0,
        };
        let tokenizer = text("tokenizer.ggml.model").filter(|model| model != "none" && model != "no_vocab");
        Ok(Preflight {
            architecture: architecture.clone(),
            layers: number("block_count"),
            experts: number("expert_count").filter(|experts| *experts > 0),
            tokenizer: tokenizer.map(|model| Tokenizer { model, pre: text("tokenizer.ggml.pre"), tokens }),
            tensors: Tensors::of(input),
            license: input.license(),
            disk: Disk::of(plan)?.into_iter().min_by_key(|disk| i128::from(disk.free) - i128::from(disk.needed)),
            forecast_seconds: run.forecast()?.seconds(),
            rounding: None,
            scaling: None,
            problems: run.check().err().iter().map(Error::to_string).collect(),
        })
    }
}

impl Tensors {
    fn of(input: &Input) -> Self {
        let pieces = input.model.tensors.iter().flat_map(|tensor| tensor.data.pieces());
        let used: BTreeSet<_> = pieces.flat_map(|piece| input.weights.list()[piece.weight].parts()).collect();
        let stored = input.weights.source().tensors().len();
        let tensors = input.model.tensors.iter();
        let named = tensors.map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice(), tensor.dtype));
        let matrices = input.model.own_names.then(|| own_matrices(named).into_iter().filter(|is_one| *is_one).count());
        Tensors {
            checked_against: input.checked_against().to_owned(),
            stored,
            used: used.len(),
            left_out: stored - used.len(),
            two_dimensional_weights: matrices,
        }
    }
}

/// A few lines for people.
impl fmt::Display for Preflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "model      {}", self.architecture.escape_debug())?;
        if let Some(layers) = self.layers {
            write!(f, ", {layers} layers")?;
        }
        if let Some(experts) = self.experts {
            write!(f, " of {experts} experts")?;
        }
        let &Tensors { ref checked_against, stored, left_out, .. } = &self.tensors;
        match self.tensors.two_dimensional_weights {
            Some(count) => {
                write!(f, ", no language model; {stored} tensors under their own names, {count} of them 2-D weights")?
            }
            None => write!(f, "; {stored} tensors, checked against {checked_against}")?,
        }
        match left_out {
            0 => writeln!(f)?,
            _ => writeln!(f, ", {left_out} left out")?,
        }
        match &self.tokenizer {
            Some(Tokenizer { model, pre: Some(pre), tokens }) => {
                writeln!(f, "tokenizer  {} ({}), {tokens} tokens", model.escape_debug(), pre.escape_debug())?
            }
            Some(Tokenizer { model, pre: None, tokens }) => {
                writeln!(f, "tokenizer  {}, {tokens} tokens", model.escape_debug())?
            }
            None => writeln!(f, "tokenizer  none")?,
        }
        match self.license.is_stated() {
            true => writeln!(f, "licence    {}, by {}", self.license, self.license.stated_in)?,
            false => writeln!(f, "licence    not stated in {}", self.license.stated_in)?,
        }
        if let Some(Disk { folder, needed, free, enough }) = &self.disk {
            let verdict = if *enough { "" } else { ": NOT ENOUGH" };
            writeln!(f, "disk       {} needed, {} free at {}{verdict}", Size(*needed), Size(*free), folder.display())?;
        }
        if let Some(Needs { tensors, moments, passes, least_memory, disk, .. }) = &self.rounding {
            let runs = if *passes == 1 { "one run".to_owned() } else { format!("{passes} runs") };
            writeln!(
                f,
                "rounding   {tensors} tensors, with second moments of {} at a time in {runs} of a layer; takes at least {} of memory, \
                 and {} beside the outputs until the end",
                Size(*moments),
                Size(*least_memory),
                Size(*disk)
            )?;
        }
        if let Some(ScaleNeeds { inputs, moments, passes, least_memory, .. }) = &self.scaling {
            let runs = if *passes == 1 { "one run".to_owned() } else { format!("{passes} runs") };
            writeln!(
                f,
                "scales     {inputs} inputs, of which what is measured takes {} at a time in {runs} of a layer; takes at least {} of memory",
                Size(*moments),
                Size(*least_memory)
            )?;
        }
        write!(f, "time       {}", Time(self.forecast_seconds))?;
        if self.rounding.is_some() || self.scaling.is_some() {
            f.write_str(" after that")?;
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\nproblem    {problem}"))
    }
}

/// A size in decimal units, to three digits.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, name) = match self.0 {
            0..1_000_000 => (1e3, "kB"),
            1_000_000..1_000_000_000 => (1e6, "MB"),
            _ => (1e9, "GB"),
        };
        let number = self.0 as f64 / unit;
        let digits = if number < 9.995 { 2 } else { usize::from(number < 99.95) };
        write!(f, "{number:.digits$} {name}")
    }
}

/// A forecast, no more precise than it can be.
struct Time(f64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 1.0 => f.write_str("under a second"),
            seconds if seconds < 100.0 => write!(f, "about {seconds:.0} s"),
            seconds if seconds < 6000.0 => write!(f, "about {:.0} minutes", seconds / 60.0),
            seconds => write!(f, "about {:.1} hours", seconds / 3600.0),
        }
    }
}
