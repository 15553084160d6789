//! The command line as data. Parsing touches no file.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use weightmill_formats::Pickles;
use weightmill_kernels::Dtype;

use super::calibrate::CalibrateArgs;
use super::evaluate::EvaluateArgs;
use super::method::Method;
use super::types::Types;
use weightmill::options::{self, GroupSize, Override, TensorType};
use weightmill::tokenizer::PreTokenizer;

const EXAMPLES: &str = "\
Examples:
  quantize llama.safetensors --q4k                       one GGUF, in the current folder
  quantize Meta-Llama-3.1-8B/ --q4k --q6k --q8 -o out/   three files from one read
  quantize model-BF16.gguf -t Q4_K_M --imatrix m.gguf    with an importance matrix
  quantize model-BF16.gguf -t Q5_K_M --dry-run           what would be written
  quantize flux1-dev.safetensors --q8                    no language model: its 2-D weights, under their own names
  quantize new-model/ --q4k --arch-map map.toml          an architecture that a file describes
  quantize inspect model-Q4_K_M.gguf                     what is in a file
  quantize imatrix a.gguf b.dat -o both.gguf             importance matrices as one

A file or folder that is named like a command is reached as ./inspect.
Exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.";

/// Turns model weights into compact ones: GGUF files, byte for byte as llama.cpp writes them, and folders that servers load.
#[derive(Debug, Parser)]
#[command(
    name = "quantize",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    subcommand_help_heading = "Other commands",
    disable_help_subcommand = true,
    override_usage = "quantize [OPTIONS] <INPUT>\n       quantize <COMMAND>",
    max_term_width = 120
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub quantize: QuantizeArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show metadata, tensors, types and sizes of a file or a checkpoint folder
    Inspect(InspectArgs),
    /// Merge, convert, check and describe importance matrices
    Imatrix(ImatrixArgs),
    /// Measure an importance matrix on a text
    Calibrate(CalibrateArgs),
    /// Measure how well a model predicts a text, and how far it is from another
    Evaluate(EvaluateArgs),
    /// Print the completion script of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[derive(Args, Debug)]
pub(super) struct InspectArgs {
    /// A *.gguf or *.safetensors file, a *.safetensors.index.json or a checkpoint folder
    pub file: PathBuf,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
    /// Open PyTorch's own files too, without running anything in them
    #[arg(long)]
    pub allow_pickle: bool,
}

#[derive(Args, Debug)]
pub(super) struct ImatrixArgs {
    /// Importance matrices of one model, GGUF or legacy .dat; several are added up
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// File to write, in the older form if it ends in .dat, otherwise GGUF [default: print statistics]
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,
    /// Replace an output that exists
    #[arg(long)]
    pub force: bool,
    /// Model to compare with: names and sizes of tensors, and which have no importance
    #[arg(long, value_name = "FILE|FOLDER")]
    pub model: Option<PathBuf>,
    /// Open PyTorch's own files of that model too, without running anything in them
    #[arg(long, requires = "model")]
    pub allow_pickle: bool,
    /// Tokens per chunk of .dat files, which do not say [default: that of the other files, or 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk_size: Option<u32>,
    /// Fail if anything is missing: experts that saw nothing, zeros throughout, tensors without importance
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON document instead
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub(super) struct QuantizeArgs {
    /// A *.safetensors file, a *.safetensors.index.json, a checkpoint folder, or a *.gguf (of a split one, any part)
    #[arg(required = true)]
    pub input: Option<PathBuf>,

    /// Open PyTorch's own files too (*.bin, *.pt, *.pth); tensors are rebuilt without running anything in them
    #[arg(long, help_heading = "Input")]
    pub allow_pickle: bool,

    /// Stop before anything is written unless the model states one of these licences, as in apache-2.0,mit
    #[arg(
        long,
        value_name = "ID[,ID...]",
        value_delimiter = ',',
        value_parser = NonEmptyStringValueParser::new(),
        help_heading = "Input"
    )]
    pub require_license: Vec<String>,

    /// Take every tensor of a checkpoint under its own name, as is done with what is no language model
    #[arg(long, conflicts_with = "pre", help_heading = "Input")]
    pub tensors_only: bool,

    /// Description of an architecture that this program does not have: a TOML file, see the README
    #[arg(long, value_name = "FILE", conflicts_with = "tensors_only", help_heading = "Input")]
    pub arch_map: Option<PathBuf>,

    #[command(flatten)]
    pub types: Types,

    /// Pre-tokenizer of a checkpoint by llama.cpp's name, as in llama-bpe, in place of the one that its files tell
    #[arg(long, value_name = "NAME", help_heading = "Input")]
    pub pre: Option<PreTokenizer>,

    /// File (for one type) or folder (for several, or if it ends in /) to write [default: the current folder]
    #[arg(short, long, value_name = "PATH", help_heading = "Output")]
    pub output: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long, help_heading = "Output")]
    pub force: bool,
    /// Write parts as the input has them
    #[arg(long, conflicts_with = "shard_size", help_heading = "Output")]
    pub keep_split: bool,
    /// Write parts of at most so many bytes, as in 4GiB or 4GB
    #[arg(long, value_name = "BYTES", value_parser = options::parse_size, help_heading = "Output")]
    pub shard_size: Option<u64>,
    /// Set a metadata value of the output; TYPE is int, float, bool or str
    #[arg(long, value_name = "KEY=TYPE:VALUE", help_heading = "Output")]
    pub override_kv: Vec<Override>,

    /// Importance matrix, GGUF or legacy .dat
    #[arg(long, value_name = "FILE", help_heading = "Importance")]
    pub imatrix: Option<PathBuf>,
    /// Measure an importance matrix first, as the command calibrate does, and use it: on these texts, or where none follows on
    /// those that come with the program
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..,
        help_heading = "Importance"
    )]
    pub calibrate: Option<Vec<PathBuf>>,
    /// Use at most so many sequences of 512 tokens of these texts [default: all]
    #[arg(long, value_name = "N", requires = "calibrate", help_heading = "Importance")]
    pub chunks: Option<NonZeroUsize>,
    /// Choose what keeps the outputs of layers on these texts. gptq: levels, each weight making up for the rounding of those before
    /// it. awq: scales of inputs, folded into the operations before, and of groups. smoothquant: the first, for w8a8. awq,gptq or
    /// smoothquant,gptq: scales of inputs, then levels. With --imatrix that matrix weighs the columns, and none is measured
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "gptq|awq|smoothquant",
        requires = "calibrate",
        hide_possible_values = true,
        help_heading = "Importance"
    )]
    pub method: Vec<Method>,
    /// With --method gptq and one type: layers see what is written of those before them, not the model's own; takes twice the time
    #[arg(long, requires = "method", help_heading = "Importance")]
    pub sequential: bool,
    /// Use the matrix only for tensors whose name contains this
    #[arg(
        long,
        value_name = "NAME",
        requires = "imatrix",
        conflicts_with = "exclude_weights",
        help_heading = "Importance"
    )]
    pub include_weights: Vec<String>,
    /// Do not use the matrix for tensors whose name contains this
    #[arg(long, value_name = "NAME", requires = "imatrix", help_heading = "Importance")]
    pub exclude_weights: Vec<String>,
    /// Refuse a matrix without measured importance for an expert or a tensor (but embeddings and output)
    #[arg(long, requires = "imatrix", help_heading = "Importance")]
    pub strict_imatrix: bool,

    /// The same type for all tensors that can be quantized, no mixtures
    #[arg(long, help_heading = "Tensors")]
    pub pure: bool,
    /// Leave output.weight as it is
    #[arg(long, help_heading = "Tensors")]
    pub leave_output_tensor: bool,
    /// Type of output.weight
    #[arg(long, value_name = "T", value_parser = options::parse_dtype, help_heading = "Tensors")]
    pub output_tensor_type: Option<Dtype>,
    /// Type of the token embeddings
    #[arg(long, value_name = "T", value_parser = options::parse_dtype, help_heading = "Tensors")]
    pub token_embedding_type: Option<Dtype>,
    /// Type of the tensors whose name the pattern finds; the first that fits decides
    #[arg(long, value_name = "REGEX=T", help_heading = "Tensors")]
    pub tensor_type: Vec<TensorType>,
    /// File of such REGEX=T entries, separated by white space
    #[arg(long, value_name = "FILE", help_heading = "Tensors")]
    pub tensor_type_file: Option<PathBuf>,
    /// Blocks to leave out
    #[arg(long, value_name = "N,N...", value_parser = parse_layers, help_heading = "Tensors")]
    pub prune_layers: Option<Layers>,
    /// Quantize tensors that are quantized already, which costs quality
    #[arg(long, help_heading = "Tensors")]
    pub allow_requantize: bool,
    /// If rows do not fill whole blocks of a type: allow the one that llama.cpp takes instead, or make it an error
    #[arg(
        long,
        value_enum,
        value_name = "allow|error",
        default_value = "allow",
        hide_possible_values = true,
        help_heading = "Tensors"
    )]
    pub fallback: FallbackArg,

    /// Columns that share a scale in a quantized folder, or channel: whole rows [default: the scheme's]
    #[arg(long, value_name = "N", help_heading = "Quantized folders")]
    pub group_size: Option<GroupSize>,
    /// Zero points in place of levels around zero (w4a16, w8a16); transformers loads that only with dequantize=True
    #[arg(long, help_heading = "Quantized folders")]
    pub asymmetric: bool,
    /// How scales of integers around zero are found: mse tries several, mse-signed negative ones too, absmax takes the
    /// formats' own [default: mse]
    #[arg(
        long,
        value_enum,
        value_name = "mse|mse-signed|absmax",
        hide_possible_values = true,
        help_heading = "Quantized folders"
    )]
    pub search: Option<SearchArg>,

    /// Print what would be written, and write nothing
    #[arg(long, help_heading = "Run")]
    pub dry_run: bool,
    /// Print one JSON document to standard output at the end
    #[arg(long, help_heading = "Run")]
    pub json: bool,
    /// Number of threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads, help_heading = "Run")]
    pub threads: Option<NonZeroUsize>,
    /// Most memory for buffers, as in 256MiB
    #[arg(long, value_name = "BYTES", value_parser = options::parse_size, default_value = "1GiB", help_heading = "Run")]
    pub max_memory: u64,
    /// No progress and no messages but errors
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Run")]
    pub quiet: bool,
    /// List every tensor before the run
    #[arg(short, long, help_heading = "Run")]
    pub verbose: bool,
}

/// What `--allow-pickle` stands for.
pub(super) fn pickles(allow: bool) -> Pickles {
    if allow { Pickles::Allow } else { Pickles::Refuse }
}

/// `--fallback`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FallbackArg {
    Allow,
    Error,
}

/// `--search`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SearchArg {
    Mse,
    MseSigned,
    Absmax,
}

/// `--prune-layers`; a type of its own, because clap takes a bare set for a list of arguments.
#[derive(Clone, Debug)]
pub(super) struct Layers(pub std::collections::BTreeSet<u32>);

/// Most threads that can be asked for: more than any computer has cores, and few enough to start at once.
const MAX_THREADS: usize = 1024;

pub(super) fn parse_threads(text: &str) -> Result<NonZeroUsize, String> {
    let threads = text.parse().ok().filter(|threads: &NonZeroUsize| threads.get() <= MAX_THREADS);
    threads.ok_or_else(|| format!("not a number from 1 to {MAX_THREADS}"))
}

fn parse_layers(text: &str) -> Result<Layers, options::OptionError> {
    options::parse_layers(text).map(Layers)
}
