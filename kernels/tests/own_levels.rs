//! Levels and scales of blocks, for those who choose levels themselves: against the decoders.

mod common;

use common::cases;
use weightmill_kernels::{Dtype, Level, dequantize, quantize, read_scales, validate, write_levels};

fn types() -> impl Iterator<Item = Dtype> {
    Dtype::all().filter(|dtype| dtype.levels().is_some())
}

/// Blocks of every type with scales as they are found, and levels that have nothing to do with the weights.
#[test]
fn decoders_see_the_levels_that_were_put_in() {
    assert_eq!(types().count(), 12);
    for dtype in types() {
        let (levels, info) = (dtype.levels().unwrap(), dtype.info());
        for case in cases().iter().filter(|case| case.columns % info.block_len == 0) {
            let count = case.weights.len();
            let mut blocks = vec![0; dtype.byte_size(count as u64).unwrap() as usize];
            quantize(Level::detect(), dtype, &case.weights, case.columns, None, &mut blocks);
            if validate(dtype, &blocks).is_err() {
                continue;
            }
            let (mut scales, mut offsets) = (vec![0.0; count / levels.run], vec![0.0; count / levels.run]);
            read_scales(dtype, &blocks, &mut scales, &mut offsets);
            let chosen: Vec<u8> = (0..count).map(|at| (at * 31 % 257 % levels.points.count()) as u8).collect();
            write_levels(dtype, &chosen, &mut blocks);
            let mut decoded = vec![0.0; count];
            dequantize(Level::detect(), dtype, &blocks, &mut decoded);
            for (at, (found, level)) in decoded.iter().zip(&chosen).enumerate() {
                let expected = scales[at / levels.run] * levels.points.value(*level) + offsets[at / levels.run];
                assert!(*found == expected, "{dtype}, {}, weight {at}: {found}, not {expected}", case.name);
            }
            let (mut after, mut offsets_after) = (scales.clone(), offsets.clone());
            read_scales(dtype, &blocks, &mut after, &mut offsets_after);
            assert!(after == scales && offsets_after == offsets, "{dtype}: scales do not stay");
        }
    }
}
