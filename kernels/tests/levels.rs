//! Every CPU level writes the same bytes, and the best one that this CPU has is among those tested.

mod common;

use common::{blocks, cases};
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

#[test]
fn every_level_writes_the_same_blocks() {
    let cases = cases();
    let mut compared = 0;
    for dtype in Dtype::all().filter(|dtype| dtype.info().quantize.is_some()) {
        for case in cases.iter().filter(|case| case.columns.is_multiple_of(dtype.info().block_len)) {
            let size = dtype.byte_size(case.weights.len() as u64).expect("whole blocks") as usize;
            for (kind, importance) in case.variants_for(dtype) {
                let [mut expected, mut found] = [vec![0x55; size], vec![0xaa; size]];
                quantize(Level::SCALAR, dtype, &case.weights, case.columns, importance, &mut expected);
                for level in Level::all() {
                    quantize(level, dtype, &case.weights, case.columns, importance, &mut found);
                    assert!(found == expected, "{dtype} {} {kind}: {} and scalar differ", case.name, level.name());
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 0);
}

#[test]
fn every_level_decodes_to_the_same_weights() {
    for dtype in Dtype::all().filter(|dtype| dtype.is_quantized() && dtype.info().dequantize.is_some()) {
        let blocks = blocks::random(dtype);
        let weights = blocks.len() / dtype.info().block_bytes * dtype.info().block_len;
        let [mut expected, mut found] = [vec![0.0f32; weights], vec![1.0f32; weights]];
        dequantize(Level::SCALAR, dtype, &blocks, &mut expected);
        for level in Level::all() {
            dequantize(level, dtype, &blocks, &mut found);
            let equal = found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(equal, "{dtype}: {} and scalar differ", level.name());
        }
    }
}

/// Without the standard library nothing is detected.
#[test]
#[cfg(not(feature = "std"))]
fn only_the_scalar_level_is_tested() {
    assert_eq!(Level::all().map(Level::name).collect::<Vec<_>>(), ["scalar"]);
    assert_eq!(Level::detect().name(), "scalar");
}

/// The levels above ran on this CPU's best one: what the CPU says of itself decides, not our detection.
#[test]
#[cfg(all(feature = "std", target_arch = "x86_64"))]
fn the_best_level_of_this_cpu_is_tested() {
    let names: Vec<_> = Level::all().map(Level::name).collect();
    let masks = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("popcnt");
    let avx512 = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && masks;
    let avx2 = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
        && masks;
    assert_eq!(names.contains(&"avx512"), avx512);
    assert_eq!(names.contains(&"avx2"), avx2);
    assert_eq!(
        Level::detect().name(),
        if avx512 {
            "avx512"
        } else if avx2 {
            "avx2"
        } else {
            "scalar"
        }
    );
}
