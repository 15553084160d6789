//! What the reader accepts lies inside the file. The bytes are a whole file, and once more the pickle in a sound one, whose
//! archive would otherwise rarely survive.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use weightmill_formats::pickle;

fn check(bytes: &[u8]) {
    let Ok(header) = pickle::parse(bytes, Path::new("fuzz.bin")) else { return };
    for tensor in &header.tensors {
        assert!(tensor.offset + tensor.bytes <= bytes.len() as u64);
        assert_eq!(tensor.dtype.byte_size(tensor.weights()), Some(tensor.bytes));
    }
}

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    check(&checkpoint::archive(bytes, &[("0", &[0; 64]), ("1", &[0; 3])]));
});

#[path = "../../formats/tests/checkpoint/mod.rs"]
mod checkpoint;
