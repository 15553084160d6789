//! Rules read backwards: from the tensors of GGUF to those of the checkpoint they were made from.

use std::collections::HashMap;

use super::rule::{Part, Rule};
use crate::model::{Map, ModelTensor, Piece, TensorData};
use crate::view::{Axis, View};
use crate::weights::{Weight, Weights};

/// Most pieces of one tensor: more are made of single rows, which nobody should read.
const MAX_PIECES: usize = 1 << 16;

/// Why the tensors of a GGUF file cannot be turned back into those of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum InvertError {
    #[error("tensor {} is missing", name.escape_debug())]
    Missing { name: String },
    #[error("tensor {} has the shape {found:?}, but by the metadata it is {expected:?}", name.escape_debug())]
    Shape { name: String, found: Vec<u64>, expected: Vec<u64> },
    #[error("no checkpoint of this architecture has a tensor from which {} comes", name.escape_debug())]
    Unnamed { name: String },
    #[error("what became of {} of the checkpoint cannot be reversed", name.escape_debug())]
    Irreversible { name: String },
    #[error("the metadata declares {declared} {what}, but there are only {tensors} tensors")]
    TooMany { what: &'static str, declared: u32, tensors: usize },
}

/// The tensors that `rules` would have taken to make those of `weights`, in the order of the rules, layer by layer.
///
/// `computed` names tensors that come from no rule.
///
/// # Errors
/// If a tensor is missing, superfluous, of another shape, or was made in a way that cannot be undone.
pub fn invert(
    weights: &Weights,
    rules: &[Rule],
    layers: u32,
    computed: &[&str],
) -> Result<Vec<ModelTensor>, InvertError> {
    let list = weights.list();
    let experts = rules.iter().filter_map(|rule| rule.experts).map(|experts| ("experts", experts));
    for (what, declared) in experts.chain([("layers", layers)]) {
        if u64::from(declared) > list.len() as u64 * 4096 {
            return Err(InvertError::TooMany { what, declared, tensors: list.len() });
        }
    }
    let by_name: HashMap<&str, usize> =
        list.iter().enumerate().map(|(index, weight)| (weight.name.as_str(), index)).collect();
    let mut used = vec![false; list.len()];
    let mut tensors = Vec::new();
    let rules = || rules.iter().filter(|rule| rule.ignored.is_none());
    let (per_layer, single): (Vec<&Rule>, Vec<&Rule>) = rules().partition(|rule| rule.is_per_layer());
    let places = single.into_iter().map(|rule| (rule, 0));
    let places = places.chain((0..layers).flat_map(|layer| per_layer.iter().map(move |rule| (*rule, layer))));
    for (rule, layer) in places.filter(|(rule, layer)| !rule.is_per_layer() || (rule.on)(*layer)) {
        let name = |part: &Part| part.to.replacen("{}", &layer.to_string(), 1);
        let found: Vec<Option<usize>> =
            rule.makes.iter().map(|part| by_name.get(name(part).as_str()).copied()).collect();
        if found.iter().all(Option::is_none) && !rule.required {
            continue;
        }
        // of several ways in which checkpoints have the same tensors the first is taken
        if found.iter().all(|index| index.is_some_and(|index| used[index])) {
            continue;
        }
        let mut indices = Vec::with_capacity(found.len());
        for (part, index) in rule.makes.iter().zip(found) {
            let index = index.ok_or_else(|| InvertError::Missing { name: name(part) })?;
            check_shape(rule, part, &list[index])?;
            used[index] = true;
            indices.push(index);
        }
        for expert in 0..rule.copies() {
            for input in 0..rule.takes.len() {
                tensors.push(taken(rule, input, layer, expert, &indices, list)?);
            }
        }
    }
    let left = list.iter().zip(used).find(|(weight, used)| !used && !computed.contains(&weight.name.as_str()));
    match left {
        Some((weight, _)) => Err(InvertError::Unnamed { name: weight.name.clone() }),
        None => Ok(tensors),
    }
}

fn check_shape(rule: &Rule, part: &Part, weight: &Weight) -> Result<(), InvertError> {
    let stack = rule.experts.map(u64::from);
    let expected: Vec<u64> = stack.into_iter().chain(part.shape.iter().copied()).collect();
    let elements = expected.iter().try_fold(1u64, |product, length| product.checked_mul(*length));
    // GGUF leaves out outer dimensions of 1.
    let trimmed = |shape: &[u64]| shape.iter().copied().skip_while(|length| *length == 1).collect::<Vec<u64>>();
    if elements != Some(weight.elements()) || trimmed(&expected) != trimmed(&weight.shape) {
        return Err(InvertError::Shape { name: weight.name.clone(), found: weight.shape.clone(), expected });
    }
    Ok(())
}

/// One tensor that the rule took.
fn taken(
    rule: &Rule,
    input: usize,
    layer: u32,
    expert: u32,
    made: &[usize],
    list: &[Weight],
) -> Result<ModelTensor, InvertError> {
    let taken = &rule.takes[input];
    let name = taken.name.replacen("{}", &layer.to_string(), 1).replacen("{e}", &expert.to_string(), 1);
    let mut made_of = Vec::new();
    for (part, &weight) in rule.makes.iter().zip(made) {
        let elements: u64 = part.shape.iter().product();
        let mut base = u64::from(expert) * elements;
        for (from, view, map) in &part.pieces {
            if *from == input {
                made_of.push(Made { view, base, weight, map: map.inverse() });
            }
            base += view.len();
        }
    }
    let data = rows_apart(&taken.shape, &made_of)
        .or_else(|| rows_of_parts(&taken.shape, &made_of))
        .or_else(|| woven(&taken.shape, &made_of));
    let data = data.ok_or_else(|| InvertError::Irreversible { name: name.clone() })?;
    Ok(ModelTensor { name, shape: taken.shape.clone(), dtype: list[made[0]].dtype, data })
}

/// What became of some elements of a taken tensor.
struct Made<'a> {
    /// Which elements they are.
    view: &'a View,
    /// Where they begin in the weight made.
    base: u64,
    weight: usize,
    /// What leads back.
    map: Map,
}

/// A tensor whose rows each come from one weight.
fn rows_apart(shape: &[u64], made: &[Made<'_>]) -> Option<TensorData> {
    let mut runs: Vec<Run> = Vec::new();
    for made in made {
        add_runs(shape, made, &mut runs)?;
    }
    runs.sort_by_key(|run| run.first);
    let (rows, _) = rows_and_columns(shape);
    let mut next = 0;
    for run in &runs {
        if run.first != next {
            return None;
        }
        next += run.piece.view.row_count();
    }
    (next == rows).then(|| TensorData::Pieces(runs.into_iter().map(|run| run.piece).collect()))
}

/// A tensor all of which became one, with the parts of every row in another order.
fn rows_of_parts(shape: &[u64], made: &[Made<'_>]) -> Option<TensorData> {
    let [Made { view, base, weight, map }] = *made else { return None };
    let mut axes = both_axes(view)?;
    let columns = axes.pop().filter(|columns| columns.taken == 1)?;
    let tiles = axes.iter().rev().try_fold(columns.length, |stride, axis| {
        if axis.taken == stride { stride.checked_mul(axis.length) } else { None }
    });
    if view.base != 0 || tiles != shape.iter().try_fold(1u64, |product, length| product.checked_mul(*length)) {
        return None;
    }
    let rows = axes.iter().map(|axis| Axis::new(axis.length, axis.made)).collect();
    let view = View { base, rows, columns: Axis::new(columns.length, columns.made) };
    Some(TensorData::Pieces(vec![Piece { weight, view, map }]))
}

/// A tensor whose rows come from several weights, each in turn.
fn woven(shape: &[u64], made: &[Made<'_>]) -> Option<TensorData> {
    let (rows, width) = rows_and_columns(shape);
    let count = made.len() as u64;
    if count < 2 || !width.is_multiple_of(count) {
        return None;
    }
    let strip = width / count;
    let mut pieces: Vec<Option<Piece>> = made.iter().map(|_| None).collect();
    let mut run = None;
    for made in made {
        let mut axes = both_axes(made.view)?;
        let columns = axes.pop()?;
        // side by side, or one column at a time
        let of_piece = match columns.taken {
            1 => strip,
            taken if taken == count => 1,
            _ => return None,
        };
        let tiles = axes
            .iter()
            .rev()
            .try_fold(width, |stride, axis| if axis.taken == stride { stride.checked_mul(axis.length) } else { None });
        if columns.length != strip || *run.get_or_insert(of_piece) != of_piece || tiles != rows.checked_mul(width) {
            return None;
        }
        let rows = axes.iter().map(|axis| Axis::new(axis.length, axis.made)).collect();
        let view = View { base: made.base, rows, columns: Axis::new(strip, columns.made) };
        let slot = pieces.get_mut(usize::try_from(made.view.base / of_piece).ok()?)?;
        *slot = Some(Piece { weight: made.weight, view, map: made.map });
    }
    Some(TensorData::Woven(pieces.into_iter().collect::<Option<Vec<Piece>>>()?, run?))
}

/// An axis of a view, with its strides in the tensor taken and in the one made.
struct Both {
    length: u64,
    taken: u64,
    made: u64,
}

/// The axes along which there is more than one element, by their strides in the tensor taken, the largest first.
fn both_axes(view: &View) -> Option<Vec<Both>> {
    let mut axes = vec![Both { length: view.columns.length, taken: view.columns.stride, made: 1 }];
    let mut made = view.columns.length;
    for axis in view.rows.iter().rev() {
        axes.push(Both { length: axis.length, taken: axis.stride, made });
        made = made.checked_mul(axis.length)?;
    }
    axes.retain(|axis| axis.length > 1);
    axes.sort_by_key(|axis| std::cmp::Reverse(axis.taken));
    Some(axes)
}

/// Consecutive rows of a taken tensor, and where they are now.
struct Run {
    /// The first row.
    first: u64,
    piece: Piece,
}

/// Rows and columns of a shape; the elements of a vector count as rows.
fn rows_and_columns(shape: &[u64]) -> (u64, u64) {
    match shape {
        [] => (1, 1),
        [length] => (*length, 1),
        [leading @ .., columns] => (leading.iter().product(), *columns),
    }
}

/// The rows of the tensor taken that went into one piece.
fn add_runs(shape: &[u64], made: &Made<'_>, runs: &mut Vec<Run>) -> Option<()> {
    let &Made { view, base, weight, map } = made;
    let (_, width) = rows_and_columns(shape);
    let mut axes = both_axes(view)?;
    let columns = match axes.last() {
        Some(axis) if width > 1 && axis.taken == 1 && axis.length == width => {
            let columns = Axis::new(width, axis.made);
            axes.pop();
            columns
        }
        _ if width == 1 => Axis::new(1, 1),
        _ => return None,
    };
    if !view.base.is_multiple_of(width) || axes.iter().any(|axis| !axis.taken.is_multiple_of(width)) {
        return None;
    }
    // The innermost axes that tile consecutive rows form one run; those outside them repeat it.
    let mut length = 1;
    let mut inner = axes.len();
    while inner > 0 && axes[inner - 1].taken == length * width {
        inner -= 1;
        length *= axes[inner].length;
    }
    let outer = &axes[..inner];
    let rows: Vec<Axis> = match &axes[inner..] {
        [] => vec![Axis::new(1, 1)],
        inner => inner.iter().map(|axis| Axis::new(axis.length, axis.made)).collect(),
    };
    let repeats: u64 = outer.iter().map(|axis| axis.length).try_fold(1u64, u64::checked_mul)?;
    if runs.len() as u64 + repeats > MAX_PIECES as u64 {
        return None;
    }
    for repeat in 0..repeats {
        let (mut first, mut base, mut rest) = (view.base / width, base, repeat);
        for axis in outer.iter().rev() {
            let step = rest % axis.length;
            first += step * axis.taken / width;
            base += step * axis.made;
            rest /= axis.length;
        }
        runs.push(Run { first, piece: Piece { weight, view: View { base, rows: rows.clone(), columns }, map } });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::tensors;
    use super::*;
    use weightmill_formats::{Metadata, Source, TensorInfo};
    use weightmill_kernels::Dtype;

    /// A source of which names and shapes alone are looked at.
    struct Unread(Metadata, Vec<TensorInfo>);

    impl Source for Unread {
        fn format(&self) -> &'static str {
            "unread"
        }

        fn files(&self) -> Vec<&std::path::Path> {
            Vec::new()
        }

        fn metadata(&self) -> &Metadata {
            &self.0
        }

        fn tensors(&self) -> &[TensorInfo] {
            &self.1
        }

        fn view(&self, _: &TensorInfo) -> &[u8] {
            &[]
        }

        fn prefetch(&self, _: &TensorInfo, _: std::ops::Range<u64>) {}

        fn release(&self, _: &TensorInfo, _: std::ops::Range<u64>) {}

        fn check_unchanged(&self) -> Result<(), weightmill_formats::Error> {
            Ok(())
        }
    }

    /// Weights of these names and shapes.
    fn weights<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>) -> Weights {
        let tensors = tensors.into_iter().map(|(name, shape)| TensorInfo {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype: Dtype::BF16,
            file: 0,
            offset: 0,
            bytes: 0,
        });
        Weights::plain(Box::new(Unread(Metadata::new(), tensors.collect())))
    }

    /// Where every element of a tensor made of pieces comes from: weight and element.
    fn origins(pieces: &[Piece]) -> Vec<(usize, u64)> {
        let elements = pieces.iter().flat_map(|piece| {
            let columns = piece.view.columns;
            let row = move |row| {
                let start = piece.view.row_start(row);
                (0..columns.length).map(move |column| (piece.weight, start + column * columns.stride))
            };
            (0..piece.view.row_count()).flat_map(row)
        });
        elements.collect()
    }

    /// Applies the rules to checkpoint tensors, inverts the result, and follows every element there and back.
    fn round_trip(rules: &[Rule], layers: u32, stored: &[(&str, &[u64])]) {
        let checkpoint = weights(stored.iter().copied());
        let made = tensors::map(&checkpoint, &[], rules, layers, "config.json").unwrap().tensors;
        let gguf = weights(made.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())));
        let back = invert(&gguf, rules, layers, &[]).unwrap();
        assert_eq!(back.len(), stored.len());
        for tensor in &back {
            let index = stored.iter().position(|(name, _)| *name == tensor.name).expect("a stored name");
            assert_eq!(tensor.shape, stored[index].1, "{}", tensor.name);
            let there: Vec<(usize, u64)> = origins(tensor.data.pieces());
            let elements: u64 = tensor.shape.iter().product();
            let origin =
                |(made_index, element): (usize, u64)| origins(made[made_index].data.pieces())[element as usize];
            let back: Vec<(usize, u64)> = there.into_iter().map(origin).collect();
            let want: Vec<(usize, u64)> = (0..elements).map(|element| (index, element)).collect();
            assert_eq!(back, want, "{}", tensor.name);
        }
    }

    #[test]
    fn what_rules_do_is_undone() {
        let (heads, nope, value, rank) = (3u64, 4u64, 2u64, 5u64);
        let row = (nope + value) * rank;
        let keys =
            View { base: 0, rows: vec![Axis::new(heads, row), Axis::new(rank, 1)], columns: Axis::new(nope, rank) };
        let values = View {
            base: nope * rank,
            rows: vec![Axis::new(heads, row), Axis::new(value, rank)],
            columns: Axis::new(rank, 1),
        };
        let shape = [heads * (nope + value), rank];
        let split = Rule::split(
            "l.{}.kv.weight",
            &shape,
            vec![
                Part::new("blk.{}.k_b.weight", &[heads, rank, nope], keys),
                Part::new("blk.{}.v_b.weight", &[heads, value, rank], values),
            ],
        );
        let experts = Rule::experts(
            2,
            &[
                ("l.{}.e.{e}.up.weight", "blk.{}.up_exps.weight", [4_u32, 6]),
                ("l.{}.e.{e}.down.weight", "blk.{}.down_exps.weight", [6_u32, 4]),
            ],
        );
        let rules = [
            Rule::new("l.{}.q.weight", "blk.{}.q.weight", [12_u32, 3]).interleave_halves(3),
            Rule::new("l.{}.q.bias", "blk.{}.q.bias", [12_u32]).interleave_halves(3),
            Rule::new("norm.weight", "norm.weight", [5_u32]).map(Map::PlusOne),
            Rule::new("l.{}.gone.weight", "blk.{}.gone.weight", [5_u32]).optional_unless(false),
            Rule::concatenated(&[("l.{}.a.weight", 2), ("l.{}.b.weight", 3)], "blk.{}.ab.weight", 4),
            split,
            experts,
        ];
        let stored: &[(&str, &[u64])] = &[
            ("norm.weight", &[5]),
            ("l.0.q.weight", &[12, 3]),
            ("l.0.q.bias", &[12]),
            ("l.0.a.weight", &[2, 4]),
            ("l.0.b.weight", &[3, 4]),
            ("l.0.kv.weight", &shape),
            ("l.0.e.0.up.weight", &[4, 6]),
            ("l.0.e.0.down.weight", &[6, 4]),
            ("l.0.e.1.up.weight", &[4, 6]),
            ("l.0.e.1.down.weight", &[6, 4]),
        ];
        round_trip(&rules, 1, stored);
    }

    #[test]
    fn superfluous_and_missing_tensors_are_named() {
        let rules = [Rule::new("a.weight", "a.weight", [4_u32])];
        let error = |name| invert(&weights([(name, &[4u64][..])]), &rules, 1, &[]).unwrap_err();
        assert_eq!(error("b.weight"), InvertError::Missing { name: "a.weight".to_owned() });
        let both = weights([("a.weight", &[4u64][..]), ("rope_freqs.weight", &[4])]);
        assert!(matches!(invert(&both, &rules, 1, &[]), Err(InvertError::Unnamed { .. })));
        assert!(invert(&both, &rules, 1, &["rope_freqs.weight"]).is_ok());
    }
}
