//! 8-bit floats with scales: one for the whole tensor, per row, per block (DeepSeek), or per 32 columns (MXFP8).
//!
//! DeepSeek, compressed-tensors, ModelOpt and FBGEMM name the scale differently and mean the same: a factor, also where
//! it is called `weight_scale_inv`. The sizes of blocks follow from the shapes and from config.json.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::coding::Coding;
use super::error::SchemeError;
use super::grouped::Grouped;
use super::layout::Layout;
use super::module::{Found, Module};
use super::numbers::Grid;
use super::output::Wanted;

/// Endings of the scale's name, after that of the codes or instead of `weight`; the latter are DeepSeek V4's, Mistral's and
/// ComfyUI's.
pub(super) const SCALES: &[&str] = &["_scale_inv", "_scale", "scale", "qscale_weight", "scale_weight"];

/// Finds a weight with the scale that lies beside it.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let size = main.stack()?;
    let mut scale = None;
    for name in SCALES {
        let Some(part) = module.take(name)? else { continue };
        if scale.replace(part).is_some() {
            return Err(part.value("is a second scale of the same weight"));
        }
    }
    let Some(scale) = scale else { return Ok(None) };
    let numbers = if scale.info.dtype == Dtype::U8 { scale.exponents()? } else { scale.numbers()? };
    let grid = Grid::fit(&main.dims(), &scale.dims(), &module.settings.blocks())
        .ok_or_else(|| scale.shape(format!("one per matrix, row or block of {:?}", main.info.shape)))?;
    let name = format!("{} {}", main.info.dtype, grid.extent(size[1]));
    let codes = codes(main.index, size);
    module.found(&main.dims(), Grouped::scaled(name, codes, Coding::Byte(main.info.dtype), numbers, grid))
}

/// The tensors of a weight as compressed-tensors names them.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    let layout = Layout::new("weight", Dtype::F8_E4M3, &wanted.size, codes(0, wanted.size), wanted.grid());
    layout.scales("weight_scale", wanted.scale_type)
}

/// The tensors of a weight as DeepSeek names them, with a scale for each block of both dimensions.
pub(super) fn lay_out_deepseek(wanted: &Wanted) -> Layout {
    blocks(wanted).scales("weight_scale_inv", Dtype::F32)
}

/// The same as compressed-tensors names them.
pub(super) fn lay_out_blocks(wanted: &Wanted) -> Layout {
    blocks(wanted).scales("weight_scale", wanted.scale_type)
}

fn blocks(wanted: &Wanted) -> Layout {
    let block = wanted.group.unwrap_or(wanted.size[1]);
    let [rows, columns] = wanted.size;
    let grid = Grid {
        block_rows: block,
        number_rows: rows.div_ceil(block),
        ..Grid::groups(rows, columns, columns.div_ceil(block))
    };
    Layout::new("weight", Dtype::F8_E4M3, &wanted.size, codes(0, wanted.size), grid)
}

/// A byte per code.
fn codes(tensor: usize, size: [usize; 2]) -> Codes {
    Codes::along(tensor, Packing::Dense(8), size, size[1])
}
