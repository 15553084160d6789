//! What has been rounded, in a folder beside the output until the run ends: so that a run that was interrupted goes on where
//! it stopped.
//!
//! A file per tensor and type appears under its name when it is complete. It holds the tensor's bytes, as the output will
//! have them, and after them what is known of the rounding.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use weightmill_formats::OutputFile;

use super::Error;
use super::report::Figures;
use crate::{forward, pipeline};

/// Name of the file that says which run the results belong to.
const MANIFEST: &str = "run.json";

/// A folder of results.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    /// The run found it with results.
    resumed: bool,
}

impl Store {
    /// The folder for an output that goes to `output`.
    pub fn folder(output: &Path) -> PathBuf {
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        output.with_file_name(format!(".{name}.rounding"))
    }

    /// Opens the folder, or makes it. `run` is everything that the results depend on.
    ///
    /// # Errors
    /// If it holds results of another run, unless they may be removed, or if it cannot be made.
    pub(super) fn open(folder: PathBuf, run: &Json, force: bool) -> Result<Self, Error> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |error| Error::Folder { path, action, error }
        };
        let manifest = folder.join(MANIFEST);
        if folder.exists() {
            let found = fs::read(&manifest).ok().and_then(|bytes| serde_json::from_slice::<Json>(&bytes).ok());
            match found {
                Some(found) if found == *run => return Ok(Self { folder, resumed: true }),
                // Killed before there was a result.
                None if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none()) => {}
                _ if force => fs::remove_dir_all(&folder).map_err(failed(&folder, "remove"))?,
                _ => return Err(Error::OtherRun { folder }),
            }
        }
        fs::create_dir_all(&folder).map_err(failed(&folder, "make"))?;
        let text = serde_json::to_vec_pretty(run).expect("plain data");
        let file = OutputFile::create(&manifest, text.len() as u64, true)?;
        file.write_all_at(&text, 0)?;
        file.commit()?;
        Ok(Self { folder, resumed: false })
    }

    /// True if an earlier run left results.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The error of a run that the model's ended; one that was cancelled goes on from here.
    pub(super) fn stopped(&self, error: forward::Error) -> Error {
        match error {
            forward::Error::Cancelled => Error::Cancelled { folder: self.folder.clone() },
            error => Error::Forward(error),
        }
    }

    /// Removes it with everything in it.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        fs::remove_dir_all(&self.folder).map_err(|error| Error::Folder { path: self.folder, action: "remove", error })
    }

    /// The file of a result.
    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:06}"))
    }

    /// Begins the file of a result of so many bytes.
    pub(super) fn create(&self, number: usize, bytes: u64) -> Result<Writing, Error> {
        let file = OutputFile::create(&self.file(number), bytes + Figures::BYTES as u64, true)?;
        Ok(Writing { file, bytes })
    }

    /// What is known of a result; none if there is none yet.
    pub(super) fn figures(&self, number: usize, bytes: u64) -> Option<Figures> {
        let mut file = File::open(self.file(number)).ok()?;
        let mut end = [0; Figures::BYTES];
        file.seek(SeekFrom::Start(bytes)).ok()?;
        file.read_exact(&mut end).ok()?;
        Some(Figures::from_bytes(&end))
    }

    /// Reads bytes of a result from `offset` on.
    pub(super) fn read(&self, number: usize, offset: u64, bytes: &mut [u8]) -> Result<(), pipeline::Error> {
        let path = self.file(number);
        let mut read = || {
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(bytes)
        };
        read().map_err(|error| pipeline::Error::Chosen { path: path.clone(), error })
    }
}

/// A result that is being written.
pub(super) struct Writing {
    file: OutputFile,
    bytes: u64,
}

impl Writing {
    /// Writes bytes at their place; from any thread.
    pub fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        Ok(self.file.write_all_at(bytes, offset)?)
    }

    /// Ends it.
    pub fn finish(self, figures: &Figures) -> Result<(), Error> {
        self.file.write_all_at(&figures.to_bytes(), self.bytes)?;
        Ok(self.file.commit()?)
    }
}

/// Length and time of change of files, by which a run is told from another.
pub(super) fn state_of(files: &[&Path]) -> Json {
    let states = files.iter().map(|path| {
        let found = fs::metadata(path).ok();
        let changed =
            found.as_ref().and_then(|found| found.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        json!([name, found.map_or(0, |found| found.len()), changed.map_or(0, |changed| changed.as_nanos() as u64)])
    });
    states.collect()
}
