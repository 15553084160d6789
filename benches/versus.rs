//! Our quantizers and decoders against llama.cpp's, in one process on one thread: speed, and whether the results are equal.
//!
//!     cargo bench --bench versus -- [TYPE...] [--level NAME] [--only DIRECTION] [--seconds S] [--rows N] [--columns N]
//!
//! Both work on the same rows in turns, so that a change of the machine's speed meets both; the ratio is the median over
//! the turns. Time is the thread's own, so that other programs do not count, and a turn runs the faster one as often as fills
//! about the time that the other takes. llama.cpp's library is the reference's, `$ORACLE_HOME/ggml/libggml-base.so`. Exit
//! status 1 if a result differs; 0 without a comparison if the library is not there, and the output says so.

#[path = "versus/ggml.rs"]
mod ggml;
#[path = "versus/turns.rs"]
mod turns;
#[path = "versus/weights.rs"]
mod weights;

use clap::{Parser, ValueEnum};
use ggml::Ggml;
use std::hint::black_box;
use std::process::ExitCode;
use turns::{Turns, megaweights};
use weightmill_kernels::{Dtype, DtypeInfo, Level, dequantize, quantize};

#[derive(Parser)]
struct Options {
    /// Types to compare; all that both have if none is given.
    types: Vec<String>,
    /// Only this CPU level.
    #[arg(long)]
    level: Option<String>,
    /// Only this direction.
    #[arg(long)]
    only: Option<Direction>,
    /// Time for each line of the tables.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    #[arg(long, default_value_t = 256)]
    rows: usize,
    #[arg(long, default_value_t = 4096)]
    columns: usize,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Direction {
    Quantize,
    Dequantize,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let path = Ggml::path();
    if !path.exists() {
        println!("oracle not installed: no {}; nothing was compared", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let bench = Bench {
        ggml: Ggml::load(&path)?,
        levels: match &options.level {
            Some(name) => vec![Level::by_name(name)?],
            None => Level::all().collect(),
        },
        weights: weights::weights(options.rows, options.columns),
        importance: weights::importance(options.columns),
        columns: options.columns,
        seconds: options.seconds,
    };
    println!("{} rows of {} columns, million weights per second", options.rows, options.columns);
    let mut equal = true;
    if options.only != Some(Direction::Dequantize) {
        let types = types(&options.types, |info| info.block_len > 1 && info.quantize.is_some())?;
        equal &= bench.quantizers(&types);
    }
    if options.only != Some(Direction::Quantize) {
        // llama.cpp decodes what it can encode, and 16-bit numbers. Blocks are ours: the first part says that they are equal.
        let types = types(&options.types, |info| info.quantize.is_some() && info.dtype != Dtype::F32)?;
        equal &= bench.decoders(&types)?;
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The types of these names that can be compared; all that can be if there are no names.
fn types(names: &[String], can_be: fn(&DtypeInfo) -> bool) -> anyhow::Result<Vec<Dtype>> {
    let mut types = Vec::new();
    for name in names {
        types.push(Dtype::from_name(name).ok_or_else(|| anyhow::anyhow!("no type {name}"))?);
    }
    if names.is_empty() {
        types.extend(Dtype::all());
    }
    types.retain(|dtype| can_be(dtype.info()));
    Ok(types)
}

struct Bench {
    ggml: Ggml,
    levels: Vec<Level>,
    weights: Vec<f32>,
    /// One per column.
    importance: Vec<f32>,
    columns: usize,
    /// For each line.
    seconds: f64,
}

impl Bench {
    /// Prints a line for each type, level, and with and without importance; true if all bytes are equal.
    fn quantizers(&self, types: &[Dtype]) -> bool {
        println!(
            "{:8} {:10} {:8} {:>8} {:>8} {:>7}  bytes",
            "quantize", "importance", "level", "ours", "ggml", "ratio"
        );
        let mut all_equal = true;
        for &dtype in types {
            let size = dtype.byte_size(self.weights.len() as u64).expect("columns are whole blocks") as usize;
            let (mut ours, mut theirs) = (vec![0x55; size], vec![0xaa; size]);
            for (name, importance) in [("without", None), ("with", Some(&self.importance[..]))] {
                if importance.is_none() && dtype.info().needs_importance {
                    continue;
                }
                for &level in &self.levels {
                    let turns = Turns::take(
                        self.seconds,
                        || quantize(level, dtype, black_box(&self.weights), self.columns, importance, &mut ours),
                        || self.ggml.quantize(dtype, black_box(&self.weights), self.columns, importance, &mut theirs),
                    );
                    let equal = ours == theirs;
                    println!("{dtype:8} {name:10} {:8} {}", level.name(), turns.line(self.weights.len(), equal));
                    all_equal &= equal;
                }
            }
        }
        all_equal
    }

    /// Prints a line for each type and level; true if all weights are equal, bit for bit.
    ///
    /// Nothing decodes faster than it can store, so what storing alone takes is printed first.
    fn decoders(&self, types: &[Dtype]) -> anyhow::Result<bool> {
        let count = self.weights.len();
        let (mut ours, mut theirs) = (vec![0.0f32; count], vec![1.0f32; count]);
        let fill = Turns::take(self.seconds, || black_box(&mut ours).fill(1.5), || black_box(&mut theirs).fill(1.5));
        println!("{:19} {:8} {:>8} {:>8} {:>7}  weights", "dequantize", "level", "ours", "ggml", "ratio");
        println!("{:19} {:8} {:8.1}", "(stores alone)", "", megaweights(count, fill.ours));
        let mut all_equal = true;
        for &dtype in types {
            let mut blocks = vec![0; dtype.byte_size(count as u64).expect("columns are whole blocks") as usize];
            let importance = dtype.info().needs_importance.then_some(&self.importance[..]);
            quantize(Level::detect(), dtype, &self.weights, self.columns, importance, &mut blocks);
            let decode = self.ggml.decoder(dtype)?;
            for &level in &self.levels {
                let turns = Turns::take(
                    self.seconds,
                    || dequantize(level, dtype, black_box(&blocks), &mut ours),
                    || decode.run(black_box(&blocks), &mut theirs),
                );
                let equal = ours.iter().zip(&theirs).all(|(ours, theirs)| ours.to_bits() == theirs.to_bits());
                println!("{dtype:19} {:8} {}", level.name(), turns.line(count, equal));
                all_equal &= equal;
            }
        }
        Ok(all_equal)
    }
}
