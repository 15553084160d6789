//! Our quantizers and decoders by type and CPU level.
//!
//!     cargo bench --bench kernels -- [FILTER]
//!
//! Before anything is timed, the level's answer is compared with the scalar level's.

#[path = "versus/weights.rs"]
mod weights;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

const ROWS: usize = 64;
const COLUMNS: usize = 4096;

fn kernels(criterion: &mut Criterion) {
    let weights = weights::weights(ROWS, COLUMNS);
    let importance = weights::importance(COLUMNS);
    for dtype in Dtype::all().filter(|dtype| dtype.info().quantize.is_some()) {
        let mut group = criterion.benchmark_group(dtype.name());
        group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(10);
        let size = dtype.byte_size(weights.len() as u64).expect("whole blocks") as usize;
        let (mut blocks, mut expected) = (vec![0; size], vec![0; size]);
        for (name, importance) in [("quantize", None), ("quantize with importance", Some(&importance[..]))] {
            quantize(Level::SCALAR, dtype, &weights, COLUMNS, importance, &mut expected);
            for level in Level::all() {
                quantize(level, dtype, &weights, COLUMNS, importance, &mut blocks);
                assert!(blocks == expected, "{dtype}, {name}: {} and scalar differ", level.name());
                group.bench_function(format!("{name}/{}", level.name()), |bencher| {
                    bencher.iter(|| quantize(level, dtype, black_box(&weights), COLUMNS, importance, &mut blocks));
                });
            }
        }
        let (mut decoded, mut expected) = (vec![0.0; weights.len()], vec![0.0; weights.len()]);
        dequantize(Level::SCALAR, dtype, &blocks, &mut expected);
        for level in Level::all() {
            dequantize(level, dtype, &blocks, &mut decoded);
            let equal = decoded.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(equal, "{dtype}, dequantize: {} and scalar differ", level.name());
            group.bench_function(format!("dequantize/{}", level.name()), |bencher| {
                bencher.iter(|| dequantize(level, dtype, black_box(&blocks), &mut decoded));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
