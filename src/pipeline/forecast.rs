//! How long a run will take, from a short measurement of itself.
//!
//! Tensors that are stored alike and wanted in the same types make a group. Of each group the very work of the run is
//! done on a few rows, all threads at once, and thrown away: so the measurement knows this computer, the CPU level, the
//! matrices and the types. Of many short times the median counts, which other programs rarely disturb; a run beside
//! them takes longer. Reading is measured at a few places of the files, where they are not in memory already.
//!
//! How fast the disk takes the outputs is not measured, for nothing may be written yet, but assumed: [`WRITE_SPEED`].

use std::collections::BTreeMap;
use std::hint::black_box;
use std::ops::Range;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use rayon::prelude::*;
use weightmill_formats::{Source, TensorInfo};
use weightmill_kernels::Dtype;

use super::convert::Converter;
use super::work::Work;
use super::{Error, Run, memory};

/// Time that is spent on converting, all groups together; reading takes what it takes.
const BUDGET: Duration = Duration::from_millis(60);

/// Least share of that for a group.
const LEAST: Duration = Duration::from_millis(2);

/// Places in the files at which reading is measured, and bytes that are read at each: one after the other, as the run
/// reads them, and more than the system reads ahead (up to 8 MiB), of which all but the first page would seem free.
const READ_PLACES: u64 = 3;
const READ_BYTES: u64 = 16 << 20;

/// Bytes that the system takes in a second: what a file system on a solid-state disk does.
const WRITE_SPEED: f64 = 1e9;

/// Distance of the bytes that are looked at: no page is smaller.
const PAGE: usize = 4096;

/// How long a run will take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Waiting for the source; nothing if the system has it in memory.
    pub reading: f64,
    /// Everything that threads do with the weights.
    pub converting: f64,
    /// Handing the outputs to the system.
    pub writing: f64,
}

impl Forecast {
    /// The whole.
    pub fn seconds(self) -> f64 {
        self.reading + self.converting + self.writing
    }
}

/// What makes work alike: how it is stored, and what becomes of it.
type Kind = (String, bool, Vec<(Dtype, Dtype, bool, bool)>, Vec<(&'static str, bool)>);

impl Run<'_> {
    /// Measures how long the run will take. Writes nothing; takes about a tenth of a second, and longer where the source
    /// is slow or a single row takes long.
    ///
    /// # Errors
    /// If threads cannot be started.
    pub fn forecast(&self) -> Result<Forecast, Error> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(self.settings.threads.get()).build()?;
        let written: u64 = self.plan.outputs.iter().map(|output| output.bytes()).sum();
        Ok(Forecast {
            reading: self.reading_seconds(&pool),
            converting: self.converting_seconds(&pool),
            writing: written as f64 / WRITE_SPEED,
        })
    }

    fn converting_seconds(&self, pool: &ThreadPool) -> f64 {
        let mut groups: BTreeMap<Kind, (u64, &Work<'_>)> = BTreeMap::new();
        for work in self.works.iter().filter(|work| work.len() > 0) {
            let (weights, largest) = groups.entry(self.kind(work)).or_insert((0, work));
            *weights += work.len();
            if largest.len() < work.len() {
                *largest = work;
            }
        }
        let all: u64 = groups.values().map(|(weights, _)| weights).sum();
        let seconds = |act: Act, weights: u64, work: &Work<'_>| {
            let budget = BUDGET.mul_f64(weights as f64 / all as f64).max(LEAST);
            let speeds = pool.broadcast(|thread| {
                let converter = Converter::discarding(self.settings.level, self.weights, self.buffers);
                speed(converter, act, work, (thread.index(), thread.num_threads()), budget)
            });
            weights as f64 / speeds.iter().sum::<f64>()
        };
        let seconds = groups.values().map(|&(weights, work)| {
            let before = if work.is_read_twice() { seconds(measure, weights, work) } else { 0.0 };
            before + seconds(convert, weights, work)
        });
        seconds.sum()
    }

    fn kind(&self, work: &Work<'_>) -> Kind {
        let pieces = work.tensor.data.pieces();
        let stored = pieces.first().map(|piece| self.weights.list()[piece.weight].stored_as().to_owned());
        let encodings = work.encodings.iter().map(|e| (e.via, e.to, e.lossless, e.importance.is_some()));
        let coded = work.coded.iter().map(|coded| (coded.coding.scheme.name, coded.importance.is_some()));
        (stored.unwrap_or_default(), work.is_transposed(), encodings.collect(), coded.collect())
    }

    /// What the samples that had to come from the disk took, applied to all of the source.
    fn reading_seconds(&self, pool: &ThreadPool) -> f64 {
        let source = self.weights.source();
        let samples = samples(source);
        let waited = samples.par_iter().filter_map(|(tensor, range)| wait_for(source, tensor, range));
        let mut waited: Vec<f64> = pool.install(|| waited.collect());
        if waited.is_empty() {
            return 0.0;
        }
        let all = self.source_bytes() + self.first_bytes();
        let from_disk = all as f64 * waited.len() as f64 / samples.len() as f64;
        median(&mut waited) * from_disk / pool.current_num_threads() as f64
    }
}

/// What a run does with rows of a tensor. Defects of weights are for the run to find.
type Act = fn(&mut Converter<'_>, &Work<'_>, Range<usize>);

fn convert(converter: &mut Converter<'_>, work: &Work<'_>, rows: Range<usize>) {
    let _ = converter.convert(work, rows);
}

/// What is done before, where scales have a divisor in common.
fn measure(converter: &mut Converter<'_>, work: &Work<'_>, rows: Range<usize>) {
    let _ = converter.greatest(work, rows);
}

/// Weights with which one thread of several, which all run at once, is done in a second.
fn speed(
    mut converter: Converter<'_>,
    act: Act,
    work: &Work<'_>,
    (thread, threads): (usize, usize),
    budget: Duration,
) -> f64 {
    let mut time = |rows: Range<usize>| {
        let start = Instant::now();
        act(&mut converter, work, rows);
        start.elapsed()
    };
    // Each thread has rows of its own, as long as there are enough.
    let unit = work.row_unit();
    let first = work.rows / threads * thread / unit * unit;
    let chunk = |row: usize| work.chunk_at(if row < work.rows { row } else { 0 });
    let mut rows = chunk(first);
    let row = rows.start..rows.end.min(rows.start + unit);
    time(row.clone());
    let one = time(row).max(Duration::from_nanos(1));
    let step = (budget.as_secs_f64() / 16.0 / one.as_secs_f64()).clamp(1.0, rows.len() as f64) as usize;
    let step = step.next_multiple_of(unit);
    let (begin, mut speeds) = (Instant::now(), Vec::new());
    loop {
        rows.end = rows.end.min(rows.start + step);
        // The first time the rows come from the disk, the second time from memory.
        time(rows.clone());
        let seconds = time(rows.clone()).max(Duration::from_nanos(1)).as_secs_f64();
        speeds.push((rows.len() * work.columns) as f64 / seconds);
        if begin.elapsed() >= budget {
            return median(&mut speeds);
        }
        rows = chunk(rows.end);
    }
}

/// Ranges of tensors, evenly spread over the bytes of the source.
fn samples(source: &dyn Source) -> Vec<(&TensorInfo, Range<u64>)> {
    let total: u64 = source.tensors().iter().map(|tensor| tensor.bytes).sum();
    let mut wanted = (0..READ_PLACES).map(|place| (total / READ_PLACES * place) + total / READ_PLACES / 2).peekable();
    let (mut samples, mut before) = (Vec::new(), 0);
    for tensor in source.tensors() {
        while let Some(place) = wanted.next_if(|place| *place < before + tensor.bytes) {
            let begin = place - before;
            samples.push((tensor, begin..tensor.bytes.min(begin + READ_BYTES)));
        }
        before += tensor.bytes;
    }
    samples
}

/// Has the pages of a range read, and gives them back. Seconds per byte, unless the system says that nothing had to come
/// from the disk.
fn wait_for(source: &dyn Source, tensor: &TensorInfo, range: &Range<u64>) -> Option<f64> {
    let bytes = &source.view(tensor)[range.start as usize..range.end as usize];
    let (start, before) = (Instant::now(), memory::faults_from_disk());
    black_box(bytes.iter().step_by(PAGE).fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    let (seconds, after) = (start.elapsed().as_secs_f64(), memory::faults_from_disk());
    source.release(tensor, range.clone());
    (before.is_none() || before != after).then_some(seconds / bytes.len().max(1) as f64)
}

/// The middle one: of an even number the larger of two.
fn median(numbers: &mut [f64]) -> f64 {
    let middle = numbers.len() / 2;
    *numbers.select_nth_unstable_by(middle, f64::total_cmp).1
}
