//! Which tensors an output has, under which names and in which order.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{Input, PlanError};
use crate::recipe::block_number;

/// Tensors of an output in order.
pub(super) struct Listing {
    /// Index into the model's tensors, and name in the output.
    pub tensors: Vec<(usize, String)>,
    /// Number of blocks that remain, if some were left out.
    pub blocks: Option<u32>,
}

/// The model's own order.
pub(super) fn as_it_is(input: &Input<'_>) -> Listing {
    let names = input.model.tensors.iter().map(|tensor| tensor.name.clone());
    Listing { tensors: names.enumerate().collect(), blocks: None }
}

/// llama-quantize's order: tensors outside blocks, then block by block; inside by name, byte by byte.
///
/// Blocks of `pruned` are left out and those behind them move up, in name; the order is that of the old names.
// weight_name_comparer and remap_layer of llama.cpp.
pub(super) fn by_block(input: &Input<'_>, pruned: &BTreeSet<u32>) -> Result<Listing, PlanError> {
    let names = |index: usize| input.model.tensors[index].name.as_str();
    let mut order: Vec<usize> = (0..input.model.tensors.len()).collect();
    let key = |index: &usize| (block_number(names(*index)).map_or(-1, i64::from), names(*index));
    order.sort_by(|a, b| key(a).cmp(&key(b)));
    let Some(&first_pruned) = pruned.first() else {
        let tensors = order.into_iter().map(|index| (index, names(index).to_owned())).collect();
        return Ok(Listing { tensors, blocks: None });
    };

    let mut renumbered: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    let mut next = 0;
    let mut tensors = Vec::new();
    for index in order {
        let name = names(index);
        let Some((at, digits)) = find_block(name) else {
            tensors.push((index, name.to_owned()));
            continue;
        };
        let Ok(block) = digits.parse::<u32>() else { continue };
        let number = *renumbered.entry(block).or_insert_with(|| {
            if pruned.contains(&block) {
                return None;
            }
            let number = if block < first_pruned { block } else { next };
            next = number.saturating_add(1);
            Some(number)
        });
        if let Some(number) = number {
            tensors.push((index, format!("{}{number}{}", &name[..at], &name[at + digits.len()..])));
        }
    }
    match pruned.iter().find(|layer| !renumbered.contains_key(layer)) {
        Some(&layer) => Err(PlanError::NoSuchLayer { layer }),
        None => Ok(Listing { tensors, blocks: Some(next) }),
    }
}

/// The order of the input's files: part by part, and inside by offset (`--keep-split`).
pub(super) fn by_place(input: &Input<'_>, listing: &mut Listing) {
    listing.tensors.sort_by(|(a, _), (b, _)| match (place(input, *a), place(input, *b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        (a, b) => a.is_some().cmp(&b.is_some()).then(Ordering::Equal),
    });
}

/// File and offset of a tensor in the source.
pub(super) fn place(input: &Input<'_>, index: usize) -> Option<(usize, u64)> {
    let piece = input.model.tensors[index].data.pieces().first()?;
    let info = input.weights.main_tensor(&input.weights.list()[piece.weight]);
    Some((info.file, info.offset))
}

/// Offset and digits of the first `blk.DIGITS.` anywhere in a name.
fn find_block(name: &str) -> Option<(usize, &str)> {
    name.match_indices("blk.").find_map(|(found, prefix)| {
        let at = found + prefix.len();
        let rest = &name[at..];
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit())?];
        (!digits.is_empty() && rest[digits.len()..].starts_with('.')).then_some((at, digits))
    })
}
