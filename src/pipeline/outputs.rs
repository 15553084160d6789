//! The files of all outputs: checked before the start, written beside their names, committed together.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use weightmill_formats::output::{self, check_target};
use weightmill_formats::{OutputFile, Source};

use super::Error;
use super::disk::{Disk, check_folder_of};
use super::work::Place;
use crate::plan::{OutputPlan, Part, Plan};

/// Bytes written to a file after which they are brought to the disk.
const FLUSH_BYTES: u64 = 64 << 20;

/// Checks that every output may be written and that there is room for all of them.
///
/// # Errors
/// If an output exists and `force` is not set, if an output is one of the inputs, or if the disk is too small.
pub fn check(plan: &Plan, source: &dyn Source, force: bool) -> Result<(), Error> {
    let inputs: Vec<PathBuf> = source.files().iter().filter_map(|path| path.canonicalize().ok()).collect();
    let folders = plan.outputs.iter().filter(|output| output.target.is_folder());
    folders.into_iter().try_for_each(check_folder)?;
    for part in parts(plan) {
        if part.path.canonicalize().is_ok_and(|path| inputs.contains(&path)) {
            return Err(Error::OutputIsInput { path: part.path.clone() });
        }
        check_folder_of(&part.path)?;
        check_target(&part.path, force)?;
    }
    match Disk::of(plan)?.into_iter().find(|disk| !disk.enough) {
        Some(Disk { folder, needed, free, .. }) => Err(Error::NoSpace { folder, needed, available: free }),
        None => Ok(()),
    }
}

/// Removes what killed runs left beside the same outputs, and returns the paths: see [`output::remove_stale`].
pub fn remove_stale(plan: &Plan) -> Vec<PathBuf> {
    parts(plan).flat_map(|part| output::remove_stale(&part.path)).collect()
}

/// Refuses a checkpoint folder in which other weights would lie beside those written: whatever opens it would mix them.
fn check_folder(output: &OutputPlan) -> Result<(), Error> {
    let Ok(entries) = output.path.read_dir() else { return Ok(()) };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let weights = name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json");
        if weights && !output.parts.iter().any(|part| part.path.file_name() == path.file_name()) {
            return Err(Error::OtherWeights { folder: output.path.clone(), file: name.into_owned() });
        }
    }
    Ok(())
}

/// Creates all files, with their headers.
pub(super) fn create(plan: &Plan, force: bool) -> Result<Vec<OutputFile>, Error> {
    let mut files = Vec::new();
    for part in parts(plan) {
        let file = OutputFile::create(&part.path, part.bytes, force)?;
        file.write_all_at(&part.header, 0)?;
        files.push(file);
    }
    Ok(files)
}

/// Writes to the files while a thread behind it keeps bringing them to the disk, so that little is left to wait for at
/// the end.
pub(super) struct Writer<'a> {
    files: &'a [OutputFile],
    /// Bytes written to each file.
    written: Vec<AtomicU64>,
    due: SyncSender<usize>,
}

impl Writer<'_> {
    /// Calls `work` with a writer; returns its result, or the first error of bringing files to the disk.
    pub fn with<T>(files: &[OutputFile], work: impl FnOnce(&Writer<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let (due, requests) = sync_channel::<usize>(1);
        thread::scope(|scope| {
            // Ends when the writer is dropped.
            let flusher = scope.spawn(move || requests.iter().try_for_each(|file| files[file].flush()));
            let written = files.iter().map(|_| AtomicU64::new(0)).collect();
            let result = work(&Writer { files, written, due });
            let flushed = flusher.join().expect("flushing does not panic");
            let result = result?;
            flushed?;
            Ok(result)
        })
    }

    /// Writes these bytes of a tensor, `within` bytes from its beginning.
    pub fn write(&self, place: Place, within: u64, bytes: &[u8]) -> Result<(), Error> {
        self.files[place.file].write_all_at(bytes, place.offset + within)?;
        let length = bytes.len() as u64;
        let before = self.written[place.file].fetch_add(length, Relaxed);
        if before / FLUSH_BYTES != (before + length) / FLUSH_BYTES {
            // If the thread is still busy, a later request will do.
            let _ = self.due.try_send(place.file);
        }
        Ok(())
    }
}

/// Puts everything on the disk, then gives every file its name.
///
/// # Errors
/// If nothing has its name yet when `cancel` is set, or if a file cannot be finished: says which are.
pub(super) fn commit(files: Vec<OutputFile>, cancel: &AtomicBool) -> Result<(), Error> {
    for file in &files {
        file.flush()?;
        if cancel.load(Relaxed) {
            return Err(Error::Cancelled);
        }
    }
    let mut finished = Vec::new();
    for file in files {
        let path = file.target().to_owned();
        match file.commit() {
            Ok(()) => finished.push(path),
            Err(error) if finished.is_empty() => return Err(error.into()),
            Err(source) => return Err(Error::PartlyCommitted { finished, source }),
        }
    }
    Ok(())
}

pub(super) fn parts(plan: &Plan) -> impl Iterator<Item = &Part> {
    plan.outputs.iter().flat_map(|output| &output.parts)
}
