//! compressed-tensors, `pack-quantized`: integers of 1 to 8 bits in 32-bit words, symmetric or with zero points.
//!
//! Since version 0.18 the codes of a row are one stream of bits; before, a word held as many whole codes as fit. Both have
//! the same names: the width tells them apart. Zero points are packed likewise, but down the rows of the weight.

use weightmill_kernels::Dtype;

use super::codes::{Codes, Packing};
use super::error::SchemeError;
use super::gptq::order;
use super::grouped::{Grouped, Offsets};
use super::layout::{Fixed, Layout};
use super::module::{Found, Module};
use super::numbers::{Grid, Then};
use super::output::Wanted;
use super::tensors::Part;

/// Finds the weight of a `weight_packed`.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let [packed_rows, words] = main.matrix()?;
    let (shape, scale) = (module.need("weight_shape")?, module.need("weight_scale")?);
    let (zero_point, g_idx) = (module.take("weight_zero_point")?, module.take("weight_g_idx")?);
    let size @ [rows, columns] = shape.pair()?;
    if rows != packed_rows {
        return Err(main.shape(format!("{rows} rows, as weight_shape says")));
    }
    let packing = packing(module, columns, words)?;
    let (grid, order) = match g_idx.filter(|g_idx| !is_absent(g_idx)) {
        None => {
            let grid = Grid::fit(&size, &scale.dims(), &[]).filter(|grid| grid.block_rows == 1 || grid.groups == 1);
            (grid.ok_or_else(|| scale.shape(format!("one per matrix, row or group of {size:?}")))?, None)
        }
        Some(g_idx) => {
            let [scale_rows, groups] = scale.matrix()?;
            if scale_rows != rows {
                return Err(scale.shape(format!("{rows} rows")));
            }
            (Grid::groups(rows, columns, groups), order(g_idx, columns, groups)?)
        }
    };
    let half = 1 << (packing.bits() - 1);
    let offsets = match zero_point {
        None => Offsets::Constant(half as f32),
        // Old files keep the zero points of signed codes as they are.
        Some(zeros) if zeros.info.dtype == Dtype::I8 => {
            zeros.has_shape(&scale.dims())?;
            Offsets::Numbers(zeros.signed()?.then(Then::Plus(half as f32)))
        }
        Some(zeros) => {
            zeros.is_of(&[Dtype::I32], "I32 or I8")?;
            let [zero_rows, groups] = zeros.matrix()?;
            let fits = |packing: &Packing| packing.words(rows) == Some(zero_rows);
            let zero_packing = [Packing::Dense(packing.bits()), Packing::Sparse(packing.bits())].into_iter().find(fits);
            match zero_packing.filter(|_| groups == grid.groups) {
                Some(packing) => Offsets::Codes { codes: zero_points(zeros.index, packing, groups, rows), plus: 0 },
                None => return Err(zeros.shape(format!("zero points of {rows} rows and {} groups", grid.groups))),
            }
        }
    };
    let kind = if zero_point.is_some() { "int" } else { "symmetric int" };
    let name = format!("compressed-tensors {kind}{} {}", packing.bits(), grid.extent(columns));
    let codes = codes(main.index, packing, size, words);
    let weight = Grouped::centred(name, codes, scale.numbers()?, offsets, grid);
    module.found(&size, Grouped { order, ..weight })
}

/// The tensors of a weight.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    let Wanted { size: size @ [rows, columns], bits, zero_points: has_zeros, scale_type, .. } = *wanted;
    let packing = Packing::Dense(bits);
    let words = |codes: usize| packing.words(codes).expect("a weight that fits the address space");
    let (width, height, grid) = (words(columns), words(rows), wanted.grid());
    let groups = grid.groups;
    let layout = Layout::new("weight_packed", Dtype::I32, &[rows, width], codes(0, packing, size, width), grid);
    let layout = layout.scales("weight_scale", scale_type).fixed("weight_shape", Dtype::I64, &[2], Fixed::Size);
    match has_zeros {
        false => layout,
        true => {
            layout.zeros("weight_zero_point", &[height, groups], |tensor| zero_points(tensor, packing, groups, rows))
        }
    }
}

/// The codes: rows of so many words.
fn codes(tensor: usize, packing: Packing, size: [usize; 2], words: usize) -> Codes {
    Codes::along(tensor, packing, size, 4 * words)
}

/// The zero points: packed down the rows of the weight.
fn zero_points(tensor: usize, packing: Packing, groups: usize, rows: usize) -> Codes {
    Codes::down(tensor, packing, [groups, rows])
}

/// The packing in which rows of `columns` codes take `words` words, of the bits that config.json names.
fn packing(module: &Module<'_, '_>, columns: usize, words: usize) -> Result<Packing, SchemeError> {
    let mut bits = module.settings.integer_bits();
    bits.retain(|bits| (1..=8).contains(bits));
    if bits.is_empty() {
        bits = (1..=8).collect();
    }
    bits.sort_unstable();
    bits.dedup();
    let fits = |packing: &Packing| packing.words(columns) == Some(words);
    let dense: Vec<_> = bits.iter().copied().map(Packing::Dense).filter(fits).collect();
    // Words without unused bits are dense.
    let odd = bits.iter().copied().filter(|bits| 32 % bits != 0);
    let sparse: Vec<_> = odd.map(Packing::Sparse).filter(fits).collect();
    match (dense.as_slice(), sparse.as_slice()) {
        ([packing], _) | ([], [packing]) => Ok(*packing),
        ([], []) => Err(module.main.shape(format!("rows of {columns} codes, of {bits:?} bits"))),
        _ => Err(module.main.shape("rows whose length alone tells how many bits a code has")),
    }
}

/// Whether the groups of the columns are all -1, which stands for none.
fn is_absent(g_idx: &Part<'_>) -> bool {
    g_idx.bytes().iter().all(|&byte| byte == 0xff)
}
