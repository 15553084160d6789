//! Levels and scales of blocks, for those who choose levels themselves: against the decoders.

mod common;

use common::cases;
use weightmill_kernels::{Dtype, Level, dequantize, quantize, read_scales, validate, write_levels, write_scales};

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

/// Scales that blocks hold already stay; others become what the block has nearest to them, and levels stay.
#[test]
fn scales_become_the_nearest_that_blocks_hold() {
    for dtype in types() {
        let (levels, info) = (dtype.levels().unwrap(), dtype.info());
        let runs = info.block_len / levels.run;
        let weights: Vec<f32> = (0..2 * info.block_len).map(|at| ((at * 37 % 101) as f32 - 40.0) * 0.01).collect();
        let mut blocks = vec![0; 2 * info.block_bytes];
        quantize(Level::detect(), dtype, &weights, weights.len(), None, &mut blocks);
        let read = |blocks: &[u8]| {
            let (mut scales, mut offsets) = (vec![0.0; 2 * runs], vec![0.0; 2 * runs]);
            read_scales(dtype, blocks, &mut scales, &mut offsets);
            (scales, offsets)
        };
        let (scales, offsets) = read(&blocks);
        let mut same = blocks.clone();
        write_scales(dtype, &scales, &offsets, &mut same);
        assert!(same == blocks, "{dtype}: scales that were there");

        // each scale from another run, moved by less than half a step of any type but the finest
        let moved: Vec<f32> = (0..2 * runs).map(|run| scales[run / runs * runs + (run + 1) % runs] * 1.0001).collect();
        let moved_offsets: Vec<f32> =
            (0..2 * runs).map(|run| offsets[run / runs * runs + (run + 1) % runs] * 1.0001).collect();
        let mut other = blocks.clone();
        write_scales(dtype, &moved, &moved_offsets, &mut other);
        let (found, found_offsets) = read(&other);
        for (found, expected) in found.iter().chain(&found_offsets).zip(moved.iter().chain(&moved_offsets)) {
            assert!((found - expected).abs() <= 2e-4 * expected.abs(), "{dtype}: {found}, not {expected}");
        }
        let plain = |blocks: &[u8], (scales, offsets): &(Vec<f32>, Vec<f32>)| -> Vec<f32> {
            let mut values = vec![0.0; weights.len()];
            dequantize(Level::detect(), dtype, blocks, &mut values);
            let exact =
                |(at, value): (usize, &f32)| ((value - offsets[at / levels.run]) / scales[at / levels.run]).round();
            values.iter().enumerate().map(exact).collect()
        };
        assert_eq!(plain(&other, &read(&other)), plain(&blocks, &(scales, offsets)), "{dtype}: levels");
    }
}
