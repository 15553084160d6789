//! Importance that the reader accepts can be used.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weightmill_formats::imatrix::{self, Statistics};

fuzz_target!(|bytes: &[u8]| {
    let Ok(matrix) = imatrix::parse(bytes, Path::new("fuzz.dat")) else { return };
    matrix.entries.values().for_each(|entry| drop(Statistics::of(entry)));
    let importance = matrix.into_importance();
    assert!(importance.entries.values().flatten().all(|value| value.is_finite() && *value >= 0.0));
});
