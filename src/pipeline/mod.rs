//! Executes a plan: one pass over the source, every output at once, in bounded memory.
//!
//! A queue hands out chunks of rows in the order in which they lie in the source, to as many threads as there are.
//! A thread decodes its chunk once, encodes it for every output and writes the bytes at their final offsets, while the
//! system reads ahead and brings to the disk what is written. The layout is fixed beforehand, so neither threads nor
//! chunk sizes can change a byte. Files get their names when all of them are complete.

mod ahead;
mod budget;
mod convert;
mod disk;
mod error;
mod forecast;
mod gather;
mod goal;
mod memory;
mod outputs;
mod reader;
mod repair;
mod work;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rayon::prelude::*;
use weightmill_formats::Importance;
use weightmill_kernels::Level;

use self::ahead::ReadAhead;
use self::budget::Buffers;
use self::convert::Converter;
use self::disk::Folders;
use self::memory::Peak;
use self::outputs::Writer;
use self::repair::Repairs;
use self::work::Work;
use crate::plan::{self, Plan};
use crate::scheme::divisor;
use crate::weights::Weights;

pub use self::disk::Disk;
pub use self::error::{Error, Site};
pub use self::forecast::Forecast;
pub(crate) use self::goal::Form;
pub use self::goal::{Chosen, Goal};
pub use self::outputs::{check, remove_stale};
pub use self::reader::TensorReader;
pub use self::repair::Repair;

/// How to run. None of it changes a byte of the outputs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of threads.
    pub threads: NonZeroUsize,
    /// Most bytes of buffers, all threads together.
    pub max_memory: u64,
    /// CPU level of the kernels.
    pub level: Level,
    /// Replace outputs that exist.
    pub force: bool,
}

/// How far a run is, in bytes of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that all outputs have.
    pub done: u64,
    /// Bytes to do.
    pub total: u64,
}

/// What the caller watches and decides during a run.
#[derive(Clone, Copy)]
pub struct Control<'a> {
    /// Set from anywhere to end the run: [`Error::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Called from any thread after every chunk.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// What a finished run took, and what it had to do differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Time from the first byte to the last file's name.
    pub seconds: f64,
    /// Largest anonymous memory of the process that was seen during the run, where the system tells.
    pub memory_bytes: Option<u64>,
    /// Blocks that could not be encoded with their importance, tensor by tensor.
    pub repairs: Vec<Repair>,
}

/// A plan that is ready to be executed.
pub struct Run<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    settings: Settings,
    works: Vec<Work<'a>>,
    buffers: Buffers,
}

impl<'a> Run<'a> {
    /// Divides the work into chunks. Writes nothing.
    ///
    /// # Errors
    /// If a tensor cannot be converted, or if its rows are too long for the memory allowed.
    pub fn new(
        plan: &'a Plan,
        input: &plan::Input<'a>,
        importance: &'a Importance,
        settings: Settings,
    ) -> Result<Self, Error> {
        let mut works = Work::list(plan, input, importance)?;
        let buffers = budget::divide(&mut works, settings.threads.get(), settings.max_memory)?;
        Ok(Run { plan, weights: input.weights, settings, works, buffers })
    }

    /// Bytes of the buffers of all threads.
    pub fn buffer_bytes(&self) -> u64 {
        self.buffers.size() * self.settings.threads.get() as u64
    }

    /// Checks what [`Run::execute`] checks before it writes: see [`check`].
    ///
    /// # Errors
    /// If the run would not start.
    pub fn check(&self) -> Result<(), Error> {
        check(self.plan, self.weights.source(), self.settings.force)
    }

    /// Writes all outputs, and makes the folders that they go to.
    ///
    /// # Errors
    /// Any error leaves nothing under the names of the outputs, and no folder that was not there, unless it says so. Of several defects in the weights
    /// the first in the order of the source is reported, whatever the number of threads.
    pub fn execute(&self, control: Control<'_>) -> Result<Measured, Error> {
        self.execute_with(control, None)
    }

    /// Writes all outputs as [`Run::execute`] does, but takes what was chosen before for its [`Run::goals`].
    ///
    /// # Errors
    /// As [`Run::execute`], and if what was chosen cannot be read.
    pub fn execute_with(&self, control: Control<'_>, chosen: Option<&dyn Chosen>) -> Result<Measured, Error> {
        let start = Instant::now();
        let peak = Peak::default();
        self.check()?;
        if let Some(output) = self.plan.outputs.iter().find(|output| output.assumes_importance) {
            return Err(Error::AssumedImportance { path: output.path.clone() });
        }
        let folders = Folders::make(self.plan)?;
        // Goes before the folders do.
        let files = outputs::create(self.plan, self.settings.force)?;
        let repairs = Repairs::new(self.plan.strict_importance);
        let divisors = self.divisors(control, &peak)?;
        Writer::with(&files, |writer| self.convert(writer, (&divisors, chosen), control, &peak, &repairs))?;
        peak.sample();
        self.weights.source().check_unchanged()?;
        outputs::commit(files, control.cancel)?;
        folders.keep();
        Ok(Measured { seconds: start.elapsed().as_secs_f64(), memory_bytes: peak.bytes(), repairs: repairs.list() })
    }

    /// Bytes of the source that are converted.
    fn source_bytes(&self) -> u64 {
        self.works.iter().map(Work::source_bytes).sum()
    }

    /// Bytes that are read before, too.
    fn first_bytes(&self) -> u64 {
        self.works.iter().filter(|work| work.is_read_twice()).map(Work::source_bytes).sum()
    }

    /// The divisors of scales that weights have in common, by the number of these weights: for them such weights are read
    /// before any is coded.
    fn divisors(&self, control: Control<'_>, peak: &Peak) -> Result<Vec<f32>, Error> {
        let sets = |work: &Work<'_>| work.divisors().collect::<Vec<_>>();
        let count = self.works.iter().flat_map(sets).max().map_or(0, |last| last + 1);
        // Magnitudes are ordered as their bits are.
        let greatest: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
        let converter = || Converter::discarding(self.settings.level, self.weights, self.buffers);
        let works: Vec<&Work<'_>> = self.works.iter().filter(|work| work.is_read_twice()).collect();
        let all = |progress: Progress| {
            (control.progress)(Progress { total: progress.total + self.source_bytes(), ..progress });
        };
        let control = Control { progress: &all, ..control };
        self.each_chunk(&works, control, peak, converter, |converter, work, rows| {
            let own = converter.greatest(work, rows)?;
            for set in sets(work) {
                greatest[set].fetch_max(own.to_bits(), Relaxed);
            }
            Ok(())
        })?;
        Ok(greatest.into_iter().map(|greatest| divisor(f32::from_bits(greatest.into_inner()))).collect())
    }

    fn convert(
        &self,
        writer: &Writer<'_>,
        (divisors, chosen): (&[f32], Option<&dyn Chosen>),
        control: Control<'_>,
        peak: &Peak,
        repairs: &Repairs,
    ) -> Result<(), Error> {
        let works: Vec<&Work<'_>> = self.works.iter().collect();
        let before = self.first_bytes();
        let all =
            |Progress { done, total }| (control.progress)(Progress { done: before + done, total: before + total });
        let control = Control { progress: &all, ..control };
        let converter = || {
            Converter::new(self.settings.level, self.weights, writer, repairs, self.buffers)
                .dividing(divisors)
                .taking(chosen)
        };
        self.each_chunk(&works, control, peak, converter, Converter::convert)
    }

    /// Does something with every chunk of these tensors, on all threads.
    fn each_chunk<'c>(
        &self,
        works: &[&Work<'_>],
        control: Control<'_>,
        peak: &Peak,
        converter: impl Fn() -> Converter<'c> + Send + Sync,
        act: impl Fn(&mut Converter<'c>, &Work<'_>, Range<usize>) -> Result<(), Error> + Send + Sync,
    ) -> Result<(), Error> {
        let threads = self.settings.threads.get();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let total = works.iter().map(|work| work.source_bytes()).sum();
        let done = AtomicU64::new(0);
        let ahead = ReadAhead::new(works, self.weights, total);
        ahead.after(0);
        let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let chunks = works.iter().flat_map(|work| work.chunks().map(move |rows| (*work, rows)));
        let queue = chunks.enumerate().take_while(|_| !stop.load(Relaxed) && !control.cancel.load(Relaxed));
        pool.install(|| {
            queue.par_bridge().for_each_init(converter, |converter, (number, (work, rows))| {
                let bytes = work.source_bytes_of(&rows);
                match act(converter, work, rows) {
                    Ok(()) => {
                        let done = done.fetch_add(bytes, Relaxed) + bytes;
                        ahead.after(done);
                        (control.progress)(Progress { done, total });
                        peak.sample();
                    }
                    Err(error) => {
                        // Chunks are handed out in order: every earlier one still ends, and can take this place.
                        stop.store(true, Relaxed);
                        let mut first = failure.lock().expect("no panic while locked");
                        if first.as_ref().is_none_or(|(earlier, _)| number < *earlier) {
                            *first = Some((number, error));
                        }
                    }
                }
            });
        });
        match failure.into_inner().expect("no panic while locked") {
            Some((_, error)) => Err(error),
            None if control.cancel.load(Relaxed) => Err(Error::Cancelled),
            None => Ok(()),
        }
    }
}
