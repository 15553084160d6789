//! Model files as memory-mapped sources of tensors, and lay-out-first writers for them.
//!
//! A reader validates the whole header before it hands out a single view; a writer knows every offset before
//! the first byte is written. Numbers in headers are hostile until checked: compared with the bytes that are left
//! before anything is allocated, multiplied with overflow checks, bounded by named limits. What is wrong with a file
//! is said by one [`Error`] with its place.
#![deny(unsafe_code)]

mod cursor;
mod error;
pub mod gguf;
pub mod imatrix;
mod index;
mod json;
mod layout;
mod mapped;
mod metadata;
#[allow(unsafe_code)]
pub mod mmap;
pub mod output;
pub mod pickle;
pub mod safetensors;
mod source;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

pub use error::{Error, Item, Kind, Result};
pub use imatrix::{Imatrix, Importance};
pub use layout::{Layout, TensorSpec};
pub use metadata::{Array, Metadata, Value};
pub use output::OutputFile;
pub use source::{Source, TensorInfo};

/// Bytes of the beginning of a file that tell its format.
pub const HEAD: usize = 16;

/// A format that can be opened: one row of [`FORMATS`].
pub struct Format {
    /// Its name.
    pub name: &'static str,
    /// How the names of its files end, in lower case.
    pub suffixes: &'static [&'static str],
    /// Whether it is Python's pickle, which can hold code and is opened on request only.
    pub pickle: bool,
    /// Whether a file that begins with these bytes (up to [`HEAD`]) has this format.
    pub sniff: fn(head: &[u8]) -> bool,
    /// Opens a file.
    pub open: fn(path: &Path) -> Result<Box<dyn Source>>,
}

/// All formats. Content decides before the name does, earlier rows before later ones.
pub static FORMATS: [Format; 5] = [
    Format {
        name: "gguf",
        suffixes: &[".gguf"],
        pickle: false,
        sniff: |head| head.starts_with(gguf::MAGIC),
        open: gguf::open,
    },
    Format {
        name: "safetensors",
        suffixes: &[".safetensors"],
        pickle: false,
        sniff: safetensors::sniff,
        open: safetensors::open,
    },
    Format {
        name: "safetensors index",
        suffixes: &[".safetensors.index.json"],
        pickle: false,
        sniff: |_| false,
        open: safetensors::open_index,
    },
    Format {
        name: "pickle",
        suffixes: &[".bin", ".pt", ".pth", ".ckpt"],
        pickle: true,
        sniff: pickle::sniff,
        open: pickle::open,
    },
    Format {
        name: "pickle index",
        suffixes: &[".bin.index.json"],
        pickle: true,
        sniff: |_| false,
        open: pickle::open_index,
    },
];

/// Whether [`open_as`] opens PyTorch's pickles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pickles {
    /// [`pickle::Defect::Refused`].
    #[default]
    Refuse,
    /// Their tensors are rebuilt without running anything in them: see [`pickle`].
    Allow,
}

/// Opens a model: a safetensors file, a `.safetensors.index.json` with all its shards, or a GGUF file with all its
/// parts. The first bytes tell the format; where they do not, the name does, so that a damaged file is judged as what
/// it claims to be. Pickles are refused: [`open_as`].
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    open_as(path, Pickles::Refuse)
}

/// Opens a model as [`open`] does, and pickles if they are allowed.
pub fn open_as(path: &Path, pickles: Pickles) -> Result<Box<dyn Source>> {
    let head = read_head(path).map_err(|e| e.file(path))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let by_name = |format: &&Format| format.suffixes.iter().any(|suffix| name.ends_with(suffix));
    match FORMATS.iter().find(|format| (format.sniff)(&head)).or_else(|| FORMATS.iter().find(by_name)) {
        Some(format) if format.pickle && pickles == Pickles::Refuse => {
            Err(Error::new(Kind::Pickle(pickle::Defect::Refused)).file(path))
        }
        Some(format) => (format.open)(path),
        None => Err(Error::new(Kind::UnknownFormat).file(path)),
    }
}

fn read_head(path: &Path) -> Result<Vec<u8>> {
    let fail = |error: io::Error| Error::io("open", error);
    // Looked at before opening: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(fail)?.is_file() {
        return Err(Error::new(Kind::NotAFile));
    }
    let mut head = Vec::with_capacity(HEAD);
    File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)).map_err(fail)?;
    Ok(head)
}
