//! Dividing an output into files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use weightmill_formats::gguf::{MAX_LONG_NAME, MAX_NAME, layout, layout_split, part_name};
use weightmill_formats::{Layout, Metadata, TensorSpec};

use super::error::{list, tensors};
use super::order::place;
use super::{Input, OutputPlan, Part, PlanError, PlannedTensor};
use crate::options::Split;

/// Sets the parts of `output`, and the place of each of its tensors.
pub(super) fn lay_out(
    output: &mut OutputPlan,
    metadata: &Metadata,
    split: Split,
    input: &Input<'_>,
) -> Result<(), PlanError> {
    check_names(output, input)?;
    let specs: Vec<TensorSpec> = output
        .tensors
        .iter()
        .map(|tensor| TensorSpec { name: tensor.name.clone(), shape: tensor.shape.clone(), dtype: tensor.to })
        .collect();
    let fail = |source| PlanError::Layout { path: output.path.clone(), source };
    let begins = match split {
        Split::Never => vec![0],
        Split::AsInput => by_file(&output.tensors, input),
        Split::Bytes(size) => {
            let whole = layout(metadata, &specs).map_err(fail)?;
            let bare = layout(&Metadata::new(), &specs).map_err(fail)?;
            by_size(&whole, &bare, size, &mut output.warnings, &output.tensors)?
        }
    };
    let ends = begins[1..].iter().copied().chain([specs.len()]);
    let ranges: Vec<Range<usize>> = begins.iter().zip(ends).map(|(&begin, end)| begin..end).collect();
    let slices: Vec<&[TensorSpec]> = ranges.iter().map(|range| &specs[range.clone()]).collect();
    let layouts = layout_split(metadata, &slices).map_err(fail)?;
    let count = layouts.len() as u16; // layout_split refuses more
    for (number, (layout, tensors)) in (0..count).zip(layouts.into_iter().zip(ranges)) {
        for (tensor, range) in output.tensors[tensors.clone()].iter_mut().zip(layout.tensors) {
            (tensor.part, tensor.range) = (number.into(), range);
        }
        let path = if count == 1 { output.path.clone() } else { part_path(&output.path, number, count) };
        output.parts.push(Part { path, header: layout.header, bytes: layout.length, tensors });
    }
    Ok(())
}

/// Names that only some runtimes can read are an error, but for a source whose tensors have names of its own.
fn check_names(output: &mut OutputPlan, input: &Input<'_>) -> Result<(), PlanError> {
    let longer = |limit: usize| {
        let names = output.tensors.iter().map(|tensor| &tensor.name).filter(|name| name.len() > limit);
        names.cloned().collect::<Vec<String>>()
    };
    let (limit, readers) = match input.model.own_names {
        true => (MAX_LONG_NAME, "stable-diffusion.cpp and ComfyUI-GGUF"),
        false => (MAX_NAME, "llama.cpp and its kin"),
    };
    let names = longer(limit);
    if !names.is_empty() {
        return Err(PlanError::LongNames { names, limit, readers });
    }
    let long = longer(MAX_NAME);
    if !long.is_empty() {
        output.warnings.push(format!(
            "the names of {} are longer than the {MAX_NAME} bytes that ggml reads as llama.cpp builds it; \
             stable-diffusion.cpp and ComfyUI-GGUF read {MAX_LONG_NAME}: {}",
            tensors(&long),
            list(&long)
        ));
    }
    Ok(())
}

/// Where another file of the input begins, and 0.
fn by_file(tensors: &[PlannedTensor], input: &Input<'_>) -> Vec<usize> {
    let file = |tensor: &PlannedTensor| place(input, tensor.index).map(|(file, _)| file);
    let changes = (1..tensors.len()).filter(|&index| file(&tensors[index - 1]) != file(&tensors[index]));
    [0].into_iter().chain(changes).collect()
}

/// Bytes of the three keys that tell the parts of a split file apart, values included: an upper bound.
const SPLIT_KEYS: u64 = 256;

/// Where parts of at most `size` bytes begin. No header is larger than that of one file with all tensors
/// (`whole`), none but the first larger than that of one without metadata (`bare`).
fn by_size(
    whole: &Layout,
    bare: &Layout,
    size: u64,
    warnings: &mut Vec<String>,
    tensors: &[PlannedTensor],
) -> Result<Vec<usize>, PlanError> {
    if whole.length <= size {
        return Ok(vec![0]);
    }
    let header = |layout: &Layout| layout.header.len() as u64 + SPLIT_KEYS;
    let room = |header| match size.checked_sub(header) {
        None | Some(0) => Err(PlanError::ShardTooSmall { size, header }),
        Some(room) => Ok(room),
    };
    let mut room_left = room(header(whole))?;
    let room_of_others = room(header(bare))?;
    let mut begins = vec![0];
    // From the beginning of a tensor in `whole` to that of the next are its bytes and padding.
    let ends = whole.tensors.iter().skip(1).map(|range| range.start).chain([whole.length]);
    for (index, (range, end)) in whole.tensors.iter().zip(ends).enumerate() {
        let bytes = end - range.start;
        if bytes > room_left && begins.last().is_some_and(|&begin| begin < index) {
            begins.push(index);
            room_left = room_of_others;
        }
        if bytes > room_left {
            let name = &tensors[index].name;
            let name = name.escape_debug();
            warnings.push(format!("tensor {name} alone takes {bytes} bytes: its part is larger than --shard-size"));
        }
        room_left = room_left.saturating_sub(bytes);
    }
    Ok(begins)
}

/// `NAME-00001-of-0000N.gguf` beside the path that was asked for.
fn part_path(path: &Path, number: u16, count: u16) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    path.with_file_name(part_name(stem, number, count))
}
