//! Our quantizers against llama.cpp's, in one process on one thread: speed, and whether the bytes are equal.
//!
//!     cargo bench --bench versus -- [TYPE...] [--level NAME] [--seconds S] [--rows N] [--columns N]
//!
//! Both work on the same rows in turns, so that a change of the machine's speed meets both; the ratio is the median over
//! the turns. Time is the thread's own, so that other programs do not count, and a turn runs ours as often as fills about
//! the time that llama.cpp takes. llama.cpp's library is the reference's, `$ORACLE_HOME/ggml/libggml-base.so`. Exit status 1 if bytes differ;
//! 0 without a comparison if the library is not there, and the output says so.

#[path = "versus/ggml.rs"]
mod ggml;
#[path = "versus/weights.rs"]
mod weights;

use clap::Parser;
use cpu_time::ThreadTime;
use ggml::Ggml;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use weightmill_kernels::{Dtype, Level, quantize};

#[derive(Parser)]
struct Options {
    /// Types to compare; all that we quantize if none is given.
    types: Vec<String>,
    /// Only this CPU level.
    #[arg(long)]
    level: Option<String>,
    /// Time for each line of the table.
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

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let path = Ggml::path();
    if !path.exists() {
        println!("oracle not installed: no {}; nothing was compared", path.display());
        return Ok(ExitCode::SUCCESS);
    }
    let ggml = Ggml::load(&path)?;
    let levels = match &options.level {
        Some(name) => vec![Level::by_name(name)?],
        None => Level::all().collect(),
    };
    let types = if options.types.is_empty() {
        Dtype::all().filter(|t| t.is_quantized() && t.info().quantize.is_some()).collect()
    } else {
        let named = |name: &String| Dtype::from_name(name).filter(|t| t.info().quantize.is_some());
        options
            .types
            .iter()
            .map(|name| named(name).ok_or_else(|| anyhow::anyhow!("no quantizer for {name}")))
            .collect::<Result<Vec<_>, _>>()?
    };

    let weights = weights::weights(options.rows, options.columns);
    let importance = weights::importance(options.columns);
    println!("{} rows of {} columns, million weights per second", options.rows, options.columns);
    println!("{:8} {:10} {:8} {:>8} {:>8} {:>7}  bytes", "type", "importance", "level", "ours", "ggml", "ratio");
    let mut equal = true;
    for dtype in types {
        for importance in [None, Some(&importance[..])] {
            if importance.is_none() && dtype.info().needs_importance {
                continue;
            }
            for &level in &levels {
                let result = compare(&ggml, level, dtype, &weights, options.columns, importance, options.seconds);
                let [ours, theirs] = [result.ours, result.ggml].map(|t| weights.len() as f64 / t.as_secs_f64() / 1e6);
                println!(
                    "{:8} {:10} {:8} {ours:8.1} {theirs:8.1} {:6.1}x  {}",
                    dtype.name(),
                    if importance.is_some() { "with" } else { "without" },
                    level.name(),
                    result.ratio,
                    if result.equal { "equal" } else { "DIFFER" },
                );
                equal &= result.equal;
            }
        }
    }
    Ok(if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Comparison {
    /// Median time of one pass over the rows.
    ours: Duration,
    ggml: Duration,
    /// Median over the turns.
    ratio: f64,
    equal: bool,
}

fn compare(
    ggml: &Ggml,
    level: Level,
    dtype: Dtype,
    weights: &[f32],
    columns: usize,
    importance: Option<&[f32]>,
    seconds: f64,
) -> Comparison {
    let size = dtype.byte_size(weights.len() as u64).expect("columns are whole blocks") as usize;
    let (mut ours, mut theirs) = (vec![0x55; size], vec![0xaa; size]);
    // The first runs warm caches and pages.
    let our_first = time(|| quantize(level, dtype, weights, columns, importance, &mut ours));
    let their_first = time(|| ggml.quantize(dtype, weights, columns, importance, &mut theirs));
    let repeat = (their_first.as_secs_f64() / our_first.as_secs_f64()).clamp(1.0, 100.0) as u32;
    let (mut our_times, mut their_times) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while our_times.len() < 3 || start.elapsed().as_secs_f64() < seconds {
        let all = time(|| (0..repeat).for_each(|_| quantize(level, dtype, weights, columns, importance, &mut ours)));
        our_times.push(all / repeat);
        their_times.push(time(|| ggml.quantize(dtype, weights, columns, importance, &mut theirs)));
    }
    let ratios = our_times.iter().zip(&their_times).map(|(ours, theirs)| theirs.as_secs_f64() / ours.as_secs_f64());
    Comparison {
        ratio: median(ratios.collect(), f64::total_cmp),
        ours: median(our_times, Duration::cmp),
        ggml: median(their_times, Duration::cmp),
        equal: ours == theirs,
    }
}

fn time(run: impl FnOnce()) -> Duration {
    let start = ThreadTime::now();
    run();
    start.elapsed()
}

fn median<T: Copy>(mut values: Vec<T>, order: fn(&T, &T) -> std::cmp::Ordering) -> T {
    values.sort_by(order);
    values[values.len() / 2]
}
