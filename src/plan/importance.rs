//! Which entry of the importance matrix belongs to which tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use weightmill_formats::Importance;

use super::error::{list, tensors};
use super::{ImportanceSummary, Input, PlanError, PlannedTensor};
use crate::options::ImportanceFilter;
use crate::recipe::{Choice, Recipe, Role};

impl ImportanceSummary {
    /// What the plan needs of the matrix that was read from `path`, whose folder is left out.
    pub fn of(path: &Path, importance: &Importance) -> Self {
        ImportanceSummary {
            file_name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            datasets: importance.datasets.clone(),
            chunks: Some(importance.chunks).filter(|&chunks| chunks > 0),
            entries: importance.entries.iter().map(|(name, values)| (name.clone(), values.len())).collect(),
        }
    }
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

/// Sets [`PlannedTensor::importance`] of every tensor that changes its type.
///
/// Entries bear the model's names, also where blocks were renumbered.
pub(super) fn assign(
    recipe: &'static Recipe,
    view: Option<&ImportanceView<'_>>,
    input: &Input<'_>,
    planned: &mut [PlannedTensor],
    choices: &[Choice],
    warnings: &mut Vec<String>,
) -> Result<(), PlanError> {
    let mut noise = Vec::new();
    let mut missing = Vec::new();
    let mut used = BTreeSet::new();
    for (tensor, choice) in planned.iter_mut().zip(choices) {
        let model = &input.model.tensors[tensor.index];
        let unchanged = tensor.to == model.dtype;
        let entry = view.and_then(|view| view.entries.get_key_value(model.name.as_str()));
        if let Some((&name, &found)) = entry {
            used.insert(name);
            let expected = expected_values(&model.shape);
            if !unchanged && found as u64 == expected {
                tensor.importance = Some(name.to_owned());
            } else if !unchanged && Role::of(&tensor.name) != Role::TokenEmbedding {
                return Err(PlanError::ImportanceSize { name: tensor.name.clone(), found, expected });
            }
        }
        // With a matrix, a tensor that already has its type is copied, whatever it would need.
        if tensor.importance.is_none() && choice.needs_importance && !(unchanged && view.is_some()) {
            noise.push(tensor.name.clone());
        } else if tensor.importance.is_none() && !unchanged && uses_importance(tensor) && view.is_some() {
            missing.push(tensor.name.clone());
        }
    }
    if !noise.is_empty() {
        let recipe = recipe.name;
        return Err(match view {
            None => PlanError::NeedsImportance { recipe, names: noise },
            Some(_) => PlanError::MissingImportance { recipe, names: noise },
        });
    }
    if !missing.is_empty() {
        let (count, names) = (tensors(&missing), list(&missing));
        warnings.push(format!("the importance matrix has nothing for {count}, quantized without: {names}"));
    }
    let unused = view.iter().flat_map(|view| view.entries.keys()).filter(|name| !used.contains(*name));
    let unused: Vec<String> = unused.map(|&name| name.to_owned()).collect();
    if !unused.is_empty() {
        let verb = if unused.len() == 1 { "entry matches" } else { "entries match" };
        warnings.push(format!("{} {verb} no tensor: importance matrix, {}", unused.len(), list(&unused)));
    }
    Ok(())
}

/// One value per column, for every matrix of a stack.
fn expected_values(shape: &[u64]) -> u64 {
    let rows = shape.len().saturating_sub(2);
    let stacked = shape.iter().take(rows).product::<u64>();
    stacked.saturating_mul(shape.last().copied().unwrap_or(1))
}

/// Importance changes nothing where all that is done is rounding: floats, and Q8_0.
fn uses_importance(tensor: &PlannedTensor) -> bool {
    tensor.to.is_quantized() && tensor.to != weightmill_kernels::Dtype::Q8_0
}
