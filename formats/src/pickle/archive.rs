//! The zip archive: where its entries lie.

use std::collections::HashMap;
use std::ops::Range;

use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

use super::Defect;
use crate::error::{Error, Item, Kind, Result};

/// Most entries that are read: more than twice the tensors of the largest published checkpoint.
const MAX_ENTRIES: usize = 1 << 18;

/// Longest name of an entry: a file's name, twice over, and the key of a storage.
const MAX_NAME: usize = 1 << 10;

/// The entry that holds the pickle, under the archive's one folder.
const PICKLE: &str = "data.pkl";

/// The entry that holds `little` or `big`. Files of torch before 2.1 have none and are little-endian.
const BYTE_ORDER: &str = "byteorder";

/// The directory of an archive.
pub(super) struct Archive<'a> {
    archive: ZipSliceArchive<&'a [u8]>,
    entries: HashMap<String, Entry>,
    /// Folder in the archive under which everything lies, with its slash; named after the file when that was saved.
    folder: String,
}

struct Entry {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    encrypted: bool,
}

impl<'a> Archive<'a> {
    /// Reads the directory. No entry is looked at yet.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        let archive = ZipArchive::from_slice(bytes).map_err(broken)?;
        let mut entries = HashMap::new();
        let mut folder = None;
        for record in archive.entries() {
            let record = record.map_err(broken)?;
            let fail = |found| Error::new(found).at(record.central_directory_offset());
            if entries.len() == MAX_ENTRIES {
                return Err(fail(Kind::Pickle(Defect::Entries { limit: MAX_ENTRIES })));
            }
            let name = record.file_path();
            if name.len() > MAX_NAME {
                let (length, limit) = (name.len() as u64, MAX_NAME as u64);
                return Err(fail(Kind::TooLong { what: "an entry's name", length, limit }));
            }
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let twice = || fail(Kind::Duplicate).item(Item::Entry(name.clone()));
            if let Some((above, PICKLE)) = name.rsplit_once('/') {
                // Two pickles would be two checkpoints.
                if folder.replace(format!("{above}/")).is_some() {
                    return Err(twice());
                }
            }
            if entries.contains_key(&name) {
                return Err(twice());
            }
            let (place, encrypted) = (record.wayfinder(), record.flags().is_encrypted());
            entries.insert(name, Entry { place, method: record.compression_method(), encrypted });
        }
        let folder = folder.ok_or_else(|| defect(Defect::NoEntry { name: PICKLE.to_owned() }))?;
        Ok(Archive { archive, entries, folder })
    }

    /// Where in the file the pickle lies.
    pub fn pickle(&self) -> Result<Range<u64>> {
        self.find(PICKLE)?.ok_or_else(|| defect(Defect::NoEntry { name: PICKLE.to_owned() }))
    }

    /// Where in the file the storage of this key lies.
    pub fn storage(&self, key: &str) -> Result<Range<u64>> {
        let name = format!("data/{key}");
        self.find(&name)?.ok_or_else(|| defect(Defect::NoEntry { name }))
    }

    /// Fails if the storages are not little-endian.
    pub fn check_byte_order(&self, bytes: &[u8]) -> Result<()> {
        let Some(range) = self.find(BYTE_ORDER)? else { return Ok(()) };
        match &bytes[range.start as usize..range.end as usize] {
            b"little" => Ok(()),
            b"big" => Err(defect(Defect::BigEndian)),
            other => Err(defect(Defect::ByteOrder { found: other[..other.len().min(16)].to_vec() })),
        }
    }

    /// Where in the file the bytes of an entry lie: stored as they are, and where both the archive's directory and the
    /// header in front of the entry say so.
    fn find(&self, name: &str) -> Result<Option<Range<u64>>> {
        let name = format!("{}{name}", self.folder);
        let Some(entry) = self.entries.get(&name) else { return Ok(None) };
        let fail = |error: Error| error.item(Item::Entry(name.clone()));
        let found = self.archive.get_entry(entry.place).map_err(|error| fail(broken(error)))?;
        let header = found.local_header();
        let (begin, end) = found.compressed_data_range();
        let check = || {
            if entry.encrypted || header.flags().is_encrypted() {
                return Err(Defect::NotStored { how: "encrypted" });
            }
            if entry.method != CompressionMethod::STORE || header.compression_method() != CompressionMethod::STORE {
                return Err(Defect::NotStored { how: "compressed" });
            }
            if header.file_path().as_bytes() != name.as_bytes() {
                return Err(Defect::Entry { what: "its name" });
            }
            if entry.place.compressed_size_hint() != entry.place.uncompressed_size_hint() {
                return Err(Defect::Entry { what: "its size, stored and as it is" });
            }
            // With a data descriptor the sizes in the entry's header are zero.
            if !header.flags().has_data_descriptor() && header.uncompressed_size_hint() != end - begin {
                return Err(Defect::Entry { what: "its size" });
            }
            Ok(())
        };
        check().map_err(|found| fail(defect(found).at(begin)))?;
        Ok(Some(begin..end))
    }
}

fn defect(defect: Defect) -> Error {
    Error::new(Kind::Pickle(defect))
}

fn broken(reason: impl ToString) -> Error {
    defect(Defect::Zip { reason: reason.to_string() })
}
