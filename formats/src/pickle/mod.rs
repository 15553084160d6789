//! PyTorch's own files (`.bin`, `.pt`, `.pth`): a zip archive whose entry `data.pkl` is a pickle that says how to
//! rebuild the tensors, and whose entries `data/KEY` are their storages.
//!
//! A pickle is a program, and Python runs it: it can call any function of the machine that opens it. Here nothing is
//! called. `machine` knows the opcodes that build containers, numbers and texts; the names that such a program may
//! refer to are the rows of `globals`, and each row stands for data, not for code. Whatever else is in a pickle is an
//! error with its name and place. Because a checkpoint in this form should be met with suspicion all the same,
//! [`crate::open`] refuses it: [`crate::open_as`] has to be told.
//!
//! The layout is that of torch 1.6 and later (torch/serialization.py, caffe2/serialize/inline_container.cc): entries
//! are stored, not compressed, so that tensors are views of the mapped file.

mod archive;
mod defect;
mod globals;
mod machine;
mod state_dict;
mod tensor;

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::index;
use crate::mapped::{MappedModel, check_total};
use crate::mmap::Map;
use crate::{Metadata, Source, TensorInfo};
use archive::Archive;

pub use defect::Defect;

/// First bytes of a zip archive that is not empty.
const ZIP: &[u8] = b"PK\x03\x04";

/// First bytes of torch's files before 1.6: a pickle of the number 0x1950a86a20f9469cfc6c.
const OLD: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether a file that begins like this is one: a zip archive, or a pickle as torch wrote it before 1.6.
pub fn sniff(head: &[u8]) -> bool {
    head.starts_with(ZIP) || head.starts_with(OLD)
}

/// What a pickled checkpoint holds, validated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// The dictionary's numbers and texts.
    pub metadata: Metadata,
    /// The dictionary's tensors in its order; `file` is 0. Several may share bytes: tied weights do.
    pub tensors: Vec<TensorInfo>,
}

/// Reads the archive's directory and its pickle from `bytes`, which are the whole file. `path` appears in errors only.
pub fn parse(bytes: &[u8], path: &Path) -> Result<Header> {
    if bytes.starts_with(OLD) {
        return Err(Error::new(Kind::Pickle(Defect::Old)).file(path));
    }
    if !bytes.starts_with(ZIP) {
        let found = bytes[..bytes.len().min(4)].to_vec();
        return Err(Error::new(Kind::Magic { found, expected: "those of a zip archive" }).file(path));
    }
    let header = (|| {
        let archive = Archive::open(bytes)?;
        archive.check_byte_order(bytes)?;
        let pickle = archive.pickle()?;
        let memory = machine::run(bytes, pickle, path)?;
        state_dict::read(&memory, &archive)
    })();
    let header = header.map_err(|error: Error| error.file(path))?;
    check_total(&header.tensors).map_err(|error| error.file(path))?;
    Ok(header)
}

/// Opens a single file. Shards need their index: [`open_index`].
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let map = Map::open(path)?;
    let Header { metadata, tensors } = parse(map.bytes(), path)?;
    Ok(Box::new(MappedModel::new("pickle", vec![map], metadata, tensors)))
}

/// Opens a `pytorch_model.bin.index.json` and all the shards that it names.
pub fn open_index(path: &Path) -> Result<Box<dyn Source>> {
    index::open("pickle", path, |bytes, path| {
        let Header { metadata, tensors } = parse(bytes, path)?;
        Ok((metadata, tensors))
    })
}
