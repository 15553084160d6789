//! What is written in place of the model's weights: so that later layers see the inputs that they will have.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use weightmill_kernels::{Level, dequantize};

use super::schedule::Schedule;
use super::store::Store;
use crate::forward::{Observer, Part, Rows};
use crate::model::{Map, Model, Piece, TensorData};
use crate::pipeline::{self, Form, Goal};

/// Which rows of results stand for which rows of the model's tensors.
#[derive(Default)]
pub(super) struct Places {
    /// Goals that are tensors of the model.
    whole: HashMap<String, usize>,
    /// The pieces of the model's other tensors, each with the number of the tensor's rows before it.
    pieces: HashMap<String, Vec<(usize, Piece)>>,
    /// What has become of stored weights, by their number and the first element.
    segments: BTreeMap<(usize, u64), Segment>,
}

/// Rows that follow each other in a stored weight and in a goal.
struct Segment {
    goal: usize,
    /// The first row in the goal.
    first: usize,
    rows: usize,
    columns: u64,
}

impl Places {
    /// `None` if there are two goals for one tensor.
    pub fn new(goals: &[Goal<'_>], model: &Model) -> Option<Self> {
        let mut places = Self::default();
        for (number, goal) in goals.iter().enumerate() {
            if let Form::Blocks(_) = goal.form {
                if places.whole.insert(goal.tensor.name.clone(), number).is_some() {
                    return None;
                }
                continue;
            }
            let TensorData::Pieces(pieces) = &goal.tensor.data else { continue };
            let mut first = 0;
            for Piece { weight, view, .. } in pieces {
                let (rows, columns) = (view.row_count() as usize, view.columns.length);
                if view.is_contiguous() && columns == goal.columns as u64 {
                    let segment = Segment { goal: number, first, rows, columns };
                    if places.segments.insert((*weight, view.base), segment).is_some() {
                        return None;
                    }
                }
                first += rows;
            }
        }
        if !places.segments.is_empty() {
            if !places.whole.is_empty() {
                return None;
            }
            for tensor in &model.tensors {
                let TensorData::Pieces(pieces) = &tensor.data else { continue };
                let columns = tensor.shape.last().copied().unwrap_or(1);
                if tensor.shape.len() < 2 || pieces.iter().any(|piece| !as_stored(piece, columns)) {
                    continue;
                }
                let starts = pieces.iter().scan(0, |next, piece| {
                    let start = *next;
                    *next += piece.view.row_count() as usize;
                    Some((start, piece.clone()))
                });
                places.pieces.insert(tensor.name.clone(), starts.collect());
            }
        }
        Some(places)
    }

    /// The goal's row that stands for a row of the model's tensor.
    fn row(&self, pieces: &[(usize, Piece)], row: usize) -> Option<(usize, usize)> {
        let (start, piece) = &pieces[pieces.partition_point(|(start, _)| *start <= row).checked_sub(1)?];
        let element = piece.view.row_start((row - start) as u64);
        let ((weight, base), segment) = self.segments.range(..=(piece.weight, element)).next_back()?;
        let within = (element - base) / segment.columns;
        let is_there = *weight == piece.weight
            && within < segment.rows as u64
            && piece.view.columns.length == segment.columns
            && (element - base).is_multiple_of(segment.columns);
        is_there.then_some((segment.goal, segment.first + within as usize))
    }
}

fn as_stored(piece: &Piece, columns: u64) -> bool {
    piece.map == Map::Same && piece.view.columns.stride == 1 && piece.view.columns.length == columns
}

/// Sees nothing, and puts results where there are some.
pub(super) struct Replaced<'a> {
    pub places: &'a Places,
    pub schedule: &'a Schedule<'a>,
    /// Whether a goal has a result.
    pub has: &'a (dyn Fn(usize) -> bool + Sync),
    pub store: &'a Store,
    pub level: Level,
}

impl Observer for Replaced<'_> {
    fn input(&mut self, _: &str, _: Part, _: Rows<'_>) {}

    fn replace(&self, tensor: &str, rows: Range<usize>, weights: &mut [f32]) -> Result<(), pipeline::Error> {
        if let Some(&number) = self.places.whole.get(tensor) {
            return self.read(number, rows.start, weights);
        }
        let Some(pieces) = self.places.pieces.get(tensor) else { return Ok(()) };
        let columns = weights.len() / rows.len().max(1);
        let mut next = rows.start;
        while next < rows.end {
            // rows that follow each other in the goal too are read together
            let found = self.places.row(pieces, next);
            let first = next;
            next += 1;
            if let Some((number, row)) = found {
                while next < rows.end && self.places.row(pieces, next) == Some((number, row + next - first)) {
                    next += 1;
                }
                self.read(number, row, &mut weights[(first - rows.start) * columns..(next - rows.start) * columns])?;
            }
        }
        Ok(())
    }
}

impl Replaced<'_> {
    /// Reads rows of a goal from `first` on, if it has a result.
    fn read(&self, number: usize, first: usize, weights: &mut [f32]) -> Result<(), pipeline::Error> {
        if !(self.has)(number) {
            return Ok(());
        }
        let goal = self.schedule.goal(number);
        let row_bytes = goal.row_bytes();
        let mut bytes = vec![0; weights.len() / goal.columns * row_bytes];
        self.store.read(number, (first * row_bytes) as u64, &mut bytes)?;
        match goal.form {
            Form::Blocks(dtype) => dequantize(self.level, dtype, &bytes, weights),
            Form::Coded(coder, _) => coder.values(&bytes, weights),
        }
        Ok(())
    }
}
