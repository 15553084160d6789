//! Planning a quantized checkpoint folder: which weights are coded, in groups of which size, and what is said of that.

use std::collections::{BTreeMap, HashMap};

use weightmill_kernels::Dtype;

use super::error::list;
use super::holders::{Holder, Holders};
use super::importance::Gaps;
use super::output::Stored;
use super::{Input, PlanError, Weighing, importance};
use crate::model::ModelTensor;
use crate::options::{Fallback, GroupSize, Request, Search};
use crate::publish::Published;
use crate::scheme::{
    Arrangement, Coding, Outcome, OutputScheme, Statement, fused, is_chosen, is_of_experts, is_outside, module_of,
    stacked,
};

/// What is decided for all tensors of a checkpoint.
pub(super) struct Chosen {
    /// For every tensor in the scheme's arrangement what codes it, if something does.
    pub weights: Vec<Option<Weight>>,
    /// What config.json says of it.
    pub statement: Statement,
    /// Type of the tensors that are not coded.
    pub float: Dtype,
}

/// What is decided for one weight.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weight {
    pub coding: Coding,
    /// Number of the weights that share a divisor with it.
    pub set: usize,
    /// Entry of the importance matrix, and its first expert that is meant.
    pub importance: Option<(String, usize)>,
    /// How the columns are weighed, where there is an importance matrix and scales are searched.
    pub weighing: Option<Weighing>,
    /// The rows do not fill groups of the size that was wanted.
    pub fallback: bool,
}

/// Rows, over all matrices of a stack, and columns of a weight.
pub(super) fn size(tensor: &ModelTensor) -> [u64; 2] {
    let (columns, rows) = tensor.shape.split_last().unwrap_or((&1, &[]));
    [rows.iter().fold(1, |rows: u64, length| rows.saturating_mul(*length)), *columns]
}

/// Decides.
pub(super) fn choose(
    input: &Input<'_>,
    request: &Request,
    scheme: &'static OutputScheme,
    published: &Published,
    warnings: &mut Vec<String>,
) -> Result<Chosen, PlanError> {
    let options = &request.schemes;
    let wanted = wanted_group(scheme, options.group, warnings)?;
    let asymmetric = options.asymmetric && scheme.asymmetric.is_some();
    if options.asymmetric && !asymmetric {
        warnings.push(format!("--asymmetric has no effect on {}", scheme.name));
    }
    let search = search(scheme, asymmetric, options.search, warnings);
    let float = float_type(published);

    let arranged = published.arranged(Some(scheme.experts));
    let tensors: Vec<&ModelTensor> = arranged.iter().map(|(_, tensor)| *tensor).collect();
    let candidates = candidates(input, scheme, published, &arranged);
    let groups = groups_of_sets(scheme, wanted, &tensors, &candidates);
    let mut chosen = Chosen { weights: vec![None; tensors.len()], statement: Statement::default(), float };
    let mut sets: HashMap<String, usize> = HashMap::new();
    let (mut smaller, mut left): (BTreeMap<String, Vec<String>>, Vec<String>) = Default::default();
    for &(number, module) in &candidates {
        let tensor = tensors[number];
        let Some(group) = groups[&stacked(module)] else {
            left.push(tensor.name.clone());
            continue;
        };
        if group != wanted {
            smaller.entry(group.to_string()).or_default().push(tensor.name.clone());
        }
        let next = sets.len();
        let set = *sets.entry(fused(module)).or_insert(next);
        let coding = Coding { scheme, group, asymmetric, float, search };
        let fallback = group != wanted;
        chosen.weights[number] = Some(Weight { coding, set, importance: None, weighing: None, fallback });
    }
    check(input, request, scheme, &tensors, &chosen)?;
    let stacks = left_stacks(&tensors, &chosen);
    if request.types.fallback == Fallback::Error && !(left.is_empty() && smaller.is_empty() && stacks.is_empty()) {
        let names = smaller.into_values().flatten().chain(left).chain(stacks).collect();
        return Err(PlanError::Fallback { recipe: scheme.name, names });
    }
    for (group, names) in smaller {
        let names = list(&names);
        warnings.push(format!("groups of {group} instead of {wanted}, which rows do not fill: {names}"));
    }
    if !left.is_empty() {
        let names = list(&left);
        warnings.push(format!("not quantized, as rows or columns do not fill what {} needs: {names}", scheme.name));
    }
    if !stacks.is_empty() {
        let names = list(&stacks);
        warnings.push(format!(
            "not quantized, as programs find these experts in stacks only, or nothing says how they lie there: {names}"
        ));
    }
    if search != Search::AbsMax {
        assign_importance(input, request, scheme, &tensors, &mut chosen, warnings)?;
    }
    chosen.statement = state(scheme, wanted, asymmetric, &tensors, &chosen);
    Ok(chosen)
}

/// How scales are found, of what was asked for.
fn search(
    scheme: &'static OutputScheme,
    asymmetric: bool,
    asked: Option<Search>,
    warnings: &mut Vec<String>,
) -> Search {
    match asked.unwrap_or_default() {
        Search::AbsMax => Search::AbsMax,
        _ if !scheme.searches() => {
            if asked.is_some() {
                let reason = "8-bit floats are as fine with any scale";
                warnings.push(format!("--search has no effect on {}: {reason}", scheme.name));
            }
            Search::AbsMax
        }
        Search::MseSigned if !scheme.searches_signs(asymmetric) => {
            warnings.push(format!("--search mse-signed is mse for {}, whose scales have one sign each", scheme.name));
            Search::Mse
        }
        search => search,
    }
}

fn wanted_group(
    scheme: &'static OutputScheme,
    asked: Option<GroupSize>,
    warnings: &mut Vec<String>,
) -> Result<GroupSize, PlanError> {
    match asked {
        None => Ok(scheme.groups[0]),
        Some(group) if scheme.groups.contains(&group) => Ok(group),
        Some(group) if scheme.groups.len() > 1 => {
            let known: Vec<String> = scheme.groups.iter().map(GroupSize::to_string).collect();
            Err(PlanError::NoSuchGroups { scheme: scheme.name, group, known: known.join(", ") })
        }
        Some(group) => {
            warnings.push(format!("--group-size {group} has no effect on {}", scheme.name));
            Ok(scheme.groups[0])
        }
    }
}

/// The type that most numbers of matrices have, if that is one of those in which models compute; BF16 for all others.
fn float_type(published: &Published) -> Dtype {
    let mut weights: BTreeMap<Dtype, u64> = BTreeMap::new();
    for tensor in published.tensors.iter().filter(|tensor| tensor.shape.len() > 1) {
        *weights.entry(tensor.dtype).or_default() += tensor.shape.iter().product::<u64>();
    }
    let most = weights.into_iter().max_by_key(|(_, weights)| *weights).map(|(dtype, _)| dtype);
    most.filter(|dtype| matches!(dtype, Dtype::F16 | Dtype::F32)).unwrap_or(Dtype::BF16)
}

/// The matrices that the scheme would code, each with its module.
fn candidates<'a>(
    input: &Input<'_>,
    scheme: &'static OutputScheme,
    published: &Published,
    arranged: &[(usize, &'a ModelTensor)],
) -> Vec<(usize, &'a str)> {
    let config = published.config.as_ref();
    let blocks = config.and_then(|config| {
        let text = config.get("text_config").and_then(|text| text.get("num_hidden_layers"));
        config.get("num_hidden_layers").or(text)?.as_u64()
    });
    let candidate = |(number, &(index, tensor)): (usize, &(usize, &'a ModelTensor))| {
        let is_stack = index >= published.tensors.len() && tensor.shape.len() == 3;
        let module = module_of(&tensor.name).filter(|_| tensor.shape.len() == 2 || is_stack)?;
        let stored = Stored::of(input, tensor);
        let decodes = stored.is_encoded() || stored.dtype.info().dequantize.is_some();
        let kept = module.rsplit('.').next().is_some_and(|last| scheme.kept.contains(&last));
        let wanted = is_chosen(module, blocks) && !kept || scheme.embeddings && is_outside(module);
        (wanted && decodes).then_some((number, module))
    };
    arranged.iter().enumerate().filter_map(candidate).collect()
}

/// The size of groups for weights that become one when they are loaded: one that the rows of all of them fill.
fn groups_of_sets(
    scheme: &'static OutputScheme,
    wanted: GroupSize,
    tensors: &[&ModelTensor],
    candidates: &[(usize, &str)],
) -> HashMap<String, Option<GroupSize>> {
    let mut groups: HashMap<String, Option<GroupSize>> = HashMap::new();
    let order = |group: Option<GroupSize>| {
        let place = group.and_then(|group| scheme.groups.iter().position(|other| *other == group));
        place.unwrap_or(usize::MAX)
    };
    for (number, module) in candidates {
        let own = scheme.group(size(tensors[*number]), wanted);
        let group = groups.entry(stacked(module)).or_insert(own);
        // what is later in the list is also what fewer rows allow
        if order(own) > order(*group) {
            *group = own;
        }
    }
    groups
}

/// Stacks of experts' matrices that stay as they are.
fn left_stacks(tensors: &[&ModelTensor], chosen: &Chosen) -> Vec<String> {
    let left = tensors
        .iter()
        .zip(&chosen.weights)
        .filter(|(tensor, weight)| weight.is_none() && tensor.shape.len() == 3 && is_of_experts(&tensor.name));
    left.map(|(tensor, _)| tensor.name.clone()).collect()
}

fn check(
    input: &Input<'_>,
    request: &Request,
    scheme: &'static OutputScheme,
    tensors: &[&ModelTensor],
    chosen: &Chosen,
) -> Result<(), PlanError> {
    let coded = || tensors.iter().zip(&chosen.weights).filter(|(_, weight)| weight.is_some());
    if coded().next().is_none() {
        return Err(PlanError::NothingToCode { scheme: scheme.name });
    }
    if scheme.experts == Arrangement::Stacked
        && let Some(tensor) = tensors.iter().find(|tensor| is_of_experts(&tensor.name))
    {
        return Err(PlanError::Experts { scheme: scheme.name, name: tensor.name.clone() });
    }
    if !request.types.allow_requantize {
        let again = coded().filter(|(tensor, _)| tensor.dtype.is_quantized());
        let names: Vec<String> = again.map(|(tensor, _)| tensor.name.clone()).collect();
        if !names.is_empty() && input.is_gguf() {
            return Err(PlanError::Requantize { recipe: scheme.name, names });
        }
    }
    Ok(())
}

/// Gives every coded weight its entry of the importance matrix, which bears the names of GGUF.
fn assign_importance(
    input: &Input<'_>,
    request: &Request,
    scheme: &'static OutputScheme,
    tensors: &[&ModelTensor],
    chosen: &mut Chosen,
    warnings: &mut Vec<String>,
) -> Result<(), PlanError> {
    let Some(view) = importance::filtered(input, &request.importance) else { return Ok(()) };
    let holders = Holders::new(input.model);
    let mut missing = Vec::new();
    let mut gaps = Gaps::default();
    for (tensor, weight) in tensors.iter().zip(&mut chosen.weights) {
        let Some(weight) = weight else { continue };
        let holder = holders.of(tensor);
        let entry = holder.and_then(|holder| Some((holder, *view.entries.get(holder.name)?)));
        let columns = tensor.shape.last().copied().unwrap_or(1);
        let Some((Holder { name, matrix, matrices, .. }, found)) = entry else {
            missing.push(tensor.name.clone());
            weight.weighing = Some(Weighing::None);
            let expected = !module_of(&tensor.name).is_some_and(is_outside);
            if expected && holder.is_none_or(|holder| request.importance.keeps(holder.name)) {
                gaps.all.push(tensor.name.clone());
            }
            continue;
        };
        let expected = columns.saturating_mul(matrices as u64);
        if found as u64 != expected {
            return Err(PlanError::ImportanceSize { name: name.to_owned(), found, expected });
        }
        let count = if tensor.shape.len() > 2 { tensor.shape[0] as usize } else { 1 };
        let own = matrix..matrix.saturating_add(count).min(matrices);
        weight.weighing = Some(gaps.add(&tensor.name, name, own, columns as usize, view.summary));
        weight.importance = Some((name.to_owned(), matrix));
    }
    if request.strict_importance && !gaps.all.is_empty() {
        return Err(PlanError::ImportanceGaps { recipe: scheme.name, names: gaps.all });
    }
    if !missing.is_empty() {
        let (count, names) = (super::error::tensors(&missing), list(&missing));
        warnings.push(format!("the importance matrix has nothing for {count}, quantized without: {names}"));
    }
    gaps.warn(warnings);
    Ok(())
}

fn state(
    scheme: &'static OutputScheme,
    group: GroupSize,
    asymmetric: bool,
    tensors: &[&ModelTensor],
    chosen: &Chosen,
) -> Statement {
    let all = || tensors.iter().zip(&chosen.weights);
    let coded: Vec<(&str, GroupSize)> =
        all().filter_map(|(tensor, weight)| Some((module_of(&tensor.name)?, weight.as_ref()?.coding.group))).collect();
    let left = all().filter(|(_, weight)| weight.is_none()).filter_map(|(tensor, _)| match tensor.shape.len() {
        2 => module_of(&tensor.name),
        3 if is_of_experts(&tensor.name) => experts_module(&tensor.name),
        _ => None,
    });
    let mut left: Vec<&str> = left.collect();
    left.dedup();
    (scheme.configure)(&Outcome { scheme, group, asymmetric, coded: &coded, left: &left })
}

/// The module that has a stack of experts' matrices.
fn experts_module(name: &str) -> Option<&str> {
    match name.find(".experts.") {
        Some(at) => Some(&name[..at + ".experts".len()]),
        None => module_of(name),
    }
}
