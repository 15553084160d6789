//! Our quantizers and decoders by type and CPU level: weights per second, and bytes per second of weights and blocks together,
//! as both go through memory.
//!
//!     cargo bench --bench kernels -- [FILTER]
//!
//! Names are `TYPE/quantize/LEVEL`, `TYPE/quantize with importance/LEVEL` and `TYPE/dequantize/LEVEL`. Before anything is timed,
//! the level's answer is compared with the scalar level's.

#[path = "versus/weights.rs"]
mod weights;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use std::hint::black_box;
use std::time::Duration;
use weightmill_kernels::{Dtype, Level, dequantize, quantize};

const ROWS: usize = 64;
const COLUMNS: usize = 4096;

fn kernels(criterion: &mut Criterion) {
    let weights = weights::weights(ROWS, COLUMNS);
    let importance = weights::importance(COLUMNS);
    for dtype in Dtype::all().filter(|dtype| dtype.info().quantize.is_some()) {
        let size = dtype.byte_size(weights.len() as u64).expect("whole blocks");
        let mut group = criterion.benchmark_group(dtype.name());
        group.throughput(Throughput::ElementsAndBytes {
            elements: weights.len() as u64,
            bytes: size + size_of_val(&weights[..]) as u64,
        });
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
        let mut blocks = vec![0; size as usize];
        for (name, importance) in [("quantize", None), ("quantize with importance", Some(&importance[..]))] {
            if importance.is_some() || !dtype.info().needs_importance {
                quantizers(&mut group, dtype, name, &weights, importance, &mut blocks);
            }
        }
        decoders(&mut group, dtype, &blocks);
        group.finish();
    }
}

/// Times every level, and leaves the blocks behind.
fn quantizers(
    group: &mut BenchmarkGroup<WallTime>,
    dtype: Dtype,
    name: &str,
    weights: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [u8],
) {
    let mut expected = vec![0; blocks.len()];
    quantize(Level::SCALAR, dtype, weights, COLUMNS, importance, &mut expected);
    for level in Level::all() {
        quantize(level, dtype, weights, COLUMNS, importance, blocks);
        assert!(blocks == expected, "{dtype}, {name}: {} and scalar differ", level.name());
        group.bench_function(format!("{name}/{}", level.name()), |bencher| {
            bencher.iter(|| quantize(level, dtype, black_box(weights), COLUMNS, importance, blocks));
        });
    }
}

/// Times every level.
fn decoders(group: &mut BenchmarkGroup<WallTime>, dtype: Dtype, blocks: &[u8]) {
    let (mut decoded, mut expected) = (vec![0.0f32; ROWS * COLUMNS], vec![0.0f32; ROWS * COLUMNS]);
    dequantize(Level::SCALAR, dtype, blocks, &mut expected);
    for level in Level::all() {
        dequantize(level, dtype, blocks, &mut decoded);
        let equal = decoded.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(equal, "{dtype}, dequantize: {} and scalar differ", level.name());
        group.bench_function(format!("dequantize/{}", level.name()), |bencher| {
            bencher.iter(|| dequantize(level, dtype, black_box(blocks), &mut decoded));
        });
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
