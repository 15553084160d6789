//! What a run has rounded so far, and the rounding of one matrix after the other.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use weightmill_formats::Importance;

use super::factor::{Factor, mirror};
use super::matrix::{Basis, Losses, Matrix, rows_at_once};
use super::moment::Moment;
use super::report::{Figures, Report, RoundedTensor};
use super::schedule::{Measured, Schedule};
use super::store::{Store, Writing};
use super::{Choice, Error, Settings};
use crate::pipeline::{Goal, TensorReader};
use crate::weights::Weights;

/// The numbers of results: by tensor, for every type or scheme.
pub(super) type Numbers = HashMap<String, Vec<(&'static str, usize)>>;

/// The state of a run.
pub(super) struct Work<'a> {
    pub weights: &'a Weights,
    pub schedule: &'a Schedule<'a>,
    pub store: &'a Store,
    pub settings: &'a Settings,
    /// Goals that have a result.
    done: HashMap<usize, Figures>,
    /// Goals whose scales cannot hold their weights: left to the plain quantizer, which knows what to do.
    unusable: Vec<usize>,
    open: HashMap<usize, Open<'a>>,
    /// What weighs the columns of the layer, in place of the goals' own importance.
    pub importance: Option<Importance>,
}

/// A goal that is being rounded.
struct Open<'a> {
    reader: TensorReader<'a>,
    writing: Writing,
    losses: Losses,
    /// Matrices that are still to come.
    left: usize,
    tokens: u64,
    plain: u64,
}

impl<'a> Work<'a> {
    /// With what an earlier run has left.
    pub fn new(weights: &'a Weights, schedule: &'a Schedule<'a>, store: &'a Store, settings: &'a Settings) -> Self {
        let known = |(number, goal): (usize, &Goal<'_>)| Some((number, store.figures(number, goal.bytes())?));
        let done = schedule.goals().filter(|_| store.is_resumed()).filter_map(known).collect();
        Self { weights, schedule, store, settings, done, unusable: Vec::new(), open: HashMap::new(), importance: None }
    }

    /// Number of results.
    pub fn results(&self) -> usize {
        self.done.len()
    }

    /// True if a goal has no result yet.
    pub fn lacks(&self, number: usize) -> bool {
        !self.done.contains_key(&number)
    }

    /// True if nothing is left to do.
    pub fn is_complete(&self) -> bool {
        self.schedule.goals().all(|(number, _)| self.done.contains_key(&number) || self.unusable.contains(&number))
    }

    /// What is known of the results in a layer.
    pub fn of_layer(&self, layer: usize) -> Vec<Figures> {
        let numbers: BTreeSet<usize> = self.schedule.of_layer(layer).collect();
        numbers.iter().filter_map(|number| self.done.get(number)).copied().collect()
    }

    /// Rounds all matrices that see the inputs of this moment.
    pub fn round(&mut self, site: &Measured, mut moment: Moment) -> Result<(), Error> {
        let settings = self.settings;
        let tokens = moment.tokens;
        let enough = tokens as f32 >= settings.least_tokens * site.columns as f32;
        let basis = match settings.choice {
            _ if !enough => Basis::Plain,
            Choice::Levels => Factor::new(moment, settings.damping).map_or(Basis::Plain, Basis::Levels),
            Choice::Scales => {
                mirror(&mut moment.data, moment.columns);
                let usable = moment.data.iter().all(|value| value.is_finite());
                if usable { Basis::Scales(moment) } else { Basis::Plain }
            }
        };
        for &(number, matrix) in &site.users {
            if !self.unusable.contains(&number) {
                self.round_one(number, matrix, &basis, tokens)?;
            }
        }
        Ok(())
    }

    fn round_one(&mut self, number: usize, matrix: usize, basis: &Basis, tokens: u64) -> Result<(), Error> {
        let goal = *self.schedule.goal(number);
        let level = self.settings.level;
        let one = match self.open.entry(number) {
            Entry::Occupied(one) => one.into_mut(),
            Entry::Vacant(place) => place.insert(Open {
                reader: TensorReader::new(goal.tensor, self.weights, level)?,
                writing: self.store.create(number, goal.bytes())?,
                losses: Losses::default(),
                left: goal.matrices(),
                tokens: u64::MAX,
                plain: 0,
            }),
        };
        let measured = self.importance.as_ref().filter(|_| goal.importance.is_some()).and_then(|importance| {
            let (entry, first) = self.schedule.entry(number);
            let all = importance.get(entry)?.get(first * goal.columns..(first + goal.matrices()) * goal.columns)?;
            Some(goal.weighed(all))
        });
        let goal = Goal { importance: measured.as_deref().or(goal.importance), ..goal };
        let at_once = rows_at_once(goal.columns, self.schedule.strip_bytes(), rayon::current_num_threads());
        let matrix = Matrix { goal, number: matrix, reader: &one.reader, basis, sweeps: self.settings.sweeps };
        let Some(losses) = matrix.round(level, at_once, &one.writing)? else {
            self.open.remove(&number);
            self.unusable.push(number);
            return Ok(());
        };
        one.losses.add(losses);
        one.tokens = one.tokens.min(tokens);
        one.plain += u64::from(matches!(basis, Basis::Plain));
        one.left -= 1;
        if one.left == 0
            && let Some(Open { losses, writing, tokens, plain, .. }) = self.open.remove(&number)
        {
            let relative = |loss: f64| if losses.whole > 0.0 { loss / losses.whole } else { 0.0 };
            let (error_before, error_after) = (relative(losses.before), relative(losses.after));
            let figures = Figures { error_before, error_after, tokens, plain_matrices: plain };
            writing.finish(&figures)?;
            self.done.insert(number, figures);
        }
        Ok(())
    }

    /// The report, and the numbers of results by tensor and type.
    pub fn finish(self, tokens: usize, resumed: usize) -> (Report, Numbers) {
        let mut numbers = Numbers::new();
        let (mut rounded, mut plain) = (Vec::new(), self.schedule.left_out().to_vec());
        for (number, goal) in self.schedule.goals() {
            let tensor = &goal.tensor.name;
            let Some(&figures) = self.done.get(&number) else {
                // its scales cannot hold it, or its layer is none that runs
                plain.push(tensor.clone());
                continue;
            };
            numbers.entry(tensor.clone()).or_default().push((goal.to(), number));
            let to = goal.to().to_owned();
            rounded.push(RoundedTensor { tensor: tensor.clone(), to, matrices: goal.matrices(), figures });
        }
        (Report { tokens, resumed, rounded, plain }, numbers)
    }
}
