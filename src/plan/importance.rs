//! Which entry of the importance matrix belongs to which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use weightmill_formats::Importance;
use weightmill_kernels::Dtype;

use super::error::{list, tensors};
use super::{ImportanceSummary, Input, OutputPlan, PlanError, PlannedTensor, Weighing};
use crate::options::{ImportanceFilter, Request};
use crate::recipe::{Choice, Recipe, Role};

/// What is said of an output that was planned as if there were a matrix.
pub(super) const ASSUMED: &str = "needs an importance matrix (--imatrix): planned as if there were one for every tensor; a run without it is refused";

/// Shortest run of zeros that is remembered: no row is shorter than a block of 32.
const ZEROS: usize = 32;

impl ImportanceSummary {
    /// What the plan needs of the matrix that was read from `path`, whose folder is left out.
    pub fn of(path: &Path, importance: &Importance) -> Self {
        ImportanceSummary {
            file_name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            datasets: importance.datasets.clone(),
            chunks: Some(importance.chunks).filter(|&chunks| chunks > 0),
            entries: importance.entries.iter().map(|(name, values)| (name.clone(), values.len())).collect(),
            gaps: importance.gaps.iter().fold(BTreeMap::new(), |mut gaps, gap| {
                gaps.entry(gap.entry.clone()).or_insert_with(Vec::new).push(gap.values.clone());
                gaps
            }),
            zeros: importance
                .entries
                .iter()
                .map(|(name, values)| (name.clone(), runs_of_zeros(values)))
                .filter(|(_, runs)| !runs.is_empty())
                .collect(),
        }
    }
}

fn runs_of_zeros(values: &[f32]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut begin = 0;
    for run in values.chunk_by(|a, b| (*a == 0.0) == (*b == 0.0)) {
        if run[0] == 0.0 && run.len() >= ZEROS {
            runs.push(begin..begin + run.len());
        }
        begin += run.len();
    }
    runs
}

/// The entries of the matrix that count. `None` if there are none: llama-quantize then works as without a matrix.
pub(super) fn filtered<'a>(input: &Input<'a>, filter: &ImportanceFilter) -> Option<ImportanceView<'a>> {
    let summary = input.importance?;
    let entries = summary.entries.iter().filter(|(name, _)| filter.keeps(name));
    let entries: BTreeMap<&str, usize> = entries.map(|(name, &values)| (name.as_str(), values)).collect();
    (!entries.is_empty()).then_some(ImportanceView { summary, entries })
}

/// An importance matrix reduced to the entries that count.
pub(super) struct ImportanceView<'a> {
    pub summary: &'a ImportanceSummary,
    pub entries: BTreeMap<&'a str, usize>,
}

/// Sets importance and weighing of every tensor that changes its type.
///
/// Entries bear the model's names, also where blocks were renumbered.
pub(super) fn assign(
    recipe: &'static Recipe,
    view: Option<&ImportanceView<'_>>,
    input: &Input<'_>,
    request: &Request,
    choices: &[Choice],
    output: &mut OutputPlan,
) -> Result<(), PlanError> {
    let mut noise = Vec::new();
    let mut missing = Vec::new();
    let mut gaps = Gaps::default();
    let mut used = BTreeSet::new();
    for (tensor, choice) in output.tensors.iter_mut().zip(choices) {
        let model = &input.model.tensors[tensor.index];
        let role = Role::of(&tensor.name);
        let unchanged = tensor.to == model.dtype;
        let entry = view.and_then(|view| view.entries.get_key_value(model.name.as_str()));
        if let Some((&name, &found)) = entry {
            used.insert(name);
            let expected = expected_values(&model.shape);
            if !unchanged && found as u64 == expected {
                tensor.importance = Some(name.to_owned());
            } else if !unchanged && role != Role::TokenEmbedding {
                return Err(PlanError::ImportanceSize { name: tensor.name.clone(), found, expected });
            }
        }
        let matters = !unchanged && uses_importance(tensor);
        // With a matrix, a tensor that already has its type is copied, whatever it would need.
        if tensor.importance.is_none() && choice.needs_importance && !(unchanged && view.is_some()) {
            noise.push(tensor.name.clone());
        } else if let Some(view) = view.filter(|_| matters) {
            tensor.weighing = Some(match &tensor.importance {
                Some(entry) => {
                    let columns = model.shape.last().copied().unwrap_or(1) as usize;
                    let matrices = 0..expected_values(&model.shape) as usize / columns.max(1);
                    gaps.add(&tensor.name, entry, matrices, columns, view.summary)
                }
                None => {
                    missing.push(tensor.name.clone());
                    // llama-imatrix measures no embeddings, and the output only on request.
                    let expected = !matches!(role, Role::TokenEmbedding | Role::Output);
                    if expected && request.importance.keeps(&model.name) {
                        gaps.all.push(tensor.name.clone());
                    }
                    Weighing::None
                }
            });
        }
    }
    if !noise.is_empty() {
        let recipe = recipe.name;
        return Err(match view {
            None => PlanError::NeedsImportance { recipe, names: noise },
            Some(_) => PlanError::MissingImportance { recipe, names: noise },
        });
    }
    if request.strict_importance && !gaps.all.is_empty() {
        return Err(PlanError::ImportanceGaps { recipe: recipe.name, names: gaps.all });
    }
    let warnings = &mut output.warnings;
    if !missing.is_empty() {
        let (count, names) = (tensors(&missing), list(&missing));
        warnings.push(format!("the importance matrix has nothing for {count}, quantized without: {names}"));
    }
    gaps.warn(warnings);
    let unused = view.iter().flat_map(|view| view.entries.keys()).filter(|name| !used.contains(*name));
    let unused: Vec<String> = unused.map(|&name| name.to_owned()).collect();
    if !unused.is_empty() {
        let verb = if unused.len() == 1 { "entry matches" } else { "entries match" };
        warnings.push(format!("{} {verb} no tensor: importance matrix, {}", unused.len(), list(&unused)));
    }
    Ok(())
}

/// Tensors for which the matrix has an entry that says nothing about some of their matrices.
#[derive(Default)]
pub(super) struct Gaps {
    /// Neutral there: nothing was measured, or what cannot be.
    neutral: Vec<String>,
    /// Zero throughout there.
    zero: Vec<String>,
    /// These, and tensors without an entry that should have one.
    pub all: Vec<String>,
}

impl Gaps {
    /// Notes what the entry lacks of these matrices, which have so many columns each.
    pub fn add(
        &mut self,
        name: &str,
        entry: &str,
        matrices: Range<usize>,
        columns: usize,
        summary: &ImportanceSummary,
    ) -> Weighing {
        let within = |ranges: &BTreeMap<String, Vec<Range<usize>>>| {
            let ranges = ranges.get(entry).map_or(&[][..], Vec::as_slice);
            let lies_in = |number: &usize| {
                ranges.iter().any(|range| range.start <= number * columns && (number + 1) * columns <= range.end)
            };
            matrices.clone().filter(lies_in).count()
        };
        let (neutral, zero) = (within(&summary.gaps), within(&summary.zeros));
        let matrices = matrices.len();
        let text = |count: usize| match matrices {
            0 | 1 => name.to_owned(),
            _ => format!("{name} ({count} of {matrices} matrices)"),
        };
        if neutral > 0 {
            self.neutral.push(text(neutral));
        }
        if zero > 0 {
            self.zero.push(text(zero));
        }
        match neutral + zero {
            0 => return Weighing::Measured,
            some => self.all.push(text(some)),
        }
        if neutral + zero == matrices { Weighing::None } else { Weighing::Partial }
    }

    pub fn warn(&self, warnings: &mut Vec<String>) {
        if !self.neutral.is_empty() {
            let (count, names) = (tensors(&self.neutral), list(&self.neutral));
            warnings.push(format!(
                "the importance matrix has nothing sound for parts of {count}, where all columns count the same: {names}"
            ));
        }
        if !self.zero.is_empty() {
            let (count, names) = (tensors(&self.zero), list(&self.zero));
            warnings.push(format!(
                "importance is zero throughout in parts of {count}, which llama-quantize and this program take as it is: \
                 {names}"
            ));
        }
    }
}

/// One value per column, for every matrix of a stack.
pub(crate) fn expected_values(shape: &[u64]) -> u64 {
    let rows = shape.len().saturating_sub(2);
    let stacked = shape.iter().take(rows).product::<u64>();
    stacked.saturating_mul(shape.last().copied().unwrap_or(1))
}

/// Quantized types that importance does not change: there is nothing to choose.
const ROUNDED: &[Dtype] =
    &[Dtype::Q8_0, Dtype::Q1_0, Dtype::Q2_0, Dtype::TQ1_0, Dtype::TQ2_0, Dtype::MXFP4, Dtype::NVFP4];

fn uses_importance(tensor: &PlannedTensor) -> bool {
    tensor.to.is_quantized() && !tensor.lossless && !ROUNDED.contains(&tensor.to)
}
