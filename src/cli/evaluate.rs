//! `quantize evaluate`: perplexity, and the distance from a base model.

use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use weightmill::arch::Choices;
use weightmill::corpus::{Corpus, DEFAULT_CONTEXT, Text};
use weightmill::evaluate::{Evaluation, evaluate};
use weightmill::forward::{Activations, Machine, Options};
use weightmill::input::Input;
use weightmill::options;
use weightmill_kernels::Level;

use super::args::{QuantizeArgs, parse_threads, pickles};
use super::message::{printable, say};
use super::progress::Layers;
use super::{UsageError, signals};

/// Options that calibration and evaluation have in common.
#[derive(Args, Debug)]
pub(super) struct ForwardArgs {
    /// Tokens per sequence
    #[arg(short, long, value_name = "N", default_value_t = DEFAULT_CONTEXT)]
    pub context: usize,
    /// Use at most so many sequences [default: all]
    #[arg(long, value_name = "N")]
    pub chunks: Option<NonZeroUsize>,
    /// Multiply activations as f32, not rounded as llama.cpp rounds them for the type of the weights
    #[arg(long)]
    pub exact_activations: bool,
    /// Folder for activations that take more memory than allowed [default: the system's]
    #[arg(long, value_name = "FOLDER")]
    pub temp_dir: Option<PathBuf>,
    /// Most memory for activations and decoded weights, as in 256MiB
    #[arg(long, value_name = "BYTES", value_parser = options::parse_size, default_value = "1GiB")]
    pub max_memory: u64,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<NonZeroUsize>,
    /// Open PyTorch's own files too, without running anything in them
    #[arg(long)]
    pub allow_pickle: bool,
    /// No progress and no messages but errors
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Args, Debug)]
pub(super) struct EvaluateArgs {
    /// The model: a *.gguf, a *.safetensors file or a checkpoint folder
    pub model: PathBuf,
    /// Text to predict
    #[arg(long, value_name = "FILE", required = true)]
    pub text: PathBuf,
    /// Model to compare with, of any format
    #[arg(long, value_name = "BASE")]
    pub against: Option<PathBuf>,
    /// Print one JSON document to standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub forward: ForwardArgs,
}

impl ForwardArgs {
    /// As the main command calibrates: what it is not asked about has its default.
    pub fn of_main(args: &QuantizeArgs) -> Self {
        Self {
            context: DEFAULT_CONTEXT,
            chunks: args.chunks,
            exact_activations: false,
            temp_dir: None,
            max_memory: args.max_memory,
            threads: args.threads,
            allow_pickle: args.allow_pickle,
            quiet: args.quiet,
        }
    }

    /// How models are run; `share` of them share the memory.
    pub fn options(&self, share: u64) -> Result<Options> {
        if self.context < 16 {
            return Err(UsageError("--context is at least 16 tokens".to_owned()).into());
        }
        Ok(Options {
            sequence: self.context,
            max_memory: self.max_memory / share,
            folder: self.temp_dir.clone().unwrap_or_else(std::env::temp_dir),
            level: Level::from_env()?,
            activations: if self.exact_activations { Activations::Exact } else { Activations::Rounded },
        })
    }

    /// Opens a model, and says what should be known about it.
    pub fn open(&self, path: &std::path::Path) -> Result<Input> {
        let input = Input::open(path, pickles(self.allow_pickle), &Choices::default())?;
        if !self.quiet {
            input.model.notes.iter().for_each(|note| say(format_args!("note: {note}")));
        }
        Ok(input)
    }

    /// Runs `work` on so many threads as there should be.
    pub fn with_threads<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let threads = self.threads.or(available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        rayon::ThreadPoolBuilder::new().num_threads(threads.get()).build()?.install(work)
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    model: String,
    against: Option<String>,
    text: &'a str,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

pub(super) fn run(args: &EvaluateArgs) -> Result<()> {
    signals::listen()?;
    let forward = &args.forward;
    let options = forward.options(if args.against.is_some() { 2 } else { 1 })?;
    let model = forward.open(&args.model)?;
    let base = args.against.as_deref().map(|path| forward.open(path)).transpose()?;
    let text = Text::open(&args.text)?;
    let display = Layers::new(forward.quiet);
    let evaluation = forward.with_threads(|| {
        let machine = Machine::new(&model.model, &model.weights, options.clone(), &signals::CANCEL)?;
        let base = match &base {
            Some(base) => Some(Machine::new(&base.model, &base.weights, options.clone(), &signals::CANCEL)?),
            None => None,
        };
        if let Some(base) = base.as_ref().filter(|base| base.vocabulary() != machine.vocabulary()) {
            let (found, expected) = (machine.vocabulary(), base.vocabulary());
            anyhow::bail!("the model has {found} tokens and its base {expected}: their predictions cannot be compared");
        }
        let limit = forward.chunks.map(NonZeroUsize::get);
        let texts = std::slice::from_ref(&text);
        let corpus = Corpus::of(texts, &model.model.metadata, machine.vocabulary(), forward.context, limit)?;
        let progress = |step: weightmill::evaluate::Step| display.show(step.done, step.total);
        Ok(evaluate(&machine, base.as_ref(), &corpus, options.max_memory, &progress)?)
    });
    display.finish();
    let evaluation = evaluation?;
    for input in [Some(&model), base.as_ref()].into_iter().flatten() {
        input.weights.source().check_unchanged()?;
    }
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let document = Document {
            model: args.model.display().to_string(),
            against: args.against.as_ref().map(|path| path.display().to_string()),
            text: &text.name,
            evaluation: &evaluation,
        };
        serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", printable(&table(&evaluation)))?;
    }
    Ok(out.flush()?)
}

fn table(evaluation: &Evaluation) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let Evaluation { sequences, context, predicted, perplexity, divergence, layers, seconds } = evaluation;
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<28} {value}");
    };
    line("predicted tokens", format!("{predicted}, in {sequences} sequences of {context}"));
    line("perplexity", format!("{:.4} ± {:.4}", perplexity.value, perplexity.error));
    if let Some(divergence) = divergence {
        let base = divergence.base_perplexity;
        line("perplexity of the base", format!("{:.4} ± {:.4}", base.value, base.error));
        line("mean KL divergence", format!("{:.6} ± {:.6}", divergence.mean_kl, divergence.mean_kl_error));
        line("median", format!("{:.6}", divergence.median_kl));
        line("99 %", format!("{:.6}", divergence.percentile_99_kl));
        line("largest", format!("{:.6}", divergence.maximum_kl));
        line("same likeliest token", format!("{:.3} %", divergence.same_top_percent));
        line("RMS of probability change", format!("{:.3} %", divergence.rms_probability_change_percent));
    }
    let tokens = (sequences * context) as f64;
    line("time", format!("{seconds:.1} s, {:.2} ms per token", 1e3 * seconds / tokens));
    if layers.iter().any(|layer| layer.relative_error.is_some()) {
        let _ = writeln!(text, "\nlayer  relative error of its output  seconds");
        for layer in layers {
            let error = layer.relative_error.unwrap_or_default();
            let _ = writeln!(text, "{:>5}  {error:>28.6}  {:>7.2}", layer.layer, layer.seconds);
        }
    }
    text
}
