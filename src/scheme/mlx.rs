//! MLX: codes of 2 to 8 bits with a scale and a bias per group, or floats of 4 or 8 bits with scales.
//!
//! `W = code * scale + bias`; MLX rounds the product to the type of the scales, in which it computes. Weights of experts are
//! stacks `[experts, rows, columns]`.

use weightmill_kernels::Dtype;

use super::apply::{Formula, Precision};
use super::codes::{Codes, Packing};
use super::coding::Coding;
use super::error::SchemeError;
use super::grouped::{Grouped, Offsets};
use super::layout::Layout;
use super::module::{Found, Module};
use super::numbers::{Grid, Then};
use super::output::Wanted;
use super::tensors::Part;

/// Magnitude of the largest number of NVFP4 with the largest scale: what the greatest weight of a tensor with a scale of its
/// own is stored as.
const NVFP4_MOST: f32 = 6.0 * 448.0;

/// Finds the weight of a `weight` of 32-bit words with `scales`.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let scales = module.need("scales")?;
    match module.take("biases")? {
        Some(biases) => affine(module, scales, biases),
        None => floats(module, scales),
    }
}

fn affine(module: &Module<'_, '_>, scales: Part<'_>, biases: Part<'_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let ([rows, words], [scale_rows, groups]) = (main.stack()?, scales.stack()?);
    biases.has_shape(&scales.dims())?;
    biases.is_of(&[scales.info.dtype], "the type of its scales")?;
    let precision = match scales.info.dtype {
        Dtype::F32 => Precision::F32,
        Dtype::F16 => Precision::F16,
        Dtype::BF16 => Precision::BF16,
        _ => return Err(scales.is_of(&[], "F32, F16 or BF16").expect_err("of no type")),
    };
    let Some([bits, group]) = module.settings.mlx(module.path()) else {
        return Err(SchemeError::Config {
            key: "bits and group_size".to_owned(),
            problem: format!("missing, but {} is a weight of MLX; its shapes do not tell them", main.info.name),
        });
    };
    let columns = groups.checked_mul(group);
    let fits = |&columns: &usize| {
        (1..=8).contains(&bits) && scale_rows == rows && Packing::Dense(bits).words(columns) == Some(words)
    };
    let Some(columns) = columns.filter(fits) else {
        return Err(
            main.shape(format!("{bits}-bit codes in groups of {group}, with scales of shape {:?}", scales.info.shape))
        );
    };
    let codes = codes(main.index, bits, [rows, columns], words);
    let grid = Grid::groups(rows, columns, groups);
    let name = format!("MLX {bits}-bit {}", grid.extent(columns));
    let weight = Grouped::scaled(name, codes, Coding::Unsigned, scales.numbers()?, grid);
    let (formula, offsets) = (Formula::Affine(precision), Offsets::Numbers(biases.numbers()?));
    module.found(&stack(main, columns), Grouped { formula, offsets, ..weight })
}

/// The formats without biases; the numbers of codes and scales tell which one it is.
fn floats(module: &mut Module<'_, '_>, scales: Part<'_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let ([rows, words], [scale_rows, groups]) = (main.stack()?, scales.stack()?);
    if scale_rows != rows || !words.is_multiple_of(groups) {
        return Err(scales.shape(format!("groups of equal length in {:?}", main.info.shape)));
    }
    let (name, bits, group) = match words / groups {
        2 => ("NVFP4", 4, 16),
        4 => ("MXFP4", 4, 32),
        8 => ("MXFP8", 8, 32),
        _ => return Err(scales.shape("biases beside it, or a scale for 2, 4 or 8 words")),
    };
    let numbers = match module.take("global_scale")? {
        _ if group == 32 => scales.exponents()?,
        None => scales.e4m3()?,
        Some(global) => scales.e4m3()?.then(Then::Times(global.positive()? / NVFP4_MOST)),
    };
    let coding = if bits == 8 { Coding::Byte(Dtype::F8_E4M3) } else { Coding::E2M1 };
    let columns = groups * group;
    let codes = codes(main.index, bits, [rows, columns], words);
    let weight = Grouped::scaled(format!("MLX {name}"), codes, coding, numbers, Grid::groups(rows, columns, groups));
    module.found(&stack(main, columns), weight)
}

/// The shape of a weight whose rows have so many columns.
fn stack(packed: Part<'_>, columns: usize) -> Vec<usize> {
    let mut shape = packed.dims();
    shape.pop();
    shape.push(columns);
    shape
}

/// The tensors of a weight with biases.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    packed(wanted).scales("scales", wanted.scale_type).biases("biases", wanted.scale_type)
}

/// The tensors of a weight of MXFP4.
pub(super) fn lay_out_mxfp4(wanted: &Wanted) -> Layout {
    packed(wanted).scales("scales", Dtype::U8)
}

fn packed(wanted: &Wanted) -> Layout {
    let Wanted { size: [rows, columns], bits, .. } = *wanted;
    let words = columns * bits / 32;
    let codes = codes(0, bits, wanted.size, words);
    Layout::new("weight", Dtype::U32, &[rows, words], codes, wanted.grid())
}

/// The codes: rows of so many words.
fn codes(tensor: usize, bits: usize, size: [usize; 2], words: usize) -> Codes {
    Codes::along(tensor, Packing::Dense(bits), size, 4 * words)
}
