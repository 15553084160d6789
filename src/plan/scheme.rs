//! Planning a quantized checkpoint folder: which weights are coded, in groups of which size, and what is said of that.

use std::collections::{BTreeMap, HashMap};

use weightmill_kernels::Dtype;

use super::error::list;
use super::output::Stored;
use super::{Input, PlanError, importance};
use crate::model::{Map, ModelTensor};
use crate::options::{Fallback, GroupSize, Request, Search};
use crate::publish::Published;
use crate::scheme::{Coding, Outcome, OutputScheme, Statement, fused, is_chosen, is_outside, module_of, stacked};

/// What is decided for all tensors of a checkpoint.
pub(super) struct Chosen {
    /// For every tensor what codes it, if something does.
    pub tensors: Vec<Option<Weight>>,
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
    /// Entry of the importance matrix, and which of its experts.
    pub importance: Option<(String, usize)>,
    /// The rows do not fill groups of the size that was wanted.
    pub fallback: bool,
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
    let searches = scheme.searches(asymmetric);
    if options.search.is_some_and(|search| search != Search::AbsMax) && !searches {
        warnings.push(format!("--search has no effect on {}, whose scales are not searched", scheme.name));
    }
    let search = if searches { options.search.unwrap_or_default() } else { Search::AbsMax };
    let float = float_type(published);

    let candidates = candidates(input, scheme, published);
    let groups = groups_of_sets(scheme, wanted, published, &candidates);
    let mut chosen = Chosen { tensors: vec![None; published.tensors.len()], statement: Statement::default(), float };
    let mut sets: HashMap<String, usize> = HashMap::new();
    let (mut smaller, mut left): (BTreeMap<String, Vec<String>>, Vec<String>) = Default::default();
    for &(index, module) in &candidates {
        let tensor = &published.tensors[index];
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
        chosen.tensors[index] = Some(Weight { coding, set, importance: None, fallback: group != wanted });
    }
    check(input, request, scheme, published, &chosen)?;
    if request.types.fallback == Fallback::Error && !(left.is_empty() && smaller.is_empty()) {
        let names = smaller.into_values().flatten().chain(left).collect();
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
    if search != Search::AbsMax {
        assign_importance(input, request, published, &mut chosen, warnings)?;
    }
    chosen.statement = state(scheme, wanted, asymmetric, published, &chosen);
    Ok(chosen)
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
fn candidates<'a>(input: &Input<'_>, scheme: &'static OutputScheme, published: &'a Published) -> Vec<(usize, &'a str)> {
    let config = published.config.as_ref();
    let blocks = config.and_then(|config| {
        let text = config.get("text_config").and_then(|text| text.get("num_hidden_layers"));
        config.get("num_hidden_layers").or(text)?.as_u64()
    });
    let candidate = |(index, tensor): (usize, &'a ModelTensor)| {
        let module = module_of(&tensor.name).filter(|_| tensor.shape.len() == 2)?;
        let stored = Stored::of(input, tensor);
        let decodes = stored.is_encoded() || stored.dtype.info().dequantize.is_some();
        let wanted = is_chosen(module, blocks) || scheme.embeddings && is_outside(module);
        (wanted && decodes).then_some((index, module))
    };
    published.tensors.iter().enumerate().filter_map(candidate).collect()
}

/// The size of groups for weights that become one when they are loaded: one that the rows of all of them fill.
fn groups_of_sets(
    scheme: &'static OutputScheme,
    wanted: GroupSize,
    published: &Published,
    candidates: &[(usize, &str)],
) -> HashMap<String, Option<GroupSize>> {
    let mut groups: HashMap<String, Option<GroupSize>> = HashMap::new();
    let order = |group: Option<GroupSize>| {
        let place = group.and_then(|group| scheme.groups.iter().position(|other| *other == group));
        place.unwrap_or(usize::MAX)
    };
    for (index, module) in candidates {
        let size = [published.tensors[*index].shape[0], published.tensors[*index].shape[1]];
        let own = scheme.group(size, wanted);
        let group = groups.entry(stacked(module)).or_insert(own);
        // what is later in the list is also what fewer rows allow
        if order(own) > order(*group) {
            *group = own;
        }
    }
    groups
}

fn check(
    input: &Input<'_>,
    request: &Request,
    scheme: &'static OutputScheme,
    published: &Published,
    chosen: &Chosen,
) -> Result<(), PlanError> {
    let coded = || published.tensors.iter().zip(&chosen.tensors).filter(|(_, weight)| weight.is_some());
    if coded().next().is_none() {
        return Err(PlanError::NothingToCode { scheme: scheme.name });
    }
    if scheme.embeddings
        && let Some((tensor, _)) = coded().find(|(tensor, _)| tensor.name.contains(".experts."))
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
    published: &Published,
    chosen: &mut Chosen,
    warnings: &mut Vec<String>,
) -> Result<(), PlanError> {
    let Some(view) = importance::filtered(input, &request.importance) else { return Ok(()) };
    // For every stored weight the tensor of GGUF that has its columns, and which of its matrices.
    let mut holders: HashMap<usize, (&str, usize, usize)> = HashMap::new();
    for tensor in &input.model.tensors {
        let pieces = tensor.data.pieces();
        let matrices = if tensor.shape.len() > 2 { tensor.shape[0] as usize } else { 1 };
        for (number, piece) in pieces.iter().enumerate() {
            let weight = &input.weights.list()[piece.weight];
            let whole_rows = piece.view.columns.stride == 1 && piece.view.columns.length == weight.columns() as u64;
            if whole_rows && piece.map == Map::Same && weight.shape.len() == 2 {
                let expert = if matrices == pieces.len() { number } else { 0 };
                holders.entry(piece.weight).or_insert((&tensor.name, expert, matrices));
            }
        }
    }
    let mut missing = Vec::new();
    for (tensor, weight) in published.tensors.iter().zip(&mut chosen.tensors) {
        let Some(weight) = weight else { continue };
        let holder = tensor.data.pieces().first().and_then(|piece| holders.get(&piece.weight));
        let entry = holder.and_then(|&(name, expert, matrices)| {
            let values = *view.entries.get(name)?;
            Some((name, expert, matrices, values))
        });
        let Some((name, expert, matrices, found)) = entry else {
            missing.push(tensor.name.clone());
            continue;
        };
        let expected = tensor.shape[1].saturating_mul(matrices as u64);
        if found as u64 != expected {
            return Err(PlanError::ImportanceSize { name: name.to_owned(), found, expected });
        }
        weight.importance = Some((name.to_owned(), expert));
    }
    if !missing.is_empty() {
        let (count, names) = (super::error::tensors(&missing), list(&missing));
        warnings.push(format!("the importance matrix has nothing for {count}, quantized without: {names}"));
    }
    Ok(())
}

fn state(
    scheme: &'static OutputScheme,
    group: GroupSize,
    asymmetric: bool,
    published: &Published,
    chosen: &Chosen,
) -> Statement {
    let tensors = || published.tensors.iter().zip(&chosen.tensors);
    let coded: Vec<(&str, GroupSize)> = tensors()
        .filter_map(|(tensor, weight)| Some((module_of(&tensor.name)?, weight.as_ref()?.coding.group)))
        .collect();
    let left = tensors().filter(|(tensor, weight)| weight.is_none() && tensor.shape.len() == 2);
    let left: Vec<&str> = left.filter_map(|(tensor, _)| module_of(&tensor.name)).collect();
    (scheme.configure)(&Outcome { scheme, group, asymmetric, coded: &coded, left: &left })
}
