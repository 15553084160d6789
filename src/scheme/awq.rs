//! AWQ, version `gemm`: 4-bit codes packed across the rows, a scale and a zero point per group of columns.
//!
//! A word of `qweight` holds eight rows of one column, those of even numbers first; `qzeros` are packed likewise.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::error::SchemeError;
use super::grouped::{Grouped, Offsets};
use super::layout::Layout;
use super::module::{Found, Module};
use super::numbers::Grid;
use super::output::Wanted;

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
    let zeros = zero_points(zeros.index, groups, rows);
    let grid = grid(rows, columns, groups);
    let name = format!("AWQ 4-bit {}", grid.extent(columns));
    let codes = codes(main.index, [rows, columns]);
    let offsets = Offsets::Codes { codes: zeros, plus: 0 };
    module.found(&[rows, columns], Grouped::centred(name, codes, scales.numbers()?, offsets, grid))
}

/// The tensors of a weight.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    let [rows, columns] = wanted.size;
    let groups = wanted.grid().groups;
    let grid = grid(rows, columns, groups);
    Layout::new("qweight", Dtype::I32, &[columns, rows / 8], codes(0, wanted.size), grid)
        .scales("scales", wanted.scale_type)
        .zeros("qzeros", &[groups, rows / 8], |tensor| zero_points(tensor, groups, rows))
}

/// The codes: column by column, packed across the rows.
fn codes(tensor: usize, size @ [rows, _]: [usize; 2]) -> Codes {
    Codes::across(tensor, Packing::EvenFirst, size, rows / 2)
}

/// The zero points: packed likewise, group by group.
fn zero_points(tensor: usize, groups: usize, rows: usize) -> Codes {
    Codes::along(tensor, Packing::EvenFirst, [groups, rows], rows / 2)
}

/// Numbers lie group by group.
fn grid(rows: usize, columns: usize, groups: usize) -> Grid {
    Grid { by_group: true, ..Grid::groups(rows, columns, groups) }
}
