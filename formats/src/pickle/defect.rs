//! What can be wrong with a pickled checkpoint.

/// What is wrong with a pickled checkpoint. Numbers and names are those found in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Defect {
    /// Pickles were not to be opened.
    #[error("a PyTorch pickle, a form that can hold code, so it is not opened")]
    Refused,
    /// A file of torch before 1.6.
    #[error("a PyTorch pickle of the form before torch 1.6, which is not read")]
    Old,
    /// The archive around the pickle is broken.
    #[error("not a sound zip archive: {reason}")]
    Zip {
        /// What the reader of archives said.
        reason: String,
    },
    /// More entries than any checkpoint has.
    #[error("an archive of more than {limit} entries")]
    Entries {
        /// The most that are read.
        limit: usize,
    },
    /// An entry that must be there.
    #[error("the archive has no entry {name:?}")]
    NoEntry {
        /// Its name.
        name: String,
    },
    /// The entry's own header and the archive's directory say different things.
    #[error("the header in front of the entry differs from the archive's directory: {what}")]
    Entry {
        /// What differs.
        what: &'static str,
    },
    /// An entry whose bytes are not there as they are.
    #[error("the entry is {how}")]
    NotStored {
        /// `compressed` or `encrypted`.
        how: &'static str,
    },
    /// Written on a big-endian computer.
    #[error("a checkpoint in big-endian byte order")]
    BigEndian,
    /// A byte order that does not exist.
    #[error("byte order \"{}\"", found.escape_ascii())]
    ByteOrder {
        /// The entry's first bytes.
        found: Vec<u8>,
    },
    /// A version of the pickle protocol that torch does not write.
    #[error("pickle protocol {found}; torch writes 2 to 5")]
    Protocol {
        /// The version.
        found: u8,
    },
    /// An instruction that rebuilding tensors does not need.
    #[error("the pickle's instruction {opcode:#04x} is not among those that rebuild tensors; nothing was run")]
    Opcode {
        /// The instruction's byte.
        opcode: u8,
    },
    /// A class or function that rebuilding tensors does not need.
    #[error("the pickle refers to {name:?}, which is not needed to rebuild tensors; nothing was run")]
    Global {
        /// Module and name, as in `os.system`.
        name: String,
    },
    /// The program makes no sense.
    #[error("a broken pickle: {0}")]
    Program(&'static str),
    /// More of something than any checkpoint has.
    #[error("the pickle has more than {limit} {what}")]
    TooMany {
        /// Plural of what is counted.
        what: &'static str,
        /// The most there can be.
        limit: usize,
    },
    /// The pickle is sound, but no dictionary of tensors.
    #[error("holds no dictionary of tensors")]
    NoTensors,
    /// An entry of the dictionary that is neither tensor nor number nor text.
    #[error("the entry is a {found}, where a tensor, number or text is expected")]
    NotTensor {
        /// What it is.
        found: &'static str,
    },
    /// A tensor that does not have its elements one after the other.
    #[error("shape {shape:?} with strides {strides:?}: the weights do not lie row after row")]
    Strided {
        /// Row-major shape.
        shape: Vec<u64>,
        /// Distance of neighbours in every dimension, in elements.
        strides: Vec<i64>,
    },
    /// A tensor that does not lie inside its storage.
    #[error("ends at byte {end} of a storage of {length}")]
    OutsideStorage {
        /// End of the tensor.
        end: u64,
        /// Length of the storage.
        length: u64,
    },
}

impl Defect {
    /// What the user can do, where that is not plain from the cause.
    pub fn remedy(&self) -> Option<&'static str> {
        Some(match self {
            Defect::Refused => {
                "use the model's safetensors files, or add --allow-pickle: tensors are then rebuilt without running \
                 anything in the file"
            }
            Defect::Old | Defect::NotStored { how: "compressed" } => {
                "load it with torch in a safe place and save it again, best as safetensors"
            }
            Defect::Strided { .. } => "save the tensor after calling contiguous() on it",
            Defect::BigEndian => "load it with torch and save it again on a little-endian computer",
            Defect::Opcode { .. } | Defect::Global { .. } => {
                "do not open the file with torch unless you trust its maker; use the model's safetensors files"
            }
            _ => return None,
        })
    }
}
