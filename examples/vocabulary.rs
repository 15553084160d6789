//! Writes the vocabulary of a checkpoint folder as a GGUF file without tensors, as llama.cpp's converter does with
//! `--vocab-only`.
//!
//! Run with `cargo run --example vocabulary -- FOLDER Llama 32000 vocabulary.gguf`: which kind of vocabulary it is, and
//! how many rows the embeddings have. A fifth argument names the pre-tokenizer.

use std::env;
use std::error::Error;
use std::fs;

use weightmill::checkpoint::{Checkpoint, SideFile};
use weightmill::tokenizer::{self, Vocabulary};
use weightmill_formats::{Metadata, gguf};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (folder, kind, rows, output, pre) = match arguments.as_slice() {
        [folder, kind, rows, output] => (folder, kind, rows, output, None),
        [folder, kind, rows, output, pre] => (folder, kind, rows, output, Some(pre.parse()?)),
        _ => return Err("usage: vocabulary FOLDER VOCABULARY ROWS OUTPUT [PRE]".into()),
    };
    let vocabulary = Vocabulary::ALL.into_iter().find(|vocabulary| format!("{vocabulary:?}") == *kind);
    let vocabulary = vocabulary.ok_or_else(|| format!("{kind} is none of {:?}", Vocabulary::ALL))?;
    let checkpoint = Checkpoint::beside(folder)?;
    let config: serde_json::Value = checkpoint.json(SideFile::Config)?.ok_or("no config.json")?;

    let mut metadata = Metadata::new();
    let mut notes = Vec::new();
    metadata.set("general.architecture", config["model_type"].as_str().unwrap_or("unknown"));
    tokenizer::write_metadata(vocabulary, &checkpoint, &config, rows.parse()?, pre, &mut metadata, &mut notes)?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    fs::write(output, gguf::layout(&metadata, &[])?.header)?;
    Ok(())
}
