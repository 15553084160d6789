//! The file systems that outputs go to, and the folders that are made for them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use weightmill_formats::output::free_space;

use super::Error;
use crate::plan::Plan;

/// A file system and what the outputs take of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// A folder in it: of the folder that outputs go to, the part that exists.
    pub folder: PathBuf,
    /// Bytes of the outputs.
    pub needed: u64,
    /// Bytes that can be written.
    pub free: u64,
    /// Whether that is enough.
    pub enough: bool,
}

impl Disk {
    /// Every file system that some output of `plan` goes to.
    ///
    /// # Errors
    /// If one does not say how full it is.
    pub fn of(plan: &Plan) -> Result<Vec<Disk>, Error> {
        let mut disks: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
        for part in super::outputs::parts(plan) {
            let folder = existing(folder(&part.path));
            let (_, bytes) = disks.entry(filesystem(folder)).or_insert_with(|| (folder.to_owned(), 0));
            *bytes = bytes.saturating_add(part.bytes);
        }
        let disks = disks.into_values().map(|(folder, needed)| {
            let free = free_space(&folder)?;
            Ok(Disk { folder, needed, free, enough: needed <= free })
        });
        disks.collect()
    }
}

/// Folders that were made for outputs. Unless they are kept, those that are still empty go again.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Outer ones before those inside them.
    made: Vec<PathBuf>,
}

impl Folders {
    /// Makes what is missing of the folders that the outputs of `plan` go to.
    ///
    /// # Errors
    /// If one cannot be made. Those made before go again.
    pub fn make(plan: &Plan) -> Result<Self, Error> {
        let mut folders = Folders::default();
        for part in super::outputs::parts(plan) {
            folders.make_one(folder(&part.path))?;
        }
        Ok(folders)
    }

    fn make_one(&mut self, wanted: &Path) -> Result<(), Error> {
        let missing: Vec<&Path> = wanted.ancestors().take_while(|folder| !is_there(folder)).collect();
        for folder in missing.into_iter().rev() {
            match fs::create_dir(folder) {
                Ok(()) => self.made.push(folder.to_owned()),
                // Somebody else made it meanwhile, and may want to keep it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(Error::Folder { folder: folder.to_owned(), error }),
            }
        }
        Ok(())
    }

    /// Leaves the folders where they are.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in self.made.iter().rev() {
            // Fails if something lies in it: that is not ours to remove.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Fails if something that is no folder is in the way of the folder for `path`.
pub(super) fn check_folder_of(path: &Path) -> Result<(), Error> {
    let found = existing(folder(path));
    if found.is_dir() { Ok(()) } else { Err(Error::NotAFolder { path: found.to_owned(), output: path.to_owned() }) }
}

/// The folder that a file is or would be in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The innermost part of a path that exists. Of a relative path that begins with what is missing, the current folder.
fn existing(folder: &Path) -> &Path {
    let found = folder.ancestors().find(|folder| is_there(folder)).filter(|folder| !folder.as_os_str().is_empty());
    found.unwrap_or(Path::new("."))
}

/// The empty path, of which relative ones are made, is the current folder. A link to nothing is there too.
fn is_there(folder: &Path) -> bool {
    folder.as_os_str().is_empty() || folder.symlink_metadata().is_ok()
}

/// A number that folders on one file system share.
#[cfg(unix)]
fn filesystem(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    folder.metadata().map_or(0, |metadata| metadata.dev())
}

/// Elsewhere all outputs are taken to share one file system, which asks for too much rather than too little.
#[cfg(not(unix))]
fn filesystem(_folder: &Path) -> u64 {
    0
}
