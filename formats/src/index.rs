//! Models in several files of one format: `model.safetensors.index.json` or `pytorch_model.bin.index.json` says which file
//! holds which tensor.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Component, Path, PathBuf};

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Error, Item, Kind, Result};
use crate::json::{Json, Pairs};
use crate::mapped::{MappedModel, check_total};
use crate::mmap::Map;
use crate::{Metadata, Source, TensorInfo};

/// Longest index that is read: the limit that safetensors has for a header, which says as much.
const MAX_INDEX: u64 = 100_000_000;

/// Which shard holds which tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// File name by tensor name, in the order of the index. Every name stays inside the index's folder, as far as the
    /// name alone can tell.
    pub weight_map: IndexMap<String, String>,
}

impl Index {
    /// The shards, in byte order of their names.
    pub fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.values().map(String::as_str).collect()
    }
}

/// Reads an index from the bytes of a whole file. `path` appears in errors only.
pub fn parse_index(bytes: &[u8], path: &Path) -> Result<Index> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        weight_map: Option<Pairs<'a>>,
    }
    let fail = |at, kind| Error::new(kind).file(path).at(at);
    let length = bytes.len() as u64;
    if length > MAX_INDEX {
        return Err(fail(0, Kind::TooLong { what: "an index", length, limit: MAX_INDEX }));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|e| fail(e.valid_up_to() as u64, Kind::Utf8 { what: "the index" }))?;
    let json = Json::new(text, 0, path);
    let Members { weight_map } = json.read(text)?;
    let Some(Pairs(pairs)) = weight_map else {
        return Err(Error::new(Kind::Incomplete { what: "weight_map" }).file(path));
    };
    let mut weight_map = IndexMap::with_capacity(pairs.len());
    for (tensor, value) in pairs {
        let on_tensor = |error: Error| error.item(Item::Tensor(tensor.to_string()));
        let shard = shard_name(&json, value).map_err(on_tensor)?;
        if weight_map.insert(tensor.to_string(), shard).is_some() {
            return Err(on_tensor(json.error(value.get(), Kind::Duplicate)));
        }
    }
    Ok(Index { weight_map })
}

fn shard_name(json: &Json<'_>, value: &RawValue) -> Result<String> {
    let name: Cow<'_, str> = json.read(value.get())?;
    let path = Path::new(&*name);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_)));
    // Two spellings of one file, as in `a//b`, would be two shards.
    if name.is_empty()
        || name.contains('\0')
        || !inside
        || path.components().collect::<PathBuf>().as_os_str() != path.as_os_str()
    {
        return Err(json.error(value.get(), Kind::OutsideFolder { name: name.into_owned() }));
    }
    Ok(name.into_owned())
}

/// Opens an index and all the shards that it names, in byte order of their names, each read by `parse` from its bytes. The
/// tensors of a shard must be exactly those that the index places in it.
pub(crate) fn open(
    format: &'static str,
    path: &Path,
    parse: impl Fn(&[u8], &Path) -> Result<(Metadata, Vec<TensorInfo>)>,
) -> Result<Box<dyn Source>> {
    let map = Map::open(path)?;
    let index = parse_index(map.bytes(), path)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (mut maps, mut metadata, mut tensors) = (Vec::new(), Metadata::new(), Vec::new());
    let mut seen = HashSet::new();
    for shard in index.shards() {
        let map = open_shard(path, folder, shard)?;
        let (shard_metadata, shard_tensors) = parse(map.bytes(), map.path())?;
        for (key, value) in shard_metadata.iter() {
            if metadata.get(key).is_none() {
                metadata.set(key, value.clone());
            }
        }
        for mut tensor in shard_tensors {
            let on_tensor = |kind| {
                let error = Error::new(kind).file(map.path()).item(Item::Tensor(tensor.name.clone()));
                Err(error.at(tensor.offset))
            };
            if seen.contains(&tensor.name) {
                return on_tensor(Kind::Duplicate);
            }
            if index.weight_map.get(&tensor.name).map(String::as_str) != Some(shard) {
                return on_tensor(Kind::Unlisted);
            }
            seen.insert(tensor.name.clone());
            tensor.file = maps.len();
            tensors.push(tensor);
        }
        maps.push(map);
    }
    if let Some((tensor, shard)) = index.weight_map.iter().find(|(tensor, _)| !seen.contains(*tensor)) {
        let error = Error::new(Kind::MissingTensor).file(&folder.join(shard));
        return Err(error.item(Item::Tensor(tensor.clone())));
    }
    check_total(&tensors).map_err(|error| error.file(path))?;
    Ok(Box::new(MappedModel::new(format, maps, metadata, tensors)))
}

fn open_shard(index: &Path, folder: &Path, shard: &str) -> Result<Map> {
    let path = folder.join(shard);
    let real = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::new(Kind::MissingFile { name: shard.to_owned() }).file(index),
        _ => Error::io("open", error).file(&path),
    })?;
    let real_folder = folder.canonicalize().map_err(|e| Error::io("open", e).file(folder))?;
    if !real.starts_with(&real_folder) && !hub_blobs(&real_folder).is_some_and(|blobs| real.starts_with(blobs)) {
        return Err(Error::new(Kind::OutsideFolder { name: shard.to_owned() }).file(index));
    }
    Map::open(&path)
}

/// Where the files of a snapshot lie in the Hugging Face hub's cache: `models--X/snapshots/REVISION/FILE` is a link to
/// `models--X/blobs/HASH`, the one kind of link that may leave the folder.
fn hub_blobs(folder: &Path) -> Option<PathBuf> {
    let snapshots = folder.parent().filter(|parent| parent.ends_with("snapshots"))?;
    Some(snapshots.parent()?.join("blobs"))
}
