//! compressed-tensors, `int-quantized`: signed integers, one per byte, also where they have fewer bits.

use weightmill_kernels::Dtype;

use super::apply::Formula;
use super::codes::{Codes, Packing};
use super::coding::Coding;
use super::error::SchemeError;
use super::grouped::{Grouped, Offsets};
use super::layout::Layout;
use super::module::{Found, Module};
use super::numbers::Grid;
use super::output::Wanted;

/// Finds the weight of a `weight` of signed bytes.
pub(super) fn find(module: &mut Module<'_, '_>) -> Result<Option<Found>, SchemeError> {
    let main = module.main;
    let size = main.stack()?;
    let scale = module.need("weight_scale")?;
    let grid = Grid::fit(&main.dims(), &scale.dims(), &module.settings.blocks())
        .ok_or_else(|| scale.shape(format!("one per matrix, row or group of {:?}", main.info.shape)))?;
    let offsets = match module.take("weight_zero_point")? {
        None => Offsets::Constant(0.0),
        Some(zeros) => {
            zeros.has_shape(&scale.dims())?;
            Offsets::Numbers(zeros.signed()?)
        }
    };
    let name = format!("compressed-tensors int8 {}", grid.extent(size[1]));
    let codes = codes(main.index, size);
    let weight = Grouped::scaled(name, codes, Coding::Signed, scale.numbers()?, grid);
    module.found(&main.dims(), Grouped { formula: Formula::Centred, offsets, ..weight })
}

/// The tensors of a weight, whose codes may have fewer bits.
pub(super) fn lay_out(wanted: &Wanted) -> Layout {
    let layout = Layout::new("weight", Dtype::I8, &wanted.size, codes(0, wanted.size), wanted.grid());
    Layout { signed: true, ..layout.scales("weight_scale", wanted.scale_type) }
}

/// A byte per code.
fn codes(tensor: usize, size: [usize; 2]) -> Codes {
    Codes::along(tensor, Packing::Dense(8), size, size[1])
}
