//! Plans: types, metadata, places, and what is refused, all without reading a weight.

mod checks;
mod conversion;
mod golden;
mod options;
mod recipes;
mod report;
mod source;
mod split;

use std::path::Path;

use weightmill::options::{Output, Request};
use weightmill::plan::Part;
use weightmill::target::Target;
use weightmill_formats::gguf::{self, Header};

/// A request for these types, each with a path of its own.
fn request(types: &[&str]) -> Request {
    let outputs = types.iter().map(|name| Output {
        target: Target::find(name).expect("a type"),
        path: format!("out/tiny-{name}.gguf").into(),
    });
    Request { outputs: outputs.collect(), ..Request::default() }
}

/// What a reader finds in a planned file whose weights are all zero.
fn read_back(part: &Part) -> Header {
    let mut file = part.header.clone();
    file.resize(part.bytes as usize, 0);
    gguf::parse(&file, Path::new("planned.gguf")).expect("a sound file")
}
