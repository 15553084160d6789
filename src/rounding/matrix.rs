//! One matrix: scales as the plain quantizer finds them, levels chosen with the moment.

use std::ops::Range;
use std::sync::Mutex;

use rayon::prelude::*;
use weightmill_kernels::Level;

use super::Error;
use super::clip;
use super::descent::{self, Chosen, descend};
use super::factor::Factor;
use super::moment::Moment;
use super::plain::Plain;
use super::rows::{self, Grid};
use super::store::Writing;
use crate::pipeline::{Form, Goal, TensorReader};

/// Most rows that a thread rounds together: products with the factor then are worth their while.
const ROWS: usize = 256;

/// Rows whose plain rounding is measured too, in every matrix; all if there are no more.
const MEASURED_ROWS: usize = 1024;

/// Bytes that a thread takes for one weight of its rows: the weight, its plain value, its error twice, its level and its block.
const BYTES_PER_WEIGHT: usize = 4 + 4 + 4 + 4 + 1 + 2;

/// Bytes that it takes for every column, however few its rows are: a block of the factor.
const BYTES_PER_COLUMN: usize = 4 * descent::COLUMNS;

/// Squared errors of outputs, summed over rows and tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Losses {
    /// Of plain rounding.
    pub before: f64,
    /// Of chosen levels.
    pub after: f64,
    /// Of leaving the weights out.
    pub whole: f64,
}

impl Losses {
    pub fn add(&mut self, other: Losses) {
        self.before += other.before;
        self.after += other.after;
        self.whole += other.whole;
    }
}

/// What a matrix of a goal is rounded with.
pub(super) struct Matrix<'a> {
    pub goal: Goal<'a>,
    /// Number of the matrix.
    pub number: usize,
    pub reader: &'a TensorReader<'a>,
    pub basis: &'a Basis,
    /// How often all levels and scales are looked at again.
    pub sweeps: usize,
}

/// What a choice is made with.
pub(super) enum Basis {
    /// Nothing: the matrix is rounded plainly.
    Plain,
    /// Levels are chosen.
    Levels(Factor),
    /// Scales are; of the moment both halves are there.
    Scales(Moment),
}

/// Rows that each of so many threads takes at once in so many bytes.
pub(super) fn rows_at_once(columns: usize, bytes: u64, threads: usize) -> usize {
    let own = (bytes / threads.max(1) as u64).saturating_sub((columns * BYTES_PER_COLUMN) as u64);
    let fitting = own / (columns.max(1) * BYTES_PER_WEIGHT) as u64;
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, ROWS)
}

impl Matrix<'_> {
    /// Rounds all rows, `at_once` by each thread, and writes them. `None` if the type's scales cannot hold some weights.
    pub fn round(&self, level: Level, at_once: usize, writing: &Writing) -> Result<Option<Losses>, Error> {
        let rows = self.goal.rows_per_matrix;
        let at_once = at_once.min(rows.div_ceil(rayon::current_num_threads())).max(1);
        let strips = rows.div_ceil(at_once);
        let every = rows.div_ceil(MEASURED_ROWS).max(1);
        let results: Mutex<Vec<(usize, Losses)>> = Mutex::default();
        let all_valid = (0..strips).into_par_iter().map(|strip| {
            let within = strip * at_once..rows.min((strip + 1) * at_once);
            let losses = self.strip(level, within, strip % every == 0, writing)?;
            let mut results = results.lock().expect("no panic while locked");
            Ok(losses.map(|losses| results.push((strip, losses))))
        });
        let all_valid: Vec<Result<Option<()>, Error>> = all_valid.collect();
        for result in all_valid {
            if result?.is_none() {
                return Ok(None);
            }
        }
        // in one order, so that sums are the same whatever the threads do
        let mut results = results.into_inner().expect("no panic while locked");
        results.sort_by_key(|(strip, _)| *strip);
        let mut sum = Losses::default();
        results.into_iter().for_each(|(_, losses)| sum.add(losses));
        Ok(Some(sum))
    }

    fn strip(
        &self,
        level: Level,
        within: Range<usize>,
        measured: bool,
        writing: &Writing,
    ) -> Result<Option<Losses>, Error> {
        let Goal { columns, importance, rows_per_matrix, form, .. } = self.goal;
        let first = self.number * rows_per_matrix;
        let rows = first + within.start..first + within.end;
        let mut weights = vec![0.0; rows.len() * columns];
        self.reader.read(rows.clone(), &mut weights)?;
        self.reader.release(rows.clone());
        let importance = importance.map(|all| &all[self.number * columns..][..columns]);
        let plain = match form {
            Form::Blocks(dtype) => Plain::of_blocks(level, dtype, columns, &weights, importance),
            Form::Coded(coder, _) => Plain::of_codes(level, coder, rows.clone(), &weights, importance),
        };
        let Some(mut plain) = plain else { return Ok(None) };
        let (mut losses, mut levels) = (Losses::default(), Vec::new());
        if let Basis::Scales(moment) = self.basis {
            let mut spare = Vec::new();
            let mut lost = |values: &[f32]| {
                let errors: Vec<f32> = weights.iter().zip(values).map(|(weight, value)| weight - value).collect();
                if measured { clip::loss(moment, &errors, &mut spare) } else { 0.0 }
            };
            losses.before = lost(&plain.values);
            losses.whole = lost(&vec![0.0; weights.len()]);
            clip::choose(level, moment, &weights, &mut plain);
            losses.after = lost(&plain.values);
        }
        let Plain { values, run, points, mut scales, mut offsets, kept } = plain;
        if let Basis::Levels(factor) = self.basis {
            if measured {
                let errors: Vec<f32> = weights.iter().zip(&values).map(|(weight, value)| weight - value).collect();
                losses.before = rows::loss(factor, &errors);
                losses.whole = rows::loss(factor, &weights);
            }
            levels = vec![0; weights.len()];
            let grid = Grid { run, points, scales: &scales, offsets: &offsets };
            let mut after = rows::round(factor, &grid, &weights, &mut levels);
            if self.sweeps > 0 {
                let chosen = Chosen { levels: &mut levels, scales: &mut scales, offsets: &mut offsets };
                let snap = |run: usize, scale: f32, offset: f32| kept.snap(level, run, scale, offset);
                after = descend(factor, (run, points), &weights, chosen, &snap, self.sweeps);
            }
            losses.after = if measured { after } else { 0.0 };
        }
        let chosen = Chosen { levels: &mut levels, scales: &mut scales, offsets: &mut offsets };
        let chosen = matches!(self.basis, Basis::Levels(_)).then_some(chosen);
        let mut bytes = vec![0; rows.len() * self.goal.row_bytes()];
        kept.finish(chosen, &mut bytes);
        writing.write(&bytes, (rows.start * self.goal.row_bytes()) as u64)?;
        Ok(Some(losses))
    }
}
