//! Output that appears under its name only when it is complete.
//!
//! Everything is written to a sibling temporary file, `.NAME.XXXXXX.partial`, in any order and from any number of
//! threads, and takes its final name by one rename. Whatever ends the run before that leaves nothing under the
//! final name; dropping an [`OutputFile`] removes the temporary file.
//!
//! Only a process that is killed leaves its temporary file behind. As long as it lives it holds a lock on the file, which the
//! system releases with the process: so [`remove_stale`] can tell a file that nobody writes any more.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use fs4::FileExt as _;
use tempfile::{Builder, NamedTempFile};

use crate::error::{Error, Kind, Result};

/// How the names of temporary files end, and the random letters and digits before that.
const SUFFIX: &str = ".partial";
const RANDOM: usize = 6;

/// A file of known length that is being written.
#[derive(Debug)]
pub struct OutputFile {
    temporary: NamedTempFile,
    target: PathBuf,
    length: u64,
    force: bool,
}

impl OutputFile {
    /// Reserves `length` bytes of zeros beside `target`, whose folder must exist.
    ///
    /// Fails with [`Kind::Exists`] if there is anything under that name, be it a dangling symbolic link, and `force`
    /// is not set; with [`Kind::NoSpace`] if the disk cannot hold the file. `force` replaces a file or a link (never
    /// what a link points to), but not a folder.
    pub fn create(target: &Path, length: u64, force: bool) -> Result<Self> {
        let fail = |error: Error| error.file(target);
        check_target(target, force)?;
        let name = target.file_name().ok_or_else(|| fail(Error::new(Kind::NotAFile)))?;
        let prefix = prefix(name);
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        {
            // As an ordinary new file would have it; the process's umask applies. The default is 0600.
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let create = || builder.tempfile_in(folder(target)).map_err(|e| fail(Error::io("create a file beside", e)));
        let mut temporary = create()?;
        // Another process may have taken it for a stale one before it was locked.
        while !lock(temporary.as_file()) {
            temporary = create()?;
        }
        let output = OutputFile { temporary, target: target.to_owned(), length, force };
        output.reserve()?;
        Ok(output)
    }

    /// Allocates the blocks, so that a full disk is known now and not after hours.
    fn reserve(&self) -> Result<()> {
        let file = self.temporary.as_file();
        // Asked first, because an allocation that fails may have taken all that was left for a moment.
        if let Ok(available) = fs4::available_space(folder(&self.target))
            && available < self.length
        {
            return Err(Error::new(Kind::NoSpace { needed: self.length, available }).file(&self.target));
        }
        // Some file systems cannot allocate; then the length alone is set.
        if self.length > 0
            && let Err(error) = file.allocate(self.length)
            && error.kind() != io::ErrorKind::Unsupported
        {
            return Err(self.failed("allocate", error));
        }
        file.set_len(self.length).map_err(|e| self.failed("set the length of", e))
    }

    /// Writes `bytes` at `offset`. Callable from many threads at once; ranges must not overlap.
    ///
    /// # Panics
    ///
    /// If the range ends beyond the length given to [`OutputFile::create`].
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= self.length), "bytes {offset}+{} of {}", bytes.len(), self.length);
        write_all_at(self.temporary.as_file(), bytes, offset).map_err(|e| self.failed("write", e).at(offset))
    }

    /// Forces what has been written so far to the disk. [`OutputFile::commit`] does so too, but then has less to wait
    /// for.
    pub fn flush(&self) -> Result<()> {
        self.temporary.as_file().sync_data().map_err(|e| self.failed("flush", e))
    }

    /// Path of the final file.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Path of the temporary file.
    pub fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Forces the bytes to the disk and gives the file its name. Without `force` a file that has appeared there
    /// meanwhile is left alone: [`Kind::Exists`].
    pub fn commit(self) -> Result<()> {
        let OutputFile { temporary, target, force, .. } = self;
        let fail = |action, error| Error::io(action, error).file(&target);
        temporary.as_file().sync_all().map_err(|e| fail("flush", e))?;
        let named = if force { temporary.persist(&target) } else { temporary.persist_noclobber(&target) };
        named.map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => Error::new(Kind::Exists).file(&target),
            _ => fail("rename the finished file to", e.error),
        })?;
        sync_folder(folder(&target)).map_err(|e| fail("flush the folder of", e))
    }

    fn failed(&self, action: &'static str, error: io::Error) -> Error {
        let error = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let available = fs4::available_space(folder(&self.target)).unwrap_or(0);
                Error::new(Kind::NoSpace { needed: self.length, available })
            }
            _ => Error::io(action, error),
        };
        error.file(&self.target)
    }
}

/// Fails as [`OutputFile::create`] does if `target` must not be written, for checks before a long run.
pub fn check_target(target: &Path, force: bool) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() || is_special(target) => Err(Error::new(Kind::NotAFile).file(target)),
        Ok(_) if !force => Err(Error::new(Kind::Exists).file(target)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("look at", error).file(target)),
    }
}

/// Removes what killed processes left of earlier attempts to write `target`: regular files beside it that are named as
/// [`OutputFile`] names its temporary ones and that no process holds. Returns their paths. What cannot be looked into or
/// removed stays.
pub fn remove_stale(target: &Path) -> Vec<PathBuf> {
    let Some(prefix) = target.file_name().map(prefix) else { return Vec::new() };
    let is_temporary = |name: &OsStr| {
        let middle = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let middle = middle.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        middle.is_some_and(|middle| middle.len() == RANDOM && middle.iter().all(u8::is_ascii_alphanumeric))
    };
    let Ok(entries) = folder(target).read_dir() else { return Vec::new() };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name())).filter(|name| is_temporary(name));
    names.map(|name| folder(target).join(name)).filter(|path| is_stale(path) && fs::remove_file(path).is_ok()).collect()
}

/// True for a regular file that no process has locked.
fn is_stale(path: &Path) -> bool {
    let regular = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    regular && File::options().write(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Locks a temporary file; false if it has lost its name meanwhile. File systems without locks have no stale files either:
/// none there can be told from one that is being written.
fn lock(file: &File) -> bool {
    let _ = file.lock();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        file.metadata().is_ok_and(|found| found.nlink() > 0)
    }
    #[cfg(not(unix))]
    true
}

/// How the names of temporary files begin.
fn prefix(name: &OsStr) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// True for devices, pipes and links to them: a rename would put a file in place of `/dev/null`.
fn is_special(target: &Path) -> bool {
    fs::metadata(target).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Bytes that an unprivileged user can still write where `path` is or would be: an existing folder, or a file
/// (existing or not) in an existing folder.
pub fn free_space(path: &Path) -> Result<u64> {
    let place = if path.is_dir() { path } else { folder(path) };
    fs4::available_space(place).map_err(|e| Error::io("find the free space at", e).file(path))
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        offset += written as u64;
    }
    Ok(())
}

/// A rename is on the disk only once its folder is.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
