//! Codes in groups, as safetensors formats have them, by CPU level: weights per second, and the speed of copying to compare with.
//!
//!     cargo bench --bench groups -- [FILTER]
//!
//! Before anything is timed, the level's answer is compared with the scalar level's.

#[allow(dead_code, reason = "the kernels' bench uses the rest")]
#[path = "versus/weights.rs"]
mod weights;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weightmill_kernels::groups::{self, Bounds, FloatScale, Groups, Offsets, Signs, Ties};
use weightmill_kernels::{Dtype, Level};

const ROWS: usize = 32;
const COLUMNS: usize = 4096;
const BOUNDS: [f32; 2] = [-8.0, 7.0];

/// Makes scales and codes.
type Encode = fn(Level, Groups<'_>, &[f32], &mut [f32], &mut [u8]);

/// What is timed, and the columns of a group.
static CASES: &[(&str, usize, Encode)] = &[
    ("int4 g128, absmax", 128, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 7.5);
        groups::integers(level, groups, scales, Offsets::None, BOUNDS, codes);
    }),
    ("int4 g128, mse", 128, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 7.5);
        groups::search(level, groups, None, Bounds::All(BOUNDS), Dtype::BF16, Signs::Own, scales);
        groups::integers(level, groups, scales, Offsets::None, BOUNDS, codes);
    }),
    ("int4 g128, mse with importance", 128, |level, groups, importance, scales, codes| {
        absmax(level, groups, scales, 7.5);
        groups::search(level, groups, Some(importance), Bounds::All(BOUNDS), Dtype::BF16, Signs::Own, scales);
        groups::integers(level, groups, scales, Offsets::None, BOUNDS, codes);
    }),
    ("int8 per row, absmax", COLUMNS, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 127.5);
        groups::integers(level, groups, scales, Offsets::None, [-128.0, 127.0], codes);
    }),
    ("int8 per row, mse", COLUMNS, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 127.5);
        let bounds = [-128.0, 127.0];
        groups::search(level, groups, None, Bounds::All(bounds), Dtype::BF16, Signs::Own, scales);
        groups::integers(level, groups, scales, Offsets::None, bounds, codes);
    }),
    ("E4M3 per row", COLUMNS, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 448.0);
        groups::e4m3(level, groups, scales, codes);
    }),
    ("E2M1 g32, mse", 32, |level, groups, _, scales, codes| {
        scales.fill(0.03125);
        groups::search_e2m1(level, groups, None, FloatScale::Power, scales);
        groups::e2m1(level, groups, scales, Ties::Even, codes);
    }),
    ("E2M1 g16, mse", 16, |level, groups, _, scales, codes| {
        scales.fill(0.03125);
        groups::search_e2m1(level, groups, None, FloatScale::E4M3Over(1.0), scales);
        groups::e2m1(level, groups, scales, Ties::Even, codes);
    }),
    ("E2M1 g32", 32, |level, groups, _, scales, codes| {
        absmax(level, groups, scales, 6.0);
        groups::e2m1(level, groups, scales, Ties::Even, codes);
    }),
];

fn absmax(level: Level, groups: Groups<'_>, scales: &mut [f32], most: f32) {
    groups::max_abs(level, groups, scales);
    scales.iter_mut().for_each(|scale| *scale = if *scale == 0.0 { 1.0 } else { *scale / most });
}

fn groups(criterion: &mut Criterion) {
    let weights = weights::weights(ROWS, COLUMNS);
    let importance = weights::importance(COLUMNS);
    let (source, mut copy) = (vec![1.0f32; 16 << 20], vec![0.0f32; 16 << 20]);
    let mut group = criterion.benchmark_group("memory");
    group.throughput(Throughput::Elements(source.len() as u64)).sample_size(10);
    group.bench_function("copy f32", |bencher| {
        bencher.iter(|| black_box(&mut copy).copy_from_slice(black_box(&source)))
    });
    group.finish();
    for &(name, size, encode) in CASES {
        let groups = Groups { weights: &weights, columns: COLUMNS, group: size };
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(weights.len() as u64)).sample_size(10);
        let [mut scales, mut expected_scales] = [0; 2].map(|_| vec![0.0; groups.count()]);
        let [mut codes, mut expected] = [0; 2].map(|_| vec![0; weights.len()]);
        encode(Level::SCALAR, groups, &importance, &mut expected_scales, &mut expected);
        for level in Level::all() {
            encode(level, groups, &importance, &mut scales, &mut codes);
            assert!(codes == expected && scales == expected_scales, "{name}: {} and scalar differ", level.name());
            group.bench_function(level.name(), |bencher| {
                bencher.iter(|| encode(level, black_box(groups), &importance, &mut scales, &mut codes));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, groups);
criterion_main!(benches);
