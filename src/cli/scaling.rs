//! `--method awq` and `--method smoothquant`: scales that are folded into the model before it is quantized.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use weightmill::evaluate::Step;
use weightmill::folding::{Folding, Link, Origin};
use weightmill::input::Input;
use weightmill::model::Map;
use weightmill::pipeline::Goal;
use weightmill::plan::Plan;
use weightmill::publish::Published;
use weightmill::rounding::scales::{Method, ScalePlan, ScaleReport, ScaledInput, Scales, search};
use weightmill::rounding::{LayerErrors, Progress, Settings};
use weightmill_formats::Importance;
use weightmill_kernels::{Dtype, Level};

use super::args::QuantizeArgs;
use super::evaluate::ForwardArgs;
use super::message::say;
use super::progress::Layers;
use super::rounding::listed;
use super::{calibrate, signals};

/// Finds what can be folded, and says so to the weights: the plan then knows which will be others than those that are stored.
pub(super) fn folding(input: &mut Input, method: Method) -> Result<Folding> {
    let wanted = |link: &Link| method == Method::Awq || matches!(link.origin, Origin::Norm(_));
    let folding = Folding::new(&input.model, &input.weights, &wanted)?;
    if folding.links().is_empty() {
        bail!(
            "--method {}: of architecture {} nothing is known that scales could be folded into",
            name(method),
            input.model.architecture
        );
    }
    folding.mark(&mut input.weights);
    Ok(folding)
}

fn name(method: Method) -> &'static str {
    match method {
        Method::Awq => "awq",
        Method::SmoothQuant => "smoothquant",
    }
}

/// What scales would be chosen for.
pub(super) fn plan<'a>(
    input: &Input,
    method: Method,
    goals: Vec<Goal<'a>>,
    folding: &'a Folding,
    limit: u64,
) -> Result<ScalePlan<'a>> {
    let plan = ScalePlan::new(method, goals, &input.model, folding, limit)?;
    if plan.needs().inputs == 0 {
        bail!(
            "--method {} has nothing to do: of the types asked for, none is one that rounds single weights \
             (Q2_K to Q6_K, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, IQ4_NL, IQ4_XS, and folders of integers)",
            name(method)
        );
    }
    Ok(plan)
}

/// Chooses scales.
pub(super) fn choose(
    args: &QuantizeArgs,
    input: &Input,
    plan: &Plan,
    scale_plan: &ScalePlan<'_>,
    level: Level,
) -> Result<Scales> {
    let forward = ForwardArgs { max_memory: scale_plan.forward_memory(), ..ForwardArgs::of_main(args) };
    let folder = folder(&plan.outputs[0].path);
    signals::listen()?;
    let settings = Settings { force: args.force, ..Settings::new(level) };
    let display = Layers::new(args.quiet);
    let show = |errors: LayerErrors| {
        let LayerErrors { layer, before, after } = errors;
        display.note(&format!("layer {layer}: relative error of outputs {before:.3e} -> {after:.3e} with scales"));
    };
    let texts = args.calibrate.as_deref().unwrap_or_default();
    let result = calibrate::on_texts(input, texts, &forward, |machine, corpus, _| {
        let progress = Progress { step: &|step: Step| display.show(step.done, step.total), layer: &show };
        Ok(search(machine, &input.weights, corpus, scale_plan, (folder, &settings), &progress)?)
    });
    display.finish();
    let scales = result?;
    if !args.quiet {
        tell(&scales.report);
    }
    Ok(scales)
}

/// The folder of what is kept for an output that goes to `output`.
fn folder(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.scales"))
}

/// Folds scales into weights and importance.
pub(super) fn fold(
    folding: &Folding,
    scales: &[Vec<f32>],
    input: &mut Input,
    (plan, published): (&Plan, Option<&Published>),
    importance: &mut Importance,
    level: Level,
) {
    let written = |weight: usize| written(plan, published, weight);
    let scales = folding.fold(&mut input.weights, scales, &written, level);
    for tensor in &input.model.tensors {
        if let Some(values) = importance.entries.get_mut(&tensor.name) {
            let matrices = if tensor.shape.len() > 2 { tensor.shape[0] as usize } else { 1 };
            folding.weigh(&scales, &tensor.name, values, matrices);
        }
    }
}

/// The forms in which a stored vector is written, where they are narrower than F32.
fn written(plan: &Plan, published: Option<&Published>, weight: usize) -> Vec<(Map, Dtype)> {
    let mut forms = Vec::new();
    let Some(published) = published else { return forms };
    let tensors: Vec<_> = published.all().collect();
    for output in plan.outputs.iter().filter(|output| output.target.is_folder()) {
        for planned in output.tensors.iter().filter(|planned| planned.shape.len() == 1) {
            let own = tensors[planned.index].data.pieces().iter().find(|piece| piece.weight == weight);
            let form = own.map(|piece| (piece.map, planned.to)).filter(|(_, dtype)| *dtype != Dtype::F32);
            forms.extend(form.filter(|form| !forms.contains(form)));
        }
    }
    forms
}

/// Where it helped and where not.
fn tell(report: &ScaleReport) {
    if report.resumed > 0 {
        say(format_args!("scales of {} inputs were chosen by an earlier run", report.resumed));
    }
    let first = |input: &'_ ScaledInput| input.into.first().cloned().unwrap_or_default();
    let of = |wanted: &dyn Fn(&ScaledInput) -> bool| -> Vec<String> {
        report.scaled.iter().filter(|input| wanted(input)).map(first).collect()
    };
    let few = of(&|input| input.figures.plain_matrices > 0);
    let unchanged = of(&|input| input.figures.plain_matrices == 0 && input.is_unchanged());
    let names = |names: &[String]| listed(&names.iter().map(String::as_str).collect::<Vec<_>>());
    say(format_args!(
        "{} inputs scaled on {} tokens: squared errors of outputs are {:.3} of those without scales; no scales are better for {}{}",
        report.scaled.len() - unchanged.len() - few.len(),
        report.tokens,
        report.ratio(),
        unchanged.len(),
        names(&unchanged)
    ));
    if !few.is_empty() {
        say(format_args!("{} inputs keep their scale, as too few tokens came to them{}", few.len(), names(&few)));
    }
    let mut reasons: Vec<_> = report.unscaled.iter().map(|unscaled| unscaled.because).collect();
    reasons.sort();
    reasons.dedup();
    for because in reasons {
        let own = report.unscaled.iter().filter(|unscaled| unscaled.because == because);
        let names: Vec<&str> = own.map(|unscaled| unscaled.tensor.as_str()).collect();
        say(format_args!("{} tensors keep their inputs ({because}){}", names.len(), listed(&names)));
    }
}
