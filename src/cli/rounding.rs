//! `--method`: rounding with the second moments of a text.

use std::path::Path;

use anyhow::{Result, bail};
use weightmill::calibrate::Collector;
use weightmill::evaluate::Step;
use weightmill::input::Input;
use weightmill::pipeline::{self, Disk, Goal};
use weightmill::plan::Plan;
use weightmill::rounding::{self, Choice, LayerErrors, Progress, Report, Rounded, Schedule, Settings, Store};
use weightmill_formats::imatrix::Imatrix;
use weightmill_kernels::Level;

use super::args::QuantizeArgs;
use super::evaluate::ForwardArgs;
use super::message::say;
use super::method::Methods;
use super::progress::Layers;
use super::{calibrate, signals};

/// Names that a line lists.
const LISTED: usize = 6;

/// What would be rounded, if anything: with gptq whatever has levels, with awq alone what then gets other scales of groups.
/// `taken` of the memory is something else's.
pub(super) fn schedule<'a>(
    args: &QuantizeArgs,
    methods: Methods,
    input: &Input,
    mut goals: Vec<Goal<'a>>,
    taken: u64,
) -> Result<Option<Schedule<'a>>> {
    let Some(choice) = methods.choice() else { return Ok(None) };
    if choice == Choice::Scales {
        goals.retain(Goal::is_coded);
    }
    let schedule = Schedule::new(goals, &input.model, args.max_memory, taken)?;
    if args.sequential && !schedule.is_single() {
        bail!(
            "--sequential takes one type: layers cannot see what is written of those before them in two; run the command once for each"
        );
    }
    match choice {
        _ if schedule.needs().tensors > 0 => Ok(Some(schedule)),
        Choice::Scales => Ok(None),
        Choice::Levels => bail!(
            "--method gptq has nothing to do: of the types asked for, no layer's tensors are of one whose levels can be chosen \
             (Q2_K to Q6_K, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, IQ4_XS, and folders of integers)"
        ),
    }
}

/// Rounds what the schedule lists, and measures an importance matrix in the same run of the text if none was given or measured
/// before. `folded` tells the scales that are folded into the weights, if there are any.
pub(super) fn round(
    args: &QuantizeArgs,
    methods: Methods,
    input: &Input,
    plan: &Plan,
    schedule: &Schedule<'_>,
    folded: Option<String>,
    level: Level,
) -> Result<(Rounded, Option<Imatrix>)> {
    let forward = ForwardArgs { max_memory: schedule.forward_memory(), ..ForwardArgs::of_main(args) };
    let folder = Store::folder(&plan.outputs[0].path);
    let measures = args.imatrix.is_none() && methods.measures_importance();
    signals::listen()?;
    let settings = Settings {
        choice: methods.choice().unwrap_or(Choice::Levels),
        folded,
        sequential: args.sequential,
        force: args.force,
        ..Settings::new(level)
    };
    let display = Layers::new(args.quiet);
    let show = |errors: LayerErrors| {
        let LayerErrors { layer, before, after } = errors;
        display.note(&format!("layer {layer}: relative error of outputs {before:.3e} -> {after:.3e}"));
    };
    let texts = args.calibrate.as_deref().unwrap_or_default();
    let result = calibrate::on_texts(input, texts, &forward, |machine, corpus, names| {
        let progress = Progress { step: &|step: Step| display.show(step.done, step.total), layer: &show };
        let mut collector = measures.then(|| Collector::new(false));
        let (weights, settings) = (&input.weights, (folder, &settings));
        let rounded = rounding::round(machine, weights, corpus, schedule, settings, collector.as_mut(), &progress)?;
        let sequences = u32::try_from(corpus.sequences())?;
        Ok((rounded, collector.map(|mut collector| collector.matrix(names, sequences, corpus.context as u32))))
    });
    display.finish();
    let (rounded, matrix) = result?;
    if !args.quiet {
        tell(&rounded.report);
    }
    Ok((rounded, matrix))
}

/// Fails if outputs and results have no room beside each other.
pub(super) fn check_room(plan: &Plan, schedule: &Schedule<'_>) -> Result<(), pipeline::Error> {
    let folder = Store::folder(&plan.outputs[0].path);
    let there = |folder: &Path| -> u64 {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    let disks = Disk::of(plan)?;
    let holds = |disk: &&Disk| folder.starts_with(&disk.folder);
    if let Some(disk) = disks.iter().find(holds).or(disks.first()) {
        let needed = disk.needed + schedule.needs().disk.saturating_sub(there(&folder));
        if needed > disk.free {
            return Err(pipeline::Error::NoSpace { folder: disk.folder.clone(), needed, available: disk.free });
        }
    }
    Ok(())
}

/// Where it helped and where not.
fn tell(report: &Report) {
    if report.resumed > 0 {
        say(format_args!("{} tensors were rounded by an earlier run", report.resumed));
    }
    let worse: Vec<&str> = report.worse().map(|tensor| tensor.tensor.as_str()).collect();
    say(format_args!(
        "{} tensors rounded on {} tokens: squared errors of outputs are {:.3} of those of plain rounding, and larger in {}{}",
        report.rounded.len(),
        report.tokens,
        report.ratio(),
        worse.len(),
        listed(&worse)
    ));
    let few = report.rounded.iter().filter(|tensor| tensor.figures.plain_matrices > 0);
    for tensor in few {
        say(format_args!(
            "{}: {} of {} matrices rounded plainly, as too few tokens came to them",
            tensor.tensor, tensor.figures.plain_matrices, tensor.matrices
        ));
    }
    if !report.plain.is_empty() {
        let names: Vec<&str> = report.plain.iter().map(String::as_str).collect();
        say(format_args!(
            "{} tensors rounded plainly, as their inputs are not measured{}",
            names.len(),
            listed(&names)
        ));
    }
}

pub(super) fn listed(names: &[&str]) -> String {
    match names.len() {
        0 => String::new(),
        count if count > LISTED => format!(": {} ...", names[..LISTED].join(", ")),
        _ => format!(": {}", names.join(", ")),
    }
}
