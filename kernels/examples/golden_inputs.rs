//! Writes the inputs of the golden tests to a folder, for `tests/golden/make.py`.
//!
//!     cargo run -p weightmill-kernels --example golden_inputs -- FOLDER
//!
//! `FOLDER/index.txt` has a line `case rows columns importance...` for each case; the weights are in `case.f32`, the
//! importances in `case.importance.f32`, both little-endian. `FOLDER/types.txt` has a line `TYPE` for each type, or
//! `TYPE source` if it is decoded only; `TYPE.bin` has blocks of random bits.

#[path = "../tests/common/mod.rs"]
mod common;

use std::fmt::Write;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args().nth(1) else {
        eprintln!("usage: golden_inputs FOLDER");
        std::process::exit(2);
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut index = String::new();
    for case in common::cases() {
        write!(index, "{} {} {}", case.name, case.rows, case.columns).unwrap();
        std::fs::write(folder.join(format!("{}.f32", case.name)), bytes(&case.weights))?;
        for (kind, importance) in &case.importances {
            write!(index, " {kind}").unwrap();
            std::fs::write(folder.join(format!("{}.{kind}.f32", case.name)), bytes(importance))?;
        }
        index.push('\n');
    }
    let mut types = String::new();
    for dtype in common::TYPES.iter().chain(common::SOURCES) {
        let decoded_only = if common::SOURCES.contains(dtype) { " source" } else { "" };
        writeln!(types, "{dtype}{decoded_only}").unwrap();
        std::fs::write(folder.join(format!("{dtype}.bin")), common::blocks::random(*dtype))?;
    }
    std::fs::write(folder.join("types.txt"), types)?;
    std::fs::write(folder.join("index.txt"), index)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}
