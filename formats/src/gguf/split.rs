//! Opening GGUF files, those of several parts included: `NAME-00001-of-00003.gguf` and its siblings.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use super::{Header, SPLIT_COUNT, SPLIT_NO, SPLIT_TENSORS, parse};
use crate::error::{Error, Item, Kind, Result};
use crate::mapped::MappedModel;
use crate::mmap::Map;
use crate::{Metadata, Source};

/// What the name of a part says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartName {
    /// The name before `-00001-of-00003.gguf`.
    pub stem: String,
    /// Which part, counted from 0 as in the key `split.no` (the name counts from 1).
    pub number: u16,
    /// How many parts.
    pub count: u16,
}

impl PartName {
    /// Takes the name of a file apart; `None` if it is not that of a part.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
        let (rest, count) = name.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| -> Option<u16> {
            (text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
        };
        let (number, count) = (digits(number)?.checked_sub(1)?, digits(count)?);
        (number < count).then(|| PartName { stem: stem.to_owned(), number, count })
    }
}

/// Name of part `number` (from 0) of `count`, as llama.cpp writes it.
pub fn part_name(stem: &str, number: u16, count: u16) -> String {
    format!("{stem}-{:05}-of-{count:05}.gguf", u32::from(number) + 1)
}

/// Opens a GGUF file. Given any part of a split model, opens all of its parts; metadata are those of the first.
pub fn open(path: &Path) -> Result<Box<dyn Source>> {
    let map = Map::open(path)?;
    let header = parse(map.bytes(), path)?;
    let given = Given::of(&header.metadata).map_err(|e| e.file(path))?;
    if given.count <= 1 {
        return Ok(Box::new(MappedModel::new("gguf", vec![map], header.metadata, header.tensors)));
    }
    let name = PartName::of(path).ok_or_else(|| Error::new(Kind::SplitName).file(path))?;
    given.check(name.number, name.count).map_err(|e| e.file(path))?;

    let mut opened = Some((map, header, given));
    let (mut maps, mut first, mut tensors) = (Vec::new(), None, Vec::new());
    let mut names = HashSet::new();
    let mut declared = Vec::new();
    for number in 0..name.count {
        let (map, header, given) = match opened.take_if(|_| number == name.number) {
            Some(part) => part,
            None => open_part(path, &name, number)?,
        };
        for mut tensor in header.tensors {
            if !names.insert(tensor.name.clone()) {
                let error = Error::new(Kind::Duplicate).file(map.path()).item(Item::Tensor(tensor.name));
                return Err(error.at(tensor.offset));
            }
            tensor.file = maps.len();
            tensors.push(tensor);
        }
        maps.push(map);
        declared.push(given.tensors);
        first.get_or_insert(header.metadata);
    }
    let expected = tensors.len() as u64;
    for (map, found) in maps.iter().zip(declared) {
        same(SPLIT_TENSORS, found, expected).map_err(|e| e.file(map.path()))?;
    }
    Ok(Box::new(MappedModel::new("gguf", maps, first.unwrap_or_default(), tensors)))
}

fn open_part(given: &Path, name: &PartName, number: u16) -> Result<(Map, Header, Given)> {
    let file = part_name(&name.stem, number, name.count);
    let path = given.with_file_name(&file);
    let map = Map::open(&path).map_err(|error| match error.kind() {
        Kind::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            Error::new(Kind::MissingFile { name: file }).file(given)
        }
        _ => error,
    })?;
    let header = parse(map.bytes(), &path)?;
    let given = Given::of(&header.metadata).map_err(|e| e.file(&path))?;
    given.check(number, name.count).map_err(|e| e.file(&path))?;
    Ok((map, header, given))
}

/// The three keys of a part. llama.cpp writes them as u16, u16 and i32; any integer is read.
struct Given {
    number: u64,
    count: u64,
    tensors: u64,
}

impl Given {
    fn of(metadata: &Metadata) -> Result<Self> {
        let read = |key: &str, missing: Option<u64>| match (metadata.unsigned(key), metadata.get(key)) {
            (Some(number), _) => Ok(number),
            (None, None) if missing.is_some() => Ok(missing.unwrap_or_default()),
            (None, value) => {
                let found = value.map_or("missing", |value| value.type_name());
                let kind = Kind::WrongType { expected: "a non-negative integer", found };
                Err(Error::new(kind).item(Item::Key(key.to_owned())))
            }
        };
        let count = read(SPLIT_COUNT, Some(0))?;
        let missing = (count <= 1).then_some(0);
        Ok(Given { number: read(SPLIT_NO, missing)?, count, tensors: read(SPLIT_TENSORS, missing)? })
    }

    fn check(&self, number: u16, count: u16) -> Result<()> {
        same(SPLIT_NO, self.number, number.into())?;
        same(SPLIT_COUNT, self.count, count.into())
    }
}

fn same(what: &'static str, found: u64, expected: u64) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::new(Kind::Split { what, found, expected }).item(Item::Key(what.to_owned())))
}
