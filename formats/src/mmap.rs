//! Read-only maps of files: the only unsafe code of this crate.
//!
//! A map shows the file as it is now, not as it was. If another process **shortens** the file during the run, reading
//! a page beyond the new end kills this process with SIGBUS (an access violation on Windows); nothing in safe Rust
//! can prevent that, and locks are advisory. If another process **changes** the bytes, we read the new ones: the result
//! is then neither file's, but all offsets were validated and copied on opening, so no access leaves the map.
//! [`Map::check_unchanged`], called before a result is published, turns the second case into an error. Who cannot rely
//! on the file being left alone copies it first.

use std::fs::{File, Metadata};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use crate::error::{Error, Kind, Result};

/// Unit of [`Map::release`]: a multiple of every page size in use (4, 16 and 64 KiB).
const GRANULE: usize = 64 << 10;

/// First bytes of what a clone without Git LFS has in place of every large file.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A whole file, mapped for reading.
#[derive(Debug)]
pub struct Map {
    path: PathBuf,
    file: File,
    opened: Metadata,
    map: Mmap,
}

/// How a range will be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// From the beginning to the end: read ahead.
    Sequential,
    /// Soon: begin reading now.
    WillNeed,
}

impl Map {
    /// Maps all of `path`, which must be a regular file (or a link to one).
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |action, error| Error::io(action, error).file(path);
        // Looked at before opening: opening a pipe would wait for a writer.
        if !std::fs::metadata(path).map_err(|e| fail("open", e))?.is_file() {
            return Err(Error::new(Kind::NotAFile).file(path));
        }
        let file = File::open(path).map_err(|e| fail("open", e))?;
        let opened = file.metadata().map_err(|e| fail("look at", e))?;
        if !opened.is_file() {
            return Err(Error::new(Kind::NotAFile).file(path));
        }
        let length = usize::try_from(opened.len()).map_err(|_| fail("map", std::io::ErrorKind::OutOfMemory.into()))?;
        // SAFETY: the map is read-only and lives as long as this struct, which owns the file. That nobody truncates
        // or writes the file meanwhile cannot be guaranteed on any system; the module documentation says what
        // happens then. Slices of the map are read as plain bytes, for which every value is valid.
        let map = unsafe { MmapOptions::new().len(length).map(&file) }.map_err(|e| fail("map", e))?;
        let map = Map { path: path.to_owned(), file, opened, map };
        // A file cut between the two calls would be mapped beyond its end.
        map.check_unchanged()?;
        if map.bytes().starts_with(LFS_POINTER) {
            return Err(Error::new(Kind::LfsPointer).file(path));
        }
        Ok(map)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The file's path, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the system drop the pages of `range` from this process's memory; they are read again from the file if
    /// touched. Whole granules of 64 KiB: both ends are rounded down, so that ranges released one after the other
    /// leave nothing behind. Advice only; failure is ignored.
    pub fn release(&self, range: Range<u64>) {
        let Some((begin, end)) = self.clamp(range) else { return };
        let begin = begin / GRANULE * GRANULE;
        // The last bytes of the file have no successor that would take the rest of their granule along.
        let end = if end == self.map.len() { end } else { end / GRANULE * GRANULE };
        if begin >= end {
            return;
        }
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: MADV_DONTNEED changes what is read from private or anonymous memory only. This is a shared map
            // of a file that we never write to: a page touched again is taken from the file and has the same content,
            // so slices that other threads hold stay valid.
            let _ = unsafe { self.map.unchecked_advise_range(DontNeed, begin, end - begin) };
        }
    }

    /// Tells the system how `range` will be read. Advice only; failure is ignored.
    pub fn advise(&self, access: Access, range: Range<u64>) {
        let Some((begin, end)) = self.clamp(range) else { return };
        #[cfg(unix)]
        {
            let advice = match access {
                Access::Sequential => memmap2::Advice::Sequential,
                Access::WillNeed => memmap2::Advice::WillNeed,
            };
            let _ = self.map.advise_range(advice, begin, end - begin);
        }
        #[cfg(not(unix))]
        let _ = (access, begin, end);
    }

    /// Fails with [`Kind::Changed`] if the file's length or time of modification is not that of when it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        let now = self.file.metadata().map_err(|e| Error::io("look at", e).file(&self.path))?;
        if now.len() != self.opened.len() || now.modified().ok() != self.opened.modified().ok() {
            return Err(Error::new(Kind::Changed).file(&self.path));
        }
        Ok(())
    }

    fn clamp(&self, range: Range<u64>) -> Option<(usize, usize)> {
        let end = range.end.min(self.map.len() as u64);
        (range.start < end).then_some((range.start as usize, end as usize))
    }
}
