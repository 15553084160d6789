//! One error type: what is wrong, where exactly, and what can be done about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::pickle;

/// Why a file cannot be read, laid out or written, with the place of the defect.
///
/// Match on [`Error::kind`]; the message names file, tensor or key, byte offset, cause and remedy.
#[derive(thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Placed>);

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
struct Placed {
    file: Option<PathBuf>,
    item: Option<Item>,
    offset: Option<u64>,
    kind: Kind,
}

/// The named thing inside a file that an error is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A tensor, by its name in the file.
    Tensor(String),
    /// A metadata key.
    Key(String),
    /// An entry of an importance matrix.
    Entry(String),
}

/// What is wrong. Numbers are those found in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// The operating system refused.
    #[error("cannot {action}: {error}")]
    Io {
        /// What was tried, as in `open`.
        action: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// A folder, pipe or device where a file is needed.
    #[error("not a regular file")]
    NotAFile,
    /// No known format has these first bytes or this name.
    #[error("unknown format: neither the first bytes nor the name are those of a safetensors, GGUF or PyTorch file")]
    UnknownFormat,
    /// A stand-in that Git leaves where the file itself was not fetched.
    #[error("a Git LFS pointer, not the file itself")]
    LfsPointer,
    /// The file does not begin as its format does.
    #[error("begins with \"{}\", not with {expected}", found.escape_ascii())]
    Magic {
        /// The first bytes, up to four.
        found: Vec<u8>,
        /// What they should be.
        expected: &'static str,
    },
    /// A GGUF file in big-endian byte order.
    #[error("a big-endian GGUF file")]
    BigEndian,
    /// A version of the format that this crate does not read.
    #[error("GGUF version {found}, readable are 2 and 3")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// The file ends inside something.
    #[error("the file ends inside {what}: {needed} bytes needed, {remaining} left")]
    Truncated {
        /// What is cut off, as in `a string`.
        what: &'static str,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes from its beginning to the end of the file.
        remaining: u64,
    },
    /// A count that the rest of the file cannot hold.
    #[error("declares {count} {what} of at least {each} bytes each, but only {remaining} bytes are left")]
    Count {
        /// Plural of what is counted.
        what: &'static str,
        /// The declared count.
        count: u64,
        /// Smallest size of one.
        each: u64,
        /// Bytes left in the file.
        remaining: u64,
    },
    /// A declared length above a limit of this crate.
    #[error("{what} of {length} bytes; the limit is {limit}")]
    TooLong {
        /// What has that length.
        what: &'static str,
        /// The declared length.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// Text that is not UTF-8.
    #[error("{what} is not UTF-8")]
    Utf8 {
        /// Which text.
        what: &'static str,
    },
    /// Text that is not the JSON that is needed.
    #[error("bad JSON: {reason}")]
    Json {
        /// What the parser said.
        reason: String,
    },
    /// A name or key without characters, or that the format reserves.
    #[error("{what} {name:?} is not allowed")]
    Name {
        /// What is named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A name that occurs twice.
    #[error("occurs twice")]
    Duplicate,
    /// A metadata type number that GGUF does not define.
    #[error("unknown metadata type {id}")]
    UnknownValueType {
        /// The number.
        id: u32,
    },
    /// A bool that is neither 0 nor 1.
    #[error("a bool of value {found}")]
    Bool {
        /// The byte.
        found: u8,
    },
    /// Arrays inside arrays, too deep.
    #[error("arrays nested more than {limit} deep")]
    Nesting {
        /// Levels that are read.
        limit: usize,
    },
    /// A metadata value of another type than the key has, or no value.
    #[error("must be {expected}, is {found}")]
    WrongType {
        /// Type that the key has.
        expected: &'static str,
        /// Type in the file, or `missing`.
        found: &'static str,
    },
    /// `general.alignment` that is no power of two or too large.
    #[error("alignment {found}; it must be a power of two up to {limit}")]
    Alignment {
        /// The value.
        found: u32,
        /// The largest that is read.
        limit: u32,
    },
    /// More or fewer dimensions than the format has.
    #[error("{found} dimensions; there must be 1 to {limit}")]
    Dimensions {
        /// Number of dimensions.
        found: u64,
        /// The most there can be.
        limit: u64,
    },
    /// A dimension of length zero.
    #[error("shape {shape:?} has a dimension of length zero")]
    ZeroDimension {
        /// Row-major shape.
        shape: Vec<u64>,
    },
    /// A product of dimensions, or a size, beyond 2^63.
    #[error("the size of shape {shape:?} overflows")]
    Overflow {
        /// Row-major shape.
        shape: Vec<u64>,
    },
    /// A tensor type that is not in the table of types.
    #[error("unknown tensor type {id}")]
    UnknownType {
        /// The number, or the name, that stands for the type in the file.
        id: String,
    },
    /// A type that the format to be written has no name for.
    #[error("{format} cannot hold tensors of type {dtype}")]
    Unrepresentable {
        /// Name of the format.
        format: &'static str,
        /// Name of the type.
        dtype: &'static str,
    },
    /// A row that does not consist of whole blocks.
    #[error("rows of {columns} weights are not a multiple of the {block} of a {dtype} block")]
    RowLength {
        /// Weights per row.
        columns: u64,
        /// Weights per block.
        block: u64,
        /// Name of the type.
        dtype: &'static str,
    },
    /// Shape and type need another number of bytes than the file gives.
    #[error("shape and type need {expected} bytes, the header gives it {found}")]
    Size {
        /// Bytes by shape and type.
        expected: u64,
        /// Bytes by the header's offsets.
        found: u64,
    },
    /// The tensor begins inside another one.
    #[error("begins {by} bytes before the end of tensor {other:?}")]
    Overlap {
        /// Tensor that ends later than this one begins.
        other: String,
        /// How much.
        by: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("{by} bytes before it belong to no tensor")]
    Gap {
        /// How many.
        by: u64,
    },
    /// An end before its beginning.
    #[error("ends at {end}, before its beginning at {begin}")]
    Reversed {
        /// First byte.
        begin: u64,
        /// End.
        end: u64,
    },
    /// Bytes after the last tensor.
    #[error("{by} bytes follow the last one")]
    Trailing {
        /// How many.
        by: u64,
    },
    /// Parts of a split model that do not fit together.
    #[error("{what} is {found}, expected {expected}")]
    Split {
        /// What was compared, as in `split.count`.
        what: &'static str,
        /// Value in the file.
        found: u64,
        /// Value by the other parts or the file's name.
        expected: u64,
    },
    /// A part whose name does not say which part it is.
    #[error("part of a split model, but the name does not end in -NNNNN-of-NNNNN.gguf")]
    SplitName,
    /// A file that the model consists of is not there.
    #[error("the model's file {name:?} is missing")]
    MissingFile {
        /// Name of the file, as the index or the numbering has it.
        name: String,
    },
    /// An index that points outside of its folder.
    #[error("{name:?} leads outside of the folder")]
    OutsideFolder {
        /// Name in the index.
        name: String,
    },
    /// A tensor that the index places in this file, which lacks it.
    #[error("the index places it in this file, which does not have it")]
    MissingTensor,
    /// A tensor of a shard that the index does not know, or places elsewhere.
    #[error("the index does not place it in this file")]
    Unlisted,
    /// A value that cannot be.
    #[error("value {index} is {found}")]
    BadValue {
        /// Position, counted from 0.
        index: u64,
        /// The value.
        found: f64,
    },
    /// A count that must be positive.
    #[error("{what} is {found}")]
    BadCount {
        /// Which count.
        what: &'static str,
        /// Its value.
        found: i64,
    },
    /// Sums and counts of an importance matrix do not belong together.
    #[error("{sums} sums do not divide among {counts} counts")]
    Counts {
        /// Number of sums.
        sums: u64,
        /// Number of counts.
        counts: u64,
    },
    /// Without this the entry cannot be used.
    #[error("has no {what}")]
    Incomplete {
        /// What is missing.
        what: &'static str,
    },
    /// Metadata that say something else than the tensors or tokens.
    #[error("the metadata declare {declared} {what}, there are {found}")]
    Declared {
        /// Plural of what is counted.
        what: &'static str,
        /// Number by the metadata.
        declared: u64,
        /// Number that is there.
        found: u64,
    },
    /// A declared number above a limit.
    #[error("{what} is {found}; the limit is {limit}")]
    Limit {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Rows that the heads cannot share.
    #[error("{rows} rows do not divide among {heads} heads")]
    Heads {
        /// Rows of the tensor.
        rows: u64,
        /// Heads by the metadata.
        heads: u64,
    },
    /// The output exists already.
    #[error("exists already")]
    Exists,
    /// Not enough room on the disk.
    #[error("no space: {needed} bytes needed, {available} available")]
    NoSpace {
        /// Length of the file.
        needed: u64,
        /// Free bytes on that file system.
        available: u64,
    },
    /// What only a pickled checkpoint can have.
    #[error(transparent)]
    Pickle(#[from] pickle::Defect),
    /// The file was changed after it was opened.
    #[error("changed while it was being read")]
    Changed,
}

impl Kind {
    /// What the user can do, where that is not plain from the cause.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Kind::NotAFile => "name a file",
            Kind::UnknownFormat => "give a .safetensors, .safetensors.index.json or .gguf file",
            Kind::LfsPointer => "fetch the file with git lfs pull",
            Kind::BigEndian => "convert it to little-endian with gguf_convert_endian.py",
            Kind::Version { .. } => "convert the model again with a current converter",
            Kind::Truncated { .. } | Kind::Count { .. } => "the file is incomplete or damaged: fetch it again",
            Kind::MissingFile { .. } => "fetch the missing file; all files of a model lie in one folder",
            Kind::SplitName => "give the files their names back, or merge them with llama-gguf-split --merge",
            Kind::Exists => "use --force to replace it, or name another output",
            Kind::NoSpace { .. } => "free some space, or name an output on another disk",
            Kind::Pickle(defect) => return defect.remedy(),
            Kind::Changed => "let nothing write to the file during the run",
            _ => return None,
        })
    }
}

impl Error {
    /// An error without a place.
    pub fn new(kind: Kind) -> Self {
        Error(Box::new(Placed { file: None, item: None, offset: None, kind }))
    }

    /// The system's error, and what was tried.
    pub fn io(action: &'static str, error: io::Error) -> Self {
        Error::new(Kind::Io { action, error })
    }

    /// Says in which file, unless that is known already.
    pub fn file(mut self, path: &Path) -> Self {
        self.0.file.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Says about which tensor, key or entry, unless that is known already.
    pub fn item(mut self, item: Item) -> Self {
        self.0.item.get_or_insert(item);
        self
    }

    /// Says at which byte of the file, unless that is known already.
    pub fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// What is wrong.
    pub fn kind(&self) -> &Kind {
        &self.0.kind
    }

    /// The file.
    pub fn in_file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// The tensor, key or entry.
    pub fn about(&self) -> Option<&Item> {
        self.0.item.as_ref()
    }

    /// Byte of the file at which the defect was found.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        if let Some(item) = &self.item {
            write!(f, "{item}: ")?;
        }
        write!(f, "{}", self.kind)?;
        if let Some(offset) = self.offset {
            write!(f, " (at byte {offset})")?;
        }
        match self.kind.remedy() {
            Some(remedy) => write!(f, "; {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Placed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.kind)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Item::Tensor(name) => write!(f, "tensor {name:?}"),
            Item::Key(name) => write!(f, "key {name:?}"),
            Item::Entry(name) => write!(f, "entry {name:?}"),
        }
    }
}
