//! The main command: open, identify, plan, then print the plan or execute it.

use std::io::{self, BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::Result;
use indicatif::HumanBytes;
use serde::Serialize;
use weightmill::folding::Folding;
use weightmill::input::Input;
use weightmill::pipeline::{self, Chosen, Control, Repair, Run, Settings};
use weightmill::plan::{self, ImportanceSummary, Plan, Report, Table};
use weightmill::preflight::Preflight;
use weightmill::publish::Published;
use weightmill::rounding::scales::{ScalePlan, ScaleReport, Scales};
use weightmill::rounding::{Report as RoundingReport, Rounded, Schedule};
use weightmill_formats::imatrix::Imatrix;
use weightmill_formats::{Importance, imatrix};
use weightmill_kernels::Level;

use super::args::{QuantizeArgs, pickles};
use super::evaluate::ForwardArgs;
use super::message::{printable, say};
use super::method::Methods;
use super::progress::Display;
use super::{UsageError, calibrate, destination, request, rounding, scaling, signals};

pub(super) fn run(args: &QuantizeArgs) -> Result<()> {
    let targets = request::targets(args)?;
    if args.imatrix.is_some() && args.calibrate.is_some() && args.method.is_empty() {
        let text =
            "--imatrix and --calibrate both give importance: choose one, or say with --method what the text is for";
        return Err(UsageError(text.to_owned()).into());
    }
    let methods = Methods::of(args, targets)?;
    let settings = Settings {
        threads: args.threads.or(available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        max_memory: args.max_memory,
        level: Level::from_env()?,
        force: args.force,
    };
    let path = args.input.as_deref().expect("clap requires it");
    let mut input = Input::open(path, pickles(args.allow_pickle), &request::choices(args)?)?;
    if !args.require_license.is_empty() {
        input.license().require(&args.require_license)?;
    }
    let paths = destination::paths(&input.name(), targets, args.output.as_deref())?;
    let request = request::request(args, paths)?;
    let (mut importance, summary) = importance_of(matrix(args, methods, &input)?);
    let wants_folder = targets.iter().any(|target| target.is_folder());
    let published = if wants_folder { Some(input.publish()?) } else { None };
    let folding = methods.scales.map(|method| scaling::folding(&mut input, method)).transpose()?;
    let facts = facts(&input, published.as_ref(), summary.as_ref());
    let plan = plan::plan(&facts, &request)?;
    let run = Run::new(&plan, &facts, &importance, settings)?;
    let scale_plan = match (methods.scales, &folding) {
        (Some(method), Some(folding)) => Some(scaling::plan(&input, method, run.goals(), folding, args.max_memory)?),
        _ => None,
    };
    let schedule = rounding::schedule(args, methods, &input, run.goals(), folding.as_ref().map_or(0, Folding::bytes))?;

    if !args.quiet {
        warn(&input, &plan);
    }
    let shown = args.dry_run || args.json || !args.quiet;
    let mut preflight = if shown { Some(Preflight::of(&input, &plan, &run)?) } else { None };
    if let Some(preflight) = &mut preflight {
        preflight.rounding = schedule.as_ref().map(Schedule::needs);
        preflight.scaling = scale_plan.as_ref().map(ScalePlan::needs);
    }
    // what is chosen on a text is chosen before the run looks
    let chooses = schedule.is_some() || scale_plan.is_some();
    let check = || run.check().and_then(|()| schedule.as_ref().map_or(Ok(()), |own| rounding::check_room(&plan, own)));
    if args.dry_run {
        show(args, &plan, &preflight.expect("looked at above"), &run)?;
        return match check() {
            // A plan takes no room, and the run may be meant for another disk.
            Err(error @ pipeline::Error::NoSpace { .. }) => {
                if !args.quiet {
                    say(format_args!("warning: {error}"));
                }
                Ok(())
            }
            result => Ok(result?),
        };
    }
    if let Some(preflight) = preflight.as_ref().filter(|_| !args.quiet) {
        say(format_args!("{preflight}"));
    }
    if args.verbose {
        plan.outputs.iter().for_each(|output| say(format_args!("{}", Table(output))));
        say(format_args!("{} threads, CPU level {}", settings.threads, settings.level.name()));
    }
    if chooses {
        check()?;
    }
    let ready = Ready { args, methods, settings, published: published.as_ref(), summary: summary.as_ref(), preflight };
    if let (Some(folding), Some(scale_plan)) = (&folding, scale_plan) {
        let scales = scaling::choose(args, &input, &plan, &scale_plan, settings.level)?;
        drop(scale_plan);
        drop(schedule);
        drop(run);
        return ready.execute_folded(&plan, folding, scales, &mut input, &mut importance);
    }
    let Some(schedule) = schedule else { return ready.execute(&plan, &run, None, None) };
    let (rounded, matrix) = rounding::round(args, methods, &input, &plan, &schedule, None, settings.level)?;
    let Some(matrix) = matrix else { return ready.execute(&plan, &run, Some(rounded), None) };
    // what was only assumed is known now
    let text = text_of(args.calibrate.as_deref().unwrap_or_default(), &matrix);
    let (importance, summary) = importance_of(Some((text, matrix)));
    let facts = plan::Input { importance: summary.as_ref(), ..facts };
    let known = plan::plan(&facts, &request)?;
    if !args.quiet {
        warn_anew(&plan, &known);
    }
    let run = Run::new(&known, &facts, &importance, settings)?;
    ready.execute(&known, &run, Some(rounded), None)
}

/// What a plan is made from.
fn facts<'a>(
    input: &'a Input,
    published: Option<&'a Published>,
    importance: Option<&'a ImportanceSummary>,
) -> plan::Input<'a> {
    let Input { path, weights, model, .. } = input;
    plan::Input { path, weights, model, published, importance }
}

/// The importance matrix and its file, for which the text stands where it is measured.
fn matrix(args: &QuantizeArgs, methods: Methods, input: &Input) -> Result<Option<(PathBuf, Imatrix)>> {
    Ok(match (&args.imatrix, &args.calibrate) {
        (Some(path), _) => Some((path.clone(), imatrix::open(path)?)),
        // the plan needs to know only what will be measured; rounding measures it in its own run of the text
        (None, Some(texts)) if args.dry_run || methods.measures_importance() => {
            let first = texts.first().cloned().unwrap_or_else(|| PathBuf::from("text"));
            Some((first, weightmill::calibrate::assumed(&input.model)))
        }
        (None, Some(texts)) => {
            let forward = ForwardArgs::of_main(args);
            signals::listen()?;
            let (matrix, _) = calibrate::measure(input, texts, &forward)?;
            Some((text_of(texts, &matrix), matrix))
        }
        (None, None) => None,
    })
}

/// The text that stands where a matrix's file would be named.
fn text_of(texts: &[PathBuf], matrix: &Imatrix) -> PathBuf {
    texts.first().cloned().or(matrix.datasets.first().map(PathBuf::from)).unwrap_or_default()
}

/// Importance by a matrix from this file, and what the plan needs of it.
fn importance_of(matrix: Option<(PathBuf, Imatrix)>) -> (Importance, Option<ImportanceSummary>) {
    let Some((path, matrix)) = matrix else { return (Importance::default(), None) };
    let importance = matrix.into_importance();
    let summary = ImportanceSummary::of(&path, &importance);
    (importance, Some(summary))
}

/// What a run takes that is planned.
struct Ready<'a> {
    args: &'a QuantizeArgs,
    methods: Methods,
    settings: Settings,
    published: Option<&'a Published>,
    summary: Option<&'a ImportanceSummary>,
    preflight: Option<Preflight>,
}

impl Ready<'_> {
    /// Folds scales into the weights, chooses what is chosen on the model that then is, and executes the plan, which stays.
    fn execute_folded(
        &self,
        plan: &Plan,
        folding: &Folding,
        scales: Scales,
        input: &mut Input,
        importance: &mut Importance,
    ) -> Result<()> {
        let &Ready { args, methods, settings, published, summary, .. } = self;
        scaling::fold(folding, &scales.channels, input, (plan, published), importance, settings.level);
        let run = Run::new(plan, &facts(input, published, summary), importance, settings)?;
        let schedule = rounding::schedule(args, methods, input, run.goals(), folding.bytes())?;
        let digest = Some(scales.digest());
        let round = |schedule| rounding::round(args, methods, input, plan, schedule, digest, settings.level);
        let rounded = schedule.as_ref().map(round).transpose()?;
        self.execute(plan, &run, rounded.map(|(rounded, _)| rounded), Some(scales))
    }

    fn execute(&self, plan: &Plan, run: &Run<'_>, rounded: Option<Rounded>, scales: Option<Scales>) -> Result<()> {
        let args = self.args;
        signals::listen()?;
        for stale in pipeline::remove_stale(plan) {
            if !args.quiet {
                say(format_args!("note: removed {}, which a run that was killed had left", stale.display()));
            }
        }
        let display = Display::new(args.quiet);
        let control = Control { cancel: &signals::CANCEL, progress: &|progress| display.show(progress) };
        let chosen = rounded.as_ref().map(|rounded| rounded as &dyn Chosen);
        let result = run.execute_with(control, chosen);
        display.finish();
        let measured = result?;
        let rounding = rounded.as_ref().map(|rounded| rounded.report.clone());
        let scaling = scales.as_ref().map(|scales| scales.report.clone());
        rounded.map(Rounded::remove).transpose()?;
        scales.map(Scales::remove).transpose()?;
        if !args.quiet {
            for Repair { tensor, dtype, blocks } in &measured.repairs {
                say(format_args!(
                    "warning: {tensor}, {dtype}: {blocks} blocks cannot be written with their importance; their columns count the same"
                ));
            }
            for output in &plan.outputs {
                let bits = output.bits_per_weight();
                match output.tensors.iter().filter(|tensor| tensor.lossless).count() {
                    0 => {}
                    kept => say(format_args!(
                        "{}: {kept} tensors keep their stored codes, without loss",
                        output.target.name()
                    )),
                }
                for part in output.parts.iter().filter(|part| !part.tensors.is_empty()) {
                    say(format_args!("{}: {}, {bits:.2} bits per weight", part.path.display(), HumanBytes(part.bytes)));
                }
                match output.parts.iter().filter(|part| part.tensors.is_empty()).count() {
                    0 => {}
                    beside => say(format_args!("{}: {beside} files beside the weights", output.path.display())),
                }
            }
            say(format_args!(
                "{:.1} s, {:.0} MB/s",
                measured.seconds,
                plan.input.bytes as f64 / 1e6 / measured.seconds
            ));
        }
        if args.json {
            let memory = measured.memory_bytes.unwrap_or(run.buffer_bytes());
            let chosen = Choices { rounding: rounding.as_ref(), scaling: scaling.as_ref() };
            print_json(plan, self.preflight.as_ref(), measured.seconds, memory, &measured.repairs, chosen)?;
        }
        Ok(())
    }
}

/// Everything that should be known about input and outputs, each thing once.
fn warn(input: &Input, plan: &Plan) {
    for note in &input.model.notes {
        say(format_args!("note: {note}"));
    }
    for output in &plan.outputs {
        for warning in output.warnings.iter().filter(|warning| !input.model.notes.contains(warning)) {
            say(format_args!("warning: {}: {warning}", output.target.name()));
        }
    }
}

/// What should be known about outputs that was not known before.
fn warn_anew(before: &Plan, plan: &Plan) {
    for (before, output) in before.outputs.iter().zip(&plan.outputs) {
        for warning in output.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            say(format_args!("warning: {}: {warning}", output.target.name()));
        }
    }
}

/// Prints the plan.
fn show(args: &QuantizeArgs, plan: &Plan, preflight: &Preflight, run: &Run<'_>) -> Result<()> {
    match args.json {
        true => {
            let seconds = preflight.forecast_seconds;
            print_json(plan, Some(preflight), seconds, run.buffer_bytes(), &[], Choices::default())
        }
        false => print_tables(plan, preflight),
    }
}

fn print_tables(plan: &Plan, preflight: &Preflight) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    for output in &plan.outputs {
        write!(out, "{}", printable(&Table(output).to_string()))?;
    }
    writeln!(out, "{}", printable(&preflight.to_string()))?;
    Ok(out.flush()?)
}

/// The document of `--json`.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: Report<'a>,
    preflight: Option<&'a Preflight>,
    /// Blocks that could not be encoded with their importance.
    #[serde(skip_serializing_if = "<[Repair]>::is_empty")]
    repairs: &'a [Repair],
    #[serde(flatten)]
    chosen: Choices<'a>,
}

/// What was chosen on a text.
#[derive(Clone, Copy, Default, Serialize)]
struct Choices<'a> {
    /// What calibrated rounding did.
    #[serde(skip_serializing_if = "Option::is_none")]
    rounding: Option<&'a RoundingReport>,
    /// What scales did.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<&'a ScaleReport>,
}

fn print_json(
    plan: &Plan,
    preflight: Option<&Preflight>,
    seconds: f64,
    memory_bytes: u64,
    repairs: &[Repair],
    chosen: Choices<'_>,
) -> Result<()> {
    let document = Document { report: plan.report(seconds, memory_bytes), preflight, repairs, chosen };
    let mut out = BufWriter::new(io::stdout().lock());
    serde_json::to_writer_pretty(&mut out, &document).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(out.flush()?)
}
