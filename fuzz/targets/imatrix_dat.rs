//! Importance that the reader accepts can be used.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weightmill_formats::imatrix;

fuzz_target!(|bytes: &[u8]| {
    let Ok(importance) = imatrix::parse(bytes, Path::new("fuzz.dat")) else { return };
    assert!(importance.entries.values().flatten().all(|value| value.is_finite() && *value >= 0.0));
});
