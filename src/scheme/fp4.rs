//! Floats of 4 or 6 bits with a scale per 16 or 32 of them: NVFP4, MXFP4 and MXFP6 of compressed-tensors and ModelOpt, and
//! the experts of gpt-oss and DeepSeek V4.
//!
//! The code of an even column lies in the lower half of a byte. NVFP4 has a further scale for the whole tensor, by which
//! compressed-tensors divides and ModelOpt multiplies.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::coding::Coding;
use super::error::SchemeError;
use super::grouped::Grouped;
use super::layout::{Fixed, Layout};
use super::module::{Found, Module};
use super::numbers::{Grid, Numbers, Then};
use super::output::Wanted;
use super::tensors::Part;

/// compressed-tensors: `weight_packed` of bytes, by the type and number of scales.
pub(super) fn find_compressed(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let scale = module.need("weight_scale")?;
    if let Some(global) = module.take("weight_global_scale")? {
        let then = Then::Over(global.positive()?);
        return find(module, Format::NVFP4, scale, then);
    }
    let (bytes, scales) = (module.main.stack()?[1], scale.stack()?[1]);
    // 32 codes of 6 bits take 24 bytes.
    let format = if scales.checked_mul(24) == Some(bytes) { Format::MXFP6 } else { Format::MXFP4 };
    find(module, format, scale, Then::Nothing)
}

/// ModelOpt's NVFP4: `weight` of bytes with `weight_scale_2`.
pub(super) fn find_modelopt(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let (scale, global) = (module.need("weight_scale")?, module.need("weight_scale_2")?);
    let then = Then::Times(global.positive()?);
    find(module, Format { coding: Coding::e2m1_without_negative_zero, ..Format::NVFP4 }, scale, then)
}

/// `weight` of bytes with a scale of powers of two: ModelOpt's MXFP4, DeepSeek V4's experts.
pub(super) fn find_mxfp4(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let scale = match module.take("weight_scale")? {
        Some(scale) => scale,
        None => module.need("scale")?,
    };
    find(module, Format::MXFP4, scale, Then::Nothing)
}

/// gpt-oss: `NAME_blocks` with the bytes of 32 codes in each row, and `NAME_scales`. The weight has the shape in which it is
/// stored, `[experts, rows, columns]`; transformers hands out the transposed one, `[experts, columns, rows]`. The rows of
/// `gate_up_proj` are those of gate and up in turn.
pub(super) fn find_blocks(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let scale = module.need("_scales")?;
    let mut shape = main.dims();
    if shape.pop() != Some(16) || shape.len() < 2 || shape != scale.dims() {
        return Err(main.shape(format!("blocks of 16 bytes, as many as there are scales: {:?}", scale.info.shape)));
    }
    let [rows, groups] = scale.stack()?;
    shape.pop();
    decode(module, Format::MXFP4, [rows, 16 * groups], &shape, scale, Then::Nothing)
}

/// Codes and groups of a format.
struct Format {
    name: &'static str,
    bits: usize,
    coding: fn() -> Coding,
    group: usize,
    /// Type of the scales.
    scales: fn(&Part<'_>) -> Result<Numbers, SchemeError>,
}

impl Format {
    const NVFP4: Format =
        Format { name: "NVFP4", bits: 4, coding: || Coding::E2M1, group: 16, scales: |part| part.e4m3() };
    const MXFP4: Format =
        Format { name: "MXFP4", bits: 4, coding: || Coding::E2M1, group: 32, scales: |part| part.exponents() };
    const MXFP6: Format =
        Format { name: "MXFP6", bits: 6, coding: || Coding::E2M3, group: 32, scales: |part| part.exponents() };
}

fn find(module: &Module<'_, '_>, format: Format, scale: Part<'_>, then: Then) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let size = main.stack()?;
    let mut shape = main.dims();
    shape.pop();
    decode(module, format, size, &shape, scale, then)
}

/// A weight of which each row has so many bytes; `leading` are its dimensions but for the last.
fn decode(
    module: &Module<'_, '_>,
    format: Format,
    [rows, bytes]: [usize; 2],
    leading: &[usize],
    scale: Part<'_>,
    then: Then,
) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let [scale_rows, groups] = scale.stack()?;
    let columns = groups.checked_mul(format.group);
    let needed = columns.and_then(|columns| columns.checked_mul(format.bits)).map(|bits| bits / 8);
    let Some(columns) = columns.filter(|_| scale_rows == rows && needed == Some(bytes)) else {
        let expected =
            format!("one per {} columns of the {} codes in {:?} bytes", format.group, format.name, main.info.shape);
        return Err(scale.shape(expected));
    };
    let codes = codes(main.index, format.bits, [rows, columns], bytes);
    let grid = Grid::groups(rows, columns, groups);
    let numbers = (format.scales)(&scale)?.then(then);
    let weight = Grouped::scaled(format.name.to_owned(), codes, (format.coding)(), numbers, grid);
    module.found(&[leading, &[columns]].concat(), weight)
}

/// The tensors of a weight of MXFP4.
pub(super) fn lay_out_mxfp4(wanted: &Wanted) -> Layout {
    packed(wanted).scales("weight_scale", Dtype::U8)
}

/// The tensors of a weight of NVFP4, with the divisor of all scales.
pub(super) fn lay_out_nvfp4(wanted: &Wanted) -> Layout {
    let layout = packed(wanted).scales("weight_scale", Dtype::F8_E4M3);
    layout.fixed("weight_global_scale", Dtype::F32, &[1], Fixed::Divisor)
}

fn packed(wanted: &Wanted) -> Layout {
    let [rows, columns] = wanted.size;
    let codes = codes(0, 4, wanted.size, columns / 2);
    Layout::new("weight_packed", Dtype::U8, &[rows, columns / 2], codes, wanted.grid())
}

/// The codes: rows of so many bytes.
fn codes(tensor: usize, bits: usize, size: [usize; 2], bytes: usize) -> Codes {
    Codes::along(tensor, Packing::Dense(bits), size, bytes)
}
