//! No shard that the reader accepts lies outside of the index's folder.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use weightmill_formats::safetensors;

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = safetensors::parse_index(bytes, Path::new("fuzz.safetensors.index.json")) else { return };
    for shard in index.shards() {
        assert!(!shard.is_empty() && Path::new(shard).components().all(|part| matches!(part, Component::Normal(_))));
    }
});
