//! GPTQ: codes of 2, 3, 4 or 8 bits packed down the columns, a scale and a zero point per group of them.
//!
//! `W[n, k] = scales[g, n] * (q[k, n] - z[g, n])`, where `g` is `k / group_size`, or as `g_idx` says.
//!
//! Version 1 stores zero points less one. Packers did that to whole words or to each field, labels are wrong at times, and
//! kernels ignore zero points that are in the middle of the codes anyway: [`zero_points`] has the rules.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::error::SchemeError;
use super::grouped::{Grouped, Offsets};
use super::layout::{Fixed, Layout};
use super::module::{Found, Module};
use super::numbers::Grid;
use super::output::Wanted;
use super::settings::GptqVersion;
use super::tensors::Part;

/// Finds the weight of a `qweight`, unless it is packed as AWQ does.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let (scales, zeros) = (module.need("scales")?, module.need("qzeros")?);
    main.is_of(&[Dtype::I32], "I32")?;
    let ([words, rows], [groups, outputs]) = (main.matrix()?, scales.matrix()?);
    if rows != outputs {
        return Ok(None);
    }
    zeros.is_of(&[Dtype::I32], "I32")?;
    let [zero_groups, zero_words] = zeros.matrix()?;
    let fills = |bits: &usize| rows.checked_mul(*bits) == zero_words.checked_mul(32);
    let Some(bits) = [2, 3, 4, 8].into_iter().find(fills).filter(|_| zero_groups == groups) else {
        return Err(zeros.shape(format!("{groups} groups of {rows} zero points, of 2, 3, 4 or 8 bits each")));
    };
    if !words.is_multiple_of(if bits == 3 { 3 } else { 1 }) {
        return Err(main.shape(format!("whole words of {bits}-bit codes")));
    }
    let Some(columns) = words.checked_mul(32).map(|all_bits| all_bits / bits) else {
        return Err(main.shape("fewer words"));
    };
    let g_idx = module.take("g_idx")?;
    let order = g_idx.map(|g_idx| order(g_idx, columns, groups)).transpose()?.flatten();
    if order.is_none() && !columns.is_multiple_of(groups) {
        return Err(scales.shape(format!("groups of equal length among {columns} columns")));
    }
    if g_idx.is_none() && groups > 1 && module.settings.has_act_order() {
        module.need("g_idx")?;
    }
    let packing = Packing::Dense(bits);
    let offsets = zero_points(module, zeros, Codes::along(zeros.index, packing, [groups, rows], 4 * zero_words))?;
    let grid = grid(rows, columns, groups);
    let ordered = if order.is_some() { " act-order" } else { "" };
    let name = format!("GPTQ {bits}-bit {}{ordered}", grid.extent(columns));
    let codes = codes(main.index, packing, [rows, columns]);
    let weight = Grouped::centred(name, codes, scales.numbers()?, offsets, grid);
    module.found(&[rows, columns], Grouped { order, ..weight })
}

/// The tensor that tells the groups of the columns, unless they are runs of equal length.
///
/// # Errors
/// When it does not name a group for every column.
pub(super) fn order(g_idx: Part<'_>, columns: usize, groups: usize) -> Result<Option<usize>, SchemeError> {
    g_idx.has_shape(&[columns])?;
    let indices = g_idx.integers()?;
    let out_of_range = |&(_, group): &(usize, i32)| usize::try_from(group).is_ok_and(|group| group < groups);
    if let Some((column, group)) = indices.clone().enumerate().find(|entry| !out_of_range(entry)) {
        return Err(g_idx.value(format!("puts column {column} into group {group}; there are {groups}")));
    }
    let runs = columns.is_multiple_of(groups)
        && indices.enumerate().all(|(column, group)| column / (columns / groups) == group as usize);
    Ok((!runs).then_some(g_idx.index))
}

/// How zero points are to be taken.
///
/// Symmetric ones are half the number of codes, whatever is stored. So are those that are all in the middle, or one less,
/// which version 1 stores for it: files labelled as one version with the zero points of the other do occur. Of other ones,
/// version 2 stores them as they are; version 1 less one, which GPTQModel subtracts from every field at once, as a whole
/// word, so that a zero point of 0 borrows from its neighbours.
fn zero_points(module: &Module<'_, '_>, zeros: Part<'_>, codes: Codes) -> Result<Offsets, SchemeError> {
    let bits = codes.packing.bits();
    let half = 1 << (bits - 1);
    let settings = module.settings;
    if settings.is_symmetric(module.path())? == Some(true) || is_all(zeros, bits, half) || is_all(zeros, bits, half - 1)
    {
        return Ok(Offsets::Constant(half as f32));
    }
    Ok(match settings.gptq_version()? {
        GptqVersion::V2 => Offsets::Codes { codes, plus: 0 },
        GptqVersion::V1 if settings.by_gptqmodel() && bits != 3 => {
            Offsets::Codes { codes: Codes { plus: word_of(bits, 1), ..codes }, plus: 0 }
        }
        GptqVersion::V1 => Offsets::Codes { codes, plus: 1 },
    })
}

/// The tensors of a symmetric weight, in version 1: zero points are half the number of codes, and stored less one.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    let Wanted { size: [rows, columns], bits, .. } = *wanted;
    let groups = wanted.grid().groups;
    let grid = grid(rows, columns, groups);
    let codes = codes(0, Packing::Dense(bits), wanted.size);
    let zero = word_of(bits, (1 << (bits - 1)) - 1);
    Layout::new("qweight", Dtype::I32, &[columns * bits / 32, rows], codes, grid)
        .scales("scales", wanted.scale_type)
        .fixed("qzeros", Dtype::I32, &[groups, rows * bits / 32], Fixed::Word(zero))
        .fixed("g_idx", Dtype::I32, &[columns], Fixed::Groups)
}

/// The codes: packed down the columns, rows side by side.
fn codes(tensor: usize, packing: Packing, size: [usize; 2]) -> Codes {
    Codes::down(tensor, packing, size)
}

/// Numbers lie group by group.
fn grid(rows: usize, columns: usize, groups: usize) -> Grid {
    Grid { by_group: true, ..Grid::groups(rows, columns, groups) }
}

/// A word with this code in every field.
fn word_of(bits: usize, code: u32) -> u32 {
    (0..32).step_by(bits).fold(0, |word, shift| word | code << shift)
}

/// Whether all codes of a stream are this one.
fn is_all(stream: Part<'_>, bits: usize, code: u32) -> bool {
    // A stream of one code repeats itself after `bits` words.
    let pattern: Vec<u32> = (0..bits)
        .map(|word| {
            (0..32).fold(0, |all, bit| {
                let at = 32 * word + bit;
                all | (code >> (at % bits) & 1) << bit
            })
        })
        .collect();
    let words = stream.bytes().as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    words.zip(pattern.iter().cycle()).all(|(word, pattern)| word == *pattern)
}
