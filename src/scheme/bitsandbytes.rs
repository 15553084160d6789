//! bitsandbytes: 4-bit codes of a table over blocks of the flattened weight, and integers with a scale per row.
//!
//! The code of an even weight lies in the upper half of a byte, the reverse of everyone else. Blocks may reach from one row
//! into the next. With double quantization the scales are codes themselves.

use serde_json::Value as Json;
use weightmill_kernels::Dtype;

use super::apply::Formula;
use super::codes::{Codes, Packing};
use super::coding::Coding;
use super::error::SchemeError;
use super::grouped::Grouped;
use super::module::{Found, Module};
use super::numbers::{Grid, Nested, Numbers, Then};
use super::tensors::Part;

/// One 127th as bitsandbytes has it.
const PER_STEP: f32 = 7.874_016e-3;

/// Finds the weight of a `weight` with `weight.absmax`.
pub(super) fn find_4bit(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let (absmax, map) = (module.need("weight.absmax")?, module.need("weight.quant_map")?);
    let (kind, state) = match module.take("weight.quant_state.bitsandbytes__fp4")? {
        Some(state) => ("fp4", state),
        None => ("nf4", module.need("weight.quant_state.bitsandbytes__nf4")?),
    };
    let settings = state.json()?;
    let shape = lengths(&settings["shape"]).ok_or_else(|| state.value("has no shape of a matrix"))?;
    let block = length(&settings["blocksize"]).ok_or_else(|| state.value("has no blocksize"))?;
    let weights = shape.iter().try_fold(1_usize, |product, &length| product.checked_mul(length));
    let packed = main.info.bytes as usize;
    let Some(weights) = weights.filter(|weights| weights.div_ceil(2) == packed) else {
        return Err(main.shape(format!("the {packed} bytes of {shape:?} 4-bit codes, as its quant_state says")));
    };
    let blocks = weights.div_ceil(block);
    absmax.has_shape(&[blocks])?;
    let scales = match absmax.info.dtype {
        Dtype::U8 => nested(module, &settings, state, absmax)?,
        _ => absmax.numbers()?,
    };
    let codes = Codes::along(main.index, Packing::UpperFirst, [1, weights], packed);
    let grid = Grid { block_columns: block, ..Grid::groups(1, weights, blocks) };
    let coding = Coding::table(&map.floats::<16>()?);
    let weight = Grouped::scaled(format!("bitsandbytes {kind}"), codes, coding, scales, grid);
    module.found(&shape, Grouped { flat: shape.last().copied(), ..weight })
}

/// Scales that are quantized themselves.
fn nested(
    module: &mut Module<'_, '_>,
    settings: &Json,
    state: Part<'_>,
    absmax: Part<'_>,
) -> Result<Numbers, SchemeError> {
    let (scales, map) = (module.need("weight.nested_absmax")?, module.need("weight.nested_quant_map")?);
    let block = length(&settings["nested_blocksize"]).ok_or_else(|| state.value("has no nested_blocksize"))?;
    let offset = settings["nested_offset"].as_f64().ok_or_else(|| state.value("has no nested_offset"))? as f32;
    scales.has_shape(&[(absmax.info.weights() as usize).div_ceil(block)])?;
    let nested = Nested { table: map.floats()?, scales: scales.numbers()?, block, offset };
    Ok(Numbers { tensor: absmax.index, dtype: Dtype::U8, then: Then::Nested(Box::new(nested)) })
}

/// Finds the weight of a `weight` of signed bytes with `SCB`, the largest magnitude of each row.
pub(super) fn find_int8(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let size @ [rows, columns] = main.matrix()?;
    let scales = module.need("SCB")?;
    scales.has_shape(&[rows])?;
    if let Some(format) = module.take("weight_format")?
        && format.bytes() != [0]
    {
        return Err(format.value("is not 0: the weight is in the order of one kind of device"));
    }
    let codes = Codes::along(main.index, Packing::Dense(8), size, columns);
    let grid = Grid::groups(rows, columns, 1);
    let name = "bitsandbytes int8".to_owned();
    let weight = Grouped::scaled(name, codes, Coding::Signed, scales.numbers()?, grid);
    module.found(&size, Grouped { formula: Formula::Scaled { factor: PER_STEP }, ..weight })
}

/// A positive length.
fn length(value: &Json) -> Option<usize> {
    value.as_u64().and_then(|length| usize::try_from(length).ok()).filter(|length| *length > 0)
}

/// The lengths of two or more dimensions.
fn lengths(value: &Json) -> Option<Vec<usize>> {
    let lengths: Vec<_> = value.as_array()?.iter().map(length).collect::<Option<_>>()?;
    (lengths.len() >= 2).then_some(lengths)
}
