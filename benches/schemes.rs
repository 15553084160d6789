//! Decoders of quantized checkpoints by scheme and CPU level: weights per second.
//!
//!     cargo bench --bench schemes -- [FILTER]
//!
//! Before anything is timed, the level's answer is compared with the scalar level's.

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/schemes/memory.rs"]
mod memory;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memory::Memory;
use serde_json::{Value as Json, json};
use weightmill::scheme;
use weightmill_kernels::Dtype::{BF16, F8_E4M3, F16, F32, I8, I32, I64, U8, U32};
use weightmill_kernels::Level;

/// Rows and columns of the weights.
const N: u64 = 4096;
const K: u64 = 4096;
/// Rows decoded at once.
const CHUNK: usize = 64;

fn cases() -> Vec<(&'static str, Memory, Json)> {
    let new = Memory::default;
    let shape = [N.to_le_bytes(), K.to_le_bytes()].concat();
    let order: Vec<u8> = (0..K).flat_map(|k| ((k * 7919 % K / 128) as u32).to_le_bytes()).collect();
    let gptq = new().filled("qweight", I32, &[K / 8, N], 0x5a).filled("qzeros", I32, &[K / 128, N / 8], 0x65);
    let gptq = gptq.filled("scales", F16, &[K / 128, N], 0x22);
    let awq = new().filled("qweight", I32, &[K, N / 8], 0x5a).filled("qzeros", I32, &[K / 128, N / 8], 0x65);
    let packed = new().filled("weight_packed", I32, &[N, K / 8], 0x5a).with("weight_shape", I64, &[2], &shape);
    let packed = packed.filled("weight_scale", BF16, &[N, K / 128], 0x3c);
    let fp8 = new().filled("weight", F8_E4M3, &[N, K], 0x5a);
    let fp4 = new().filled("weight_packed", U8, &[N, K / 2], 0x5a);
    let mlx = new().filled("weight", U32, &[N, K / 8], 0x5a).filled("scales", BF16, &[N, K / 64], 0x3c);
    vec![
        ("FP8 128x128", fp8.filled("weight_scale_inv", F32, &[N / 128, K / 128], 0x3c), json!({})),
        ("GPTQ 4-bit", gptq.clone(), json!({"sym": true})),
        ("GPTQ 4-bit, zero points", gptq.clone(), json!({"sym": false})),
        ("GPTQ 4-bit, act-order", gptq.with("g_idx", I32, &[K], &order), json!({"sym": true})),
        ("AWQ", awq.filled("scales", F16, &[K / 128, N], 0x22), json!({})),
        ("compressed-tensors int4", packed.clone(), json!({})),
        (
            "compressed-tensors int4, zero points",
            packed.filled("weight_zero_point", I32, &[N / 8, K / 128], 0x65),
            json!({}),
        ),
        (
            "compressed-tensors int8",
            new().filled("weight", I8, &[N, K], 0x5a).filled("weight_scale", BF16, &[N, 1], 0x3c),
            json!({}),
        ),
        ("MXFP4", fp4.clone().filled("weight_scale", U8, &[N, K / 32], 0x7a), json!({})),
        (
            "NVFP4",
            fp4.filled("weight_scale", F8_E4M3, &[N, K / 16], 0x38).filled("weight_global_scale", F32, &[1], 0x3c),
            json!({}),
        ),
        ("MLX 4-bit", mlx.filled("biases", BF16, &[N, K / 64], 0x3c), json!({"bits": 4, "group_size": 64})),
    ]
}

fn schemes(criterion: &mut Criterion) {
    for (name, source, config) in cases() {
        let (weights, _) = scheme::read(Box::new(source), Some(&config)).expect("a sound checkpoint");
        let weight = &weights.list()[0];
        let columns = weight.columns();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(weight.elements())).sample_size(10);
        let [mut expected, mut decoded] = [vec![0.0; CHUNK * columns], vec![0.0; CHUNK * columns]];
        weights.decode(weight, Level::SCALAR, 0..CHUNK, 0..columns, &mut expected);
        for level in Level::all() {
            weights.decode(weight, level, 0..CHUNK, 0..columns, &mut decoded);
            let equal = decoded.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(equal, "{name}: {} and scalar differ", level.name());
            group.bench_function(level.name(), |bencher| {
                bencher.iter(|| {
                    for row in (0..N as usize).step_by(CHUNK) {
                        weights.decode(weight, level, row..row + CHUNK, 0..columns, &mut decoded);
                        black_box(&mut decoded);
                    }
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, schemes);
criterion_main!(benches);
