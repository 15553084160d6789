//! `quantize calibrate`: an importance matrix, measured on a text.

use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::Serialize;
use weightmill::calibrate::{Collector, Coverage, collect};
use weightmill::corpus::{Corpus, Text};
use weightmill::evaluate::Step;
use weightmill::forward::Machine;
use weightmill::input::Input;
use weightmill_formats::imatrix::{self, Form, Imatrix};
use weightmill_formats::output;

use super::evaluate::ForwardArgs;
use super::message::say;
use super::progress::Layers;
use super::signals;

#[derive(Args, Debug)]
pub(super) struct CalibrateArgs {
    /// The model: a *.gguf, a *.safetensors file or a checkpoint folder
    pub model: PathBuf,
    /// Texts to measure on; sequences of several take turns [default: texts that come with the program]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub text: Vec<PathBuf>,
    /// File to write: GGUF, or llama-imatrix's older form if it ends in .dat
    #[arg(short, long, value_name = "FILE", default_value = "imatrix.gguf")]
    pub output: PathBuf,
    /// Replace an output that exists
    #[arg(long, conflicts_with = "resume")]
    pub force: bool,
    /// Measure the output matrix too
    #[arg(long)]
    pub process_output: bool,
    /// Write what is measured after every so many sequences; the model is read again for each
    #[arg(long, value_name = "N")]
    pub save_every: Option<NonZeroUsize>,
    /// Go on where an earlier run with the same texts and options stopped
    #[arg(long)]
    pub resume: bool,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub forward: ForwardArgs,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    model: String,
    output: String,
    texts: &'a [String],
    sequences: usize,
    context: usize,
    entries: usize,
    /// Time of every layer, over all sequences.
    layer_seconds: &'a [f64],
    seconds: f64,
    experts: &'a [Coverage],
}

pub(super) fn run(args: &CalibrateArgs) -> Result<()> {
    signals::listen()?;
    let start = Instant::now();
    let forward = &args.forward;
    if !args.resume {
        output::check_target(&args.output, args.force)?;
    }
    let input = forward.open(&args.model)?;
    let display = Layers::new(forward.quiet);
    let result = on_texts(&input, &args.text, forward, |machine, corpus, names| {
        let (mut collector, mut done) = match args.resume.then(|| earlier(args, names, corpus)).transpose()?.flatten() {
            Some((matrix, done)) => (Collector::resume(args.process_output, &matrix), done),
            None => (Collector::new(args.process_output), 0),
        };
        let all = corpus.sequences();
        let step = args.save_every.map_or(all, NonZeroUsize::get).max(1);
        let first = done;
        let mut layer_seconds: Vec<f64> = Vec::new();
        let mut matrix = collector.matrix(names, done as u32, corpus.context as u32);
        while done < all {
            let sequences = done..all.min(done + step);
            let rounds = (all - first).div_ceil(step);
            let round = (done - first) / step;
            let progress = |step: Step| display.show(round * step.total + step.done, rounds * step.total);
            let seconds = collect(machine, corpus, sequences.clone(), &mut collector, &progress)?;
            layer_seconds.resize(seconds.len(), 0.0);
            layer_seconds.iter_mut().zip(seconds).for_each(|(sum, seconds)| *sum += seconds);
            input.weights.source().check_unchanged()?;
            let replace = args.force || args.resume || done > first;
            done = sequences.end;
            matrix = collector.matrix(names, done as u32, corpus.context as u32);
            matrix.write(&args.output, Form::of(&args.output), replace)?;
        }
        Ok((matrix, names.to_vec(), corpus.sequences(), layer_seconds))
    });
    display.finish();
    let (matrix, names, sequences, layer_seconds) = result?;
    let seconds = start.elapsed().as_secs_f64();
    let experts = Coverage::of(&matrix);
    if !forward.quiet {
        report(args, &matrix, &experts, sequences, seconds, &layer_seconds);
    }
    if args.json {
        let document = Document {
            model: args.model.display().to_string(),
            output: args.output.display().to_string(),
            texts: &names,
            sequences,
            context: forward.context,
            entries: matrix.entries.len(),
            layer_seconds: &layer_seconds,
            seconds,
            experts: &experts,
        };
        let mut out = BufWriter::new(io::stdout().lock());
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// The texts and their names; those that come with the program if there are none.
fn opened(paths: &[PathBuf], context: usize) -> Result<(Vec<String>, Vec<Text>)> {
    if paths.is_empty() {
        let texts = Text::defaults(context);
        return Ok((texts.iter().map(|text| text.name.clone()).collect(), texts));
    }
    let texts = paths.iter().map(|path| Text::open(path)).collect::<Result<_, _>>()?;
    // file names only: where a text lies is nobody's business
    Ok((paths.iter().map(|path| file_name(path)).collect(), texts))
}

/// Runs `work` with an opened model that is ready to run and the sequences of texts, or of those that come with the program if
/// there are none; it also gets the names of the texts.
pub(super) fn on_texts<T: Send>(
    input: &Input,
    texts: &[PathBuf],
    forward: &ForwardArgs,
    work: impl FnOnce(&Machine<'_>, &Corpus, &[String]) -> Result<T> + Send,
) -> Result<T> {
    let options = forward.options(1)?;
    let (names, texts) = opened(texts, forward.context)?;
    forward.with_threads(|| {
        let machine = Machine::new(&input.model, &input.weights, options, &signals::CANCEL)?;
        let limit = forward.chunks.map(NonZeroUsize::get);
        let corpus = Corpus::of(&texts, &input.model.metadata, machine.vocabulary(), forward.context, limit)?;
        work(&machine, &corpus, &names)
    })
}

/// Measures an opened model on texts, or on those that come with the program if there are none, without writing anything, and
/// how long every layer took.
pub(super) fn measure(input: &Input, texts: &[PathBuf], forward: &ForwardArgs) -> Result<(Imatrix, Vec<f64>)> {
    let display = Layers::new(forward.quiet);
    let result = on_texts(input, texts, forward, |machine, corpus, names| {
        let mut collector = Collector::new(false);
        let progress = |step: Step| display.show(step.done, step.total);
        let all = corpus.sequences();
        let seconds = collect(machine, corpus, 0..all, &mut collector, &progress)?;
        Ok((collector.matrix(names, all as u32, corpus.context as u32), seconds))
    });
    display.finish();
    result
}

/// What an earlier run has written, and how many sequences that are.
fn earlier(args: &CalibrateArgs, names: &[String], corpus: &Corpus) -> Result<Option<(Imatrix, usize)>> {
    let path = &args.output;
    if !path.exists() {
        return Ok(None);
    }
    let matrix = imatrix::open(path)?;
    let context = u32::try_from(corpus.context).context("--context is too large")?;
    let done = matrix.chunks as usize;
    if matrix.datasets != names || matrix.chunk_size != Some(context) || done > corpus.sequences() {
        bail!(
            "{}: it was measured on {} with {} sequences of {} tokens, not on these texts and options; choose another \
             output, or start anew with --force",
            path.display(),
            matrix.datasets.join(", "),
            done,
            matrix.chunk_size.unwrap_or(0)
        );
    }
    Ok(Some((matrix, done)))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn report(
    args: &CalibrateArgs,
    matrix: &Imatrix,
    experts: &[Coverage],
    sequences: usize,
    seconds: f64,
    layer_seconds: &[f64],
) {
    for Coverage { tensor, experts, unseen, least, most } in experts {
        let unseen = match unseen {
            0 => String::new(),
            unseen => format!("; {unseen} saw none, and their columns will all count the same"),
        };
        say(format_args!("{tensor}: {experts} experts saw {least} to {most} tokens{unseen}"));
    }
    let tokens = sequences * args.forward.context;
    let slowest = layer_seconds.iter().copied().fold(0.0, f64::max);
    say(format_args!(
        "{}: {} tensors measured on {sequences} sequences of {} tokens",
        args.output.display(),
        matrix.entries.len(),
        args.forward.context
    ));
    say(format_args!(
        "{seconds:.1} s, {:.2} ms per token, at most {slowest:.2} s for a layer",
        1e3 * seconds / tokens as f64
    ));
}
