//! AWQ, version `gemm`: 4-bit codes packed across the rows, a scale and a zero point per group of columns.
//!
//! A word of `qweight` holds eight rows of one column, those of even numbers first; `qzeros` are packed likewise.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::error::SchemeError;
use super::grouped::{Grouped, Offsets};
use super::module::{Found, Module};
use super::numbers::Grid;

/// Finds the weight of a `qweight`, unless it is packed as GPTQ does.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let (scales, zeros) = (module.need("scales")?, module.need("qzeros")?);
    main.is_of(&[Dtype::I32], "I32")?;
    let ([columns, words], [groups, rows]) = (main.matrix()?, scales.matrix()?);
    if rows == words {
        return Ok(None);
    }
    if words.checked_mul(8) != Some(rows) || !columns.is_multiple_of(groups) {
        return Err(main.shape("columns x rows / 8 (AWQ) or columns * bits / 32 x rows (GPTQ), as its scales say"));
    }
    zeros.is_of(&[Dtype::I32], "I32")?;
    zeros.has_shape(&[groups, words])?;
    let zeros = Codes::along(zeros.index, Packing::EvenFirst, [groups, rows], 4 * words);
    let grid = Grid { by_group: true, ..Grid::groups(rows, columns, groups) };
    let name = format!("AWQ 4-bit {}", grid.extent(columns));
    let codes = Codes::across(main.index, Packing::EvenFirst, [rows, columns], 4 * words);
    let offsets = Offsets::Codes { codes: zeros, plus: 0 };
    module.found(&[rows, columns], Grouped::centred(name, codes, scales.numbers()?, offsets, grid))
}
