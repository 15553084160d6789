//! Writes PyTorch files, sound ones as torch writes them and broken ones.
#![allow(dead_code)] // each test binary uses its part

use std::path::Path;

use weightmill_formats::Result;
use weightmill_formats::pickle::{Header, parse};

/// A pickle under construction, protocol 2.
#[derive(Clone)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Pickle(vec![0x80, 2])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn text(self, text: &str) -> Self {
        self.raw(b"X").raw(&(text.len() as u32).to_le_bytes()).raw(text.as_bytes())
    }

    /// An integer, as LONG1 writes it.
    pub fn integer(self, number: i64) -> Self {
        self.raw(&[0x8a, 8]).raw(&number.to_le_bytes())
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.raw(b"c").raw(module.as_bytes()).raw(b"\n").raw(name.as_bytes()).raw(b"\n")
    }

    /// A tuple of integers.
    pub fn integers(self, numbers: &[i64]) -> Self {
        numbers.iter().fold(self.raw(b"("), |pickle, &number| pickle.integer(number)).raw(b"t")
    }

    /// A storage of so many elements.
    pub fn storage(self, class: &str, key: &str, elements: i64) -> Self {
        let (module, class) = class.rsplit_once('.').unwrap_or(("torch", class));
        self.raw(b"(").text("storage").global(module, class).text(key).text("cpu").integer(elements).raw(b"tQ")
    }

    /// A tensor that is a view of a storage of so many elements.
    pub fn tensor(
        self,
        (class, key, elements): (&str, &str, i64),
        offset: i64,
        shape: &[i64],
        strides: &[i64],
    ) -> Self {
        let begun = self.global("torch._utils", "_rebuild_tensor_v2").raw(b"(").storage(class, key, elements);
        begun.integer(offset).integers(shape).integers(strides).raw(b"\x89").ordered_dict().raw(b"tR")
    }

    pub fn ordered_dict(self) -> Self {
        self.global("collections", "OrderedDict").raw(b")R")
    }

    /// STOP: the pickle as bytes.
    pub fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// Row-major strides.
pub fn strides(shape: &[i64]) -> Vec<i64> {
    let mut strides = vec![1; shape.len()];
    for n in (1..shape.len()).rev() {
        strides[n - 1] = strides[n] * shape[n];
    }
    strides
}

/// An entry of a zip archive, and what its headers say of it.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    /// The name in front of the entry.
    pub local_name: String,
    pub bytes: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    /// Sizes in front of the entry are zero and follow it, as a stream would be written.
    pub descriptor: bool,
    /// Sizes and place stand in a 64-bit extra field.
    pub zip64: bool,
    /// Size that both headers claim, if not that of the bytes.
    pub claimed: Option<u64>,
}

impl Entry {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        Entry {
            name: name.to_owned(),
            local_name: name.to_owned(),
            bytes: bytes.to_vec(),
            method: 0,
            flags: 0,
            descriptor: false,
            zip64: false,
            claimed: None,
        }
    }
}

/// An archive of entries that are stored, not compressed.
pub fn zip(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let begin = file.len() as u64;
        let size = entry.claimed.unwrap_or(entry.bytes.len() as u64);
        let flags = entry.flags | if entry.descriptor { 8 } else { 0 };
        let local_size = if entry.descriptor { 0 } else { size };
        // Version needed, flags, method, time, date, checksum (which nobody compares).
        let common = |out: &mut Vec<u8>| {
            for field in [45, flags, entry.method, 0, 0x5821] {
                out.extend(field.to_le_bytes());
            }
            out.extend([0; 4]);
        };
        let extra = |numbers: &[u64]| {
            let mut out = Vec::new();
            if entry.zip64 {
                out.extend(1u16.to_le_bytes());
                out.extend((numbers.len() as u16 * 8).to_le_bytes());
                numbers.iter().for_each(|number| out.extend(number.to_le_bytes()));
            }
            out
        };
        let short = |number: u64| if entry.zip64 { u32::MAX } else { number as u32 }.to_le_bytes();

        file.extend(b"PK\x03\x04");
        common(&mut file);
        let local_extra = extra(&[local_size, local_size]);
        file.extend([short(local_size), short(local_size)].concat());
        file.extend((entry.local_name.len() as u16).to_le_bytes());
        file.extend((local_extra.len() as u16).to_le_bytes());
        file.extend([entry.local_name.as_bytes(), &local_extra, &entry.bytes].concat());
        if entry.descriptor {
            file.extend(b"PK\x07\x08\0\0\0\0");
            file.extend([(size as u32).to_le_bytes(), (size as u32).to_le_bytes()].concat());
        }

        directory.extend(b"PK\x01\x02\x2d\0");
        common(&mut directory);
        let extra = extra(&[size, size, begin]);
        directory.extend([short(size), short(size)].concat());
        directory.extend((entry.name.len() as u16).to_le_bytes());
        directory.extend((extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]); // comment, disk, attributes
        directory.extend(short(begin));
        directory.extend([entry.name.as_bytes(), &extra].concat());
    }
    let (at, count) = (file.len() as u32, entries.len() as u16);
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend([(directory.len() as u32).to_le_bytes(), at.to_le_bytes()].concat());
    file.extend([0; 2]);
    file
}

/// A checkpoint around this pickle, with storages by key.
pub fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    zip(&entries(pickle, storages))
}

/// The entries of [`archive`].
pub fn entries(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<Entry> {
    let mut entries = vec![
        Entry::new("model/data.pkl", pickle),
        Entry::new("model/byteorder", b"little"),
        Entry::new("model/version", b"3\n"),
    ];
    entries.extend(storages.iter().map(|(key, bytes)| Entry::new(&format!("model/data/{key}"), bytes)));
    entries
}

/// A tensor to write: name, storage class, size of an element, shape, bytes.
pub type Stored<'a> = (&'a str, &'a str, usize, Vec<i64>, &'a [u8]);

/// The state dictionary of these tensors, each with a storage of its own.
pub fn state_dict(tensors: &[Stored<'_>]) -> Vec<u8> {
    let mut pickle = Pickle::new().ordered_dict().raw(b"(");
    let keys: Vec<String> = (0..tensors.len()).map(|n| n.to_string()).collect();
    for ((name, class, size, shape, bytes), key) in tensors.iter().zip(&keys) {
        let elements = (bytes.len() / size) as i64;
        pickle = pickle.text(name).tensor((class, key, elements), 0, shape, &strides(shape));
    }
    let storages: Vec<(&str, &[u8])> = keys.iter().zip(tensors).map(|(key, tensor)| (key.as_str(), tensor.4)).collect();
    archive(&pickle.raw(b"u").end(), &storages)
}

/// Header and name in front of the first entry.
pub const PICKLE: u64 = 30 + "model/data.pkl".len() as u64;

/// Storage 0 of [`with_pickle`].
pub const FLOATS: (&str, &str, i64) = ("FloatStorage", "0", 4);

/// Reads the bytes of a whole file.
pub fn read(bytes: &[u8]) -> Result<Header> {
    parse(bytes, Path::new("model.bin"))
}

/// A checkpoint whose pickle is this, with four f32 as storage 0. The pickle begins at byte [`PICKLE`].
pub fn with_pickle(pickle: Pickle) -> Result<Header> {
    read(&archive(&pickle.end(), &[("0", &[0; 16])]))
}

/// A dictionary of one tensor `t`.
pub fn one(tensor: impl FnOnce(Pickle) -> Pickle) -> Result<Header> {
    with_pickle(tensor(Pickle::new().raw(b"}").text("t")).raw(b"s"))
}

/// The offset behind these bytes of pickle.
pub fn after(pickle: &Pickle) -> Option<u64> {
    Some(PICKLE + pickle.0.len() as u64)
}
