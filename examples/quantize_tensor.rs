//! Quantizes one tensor with the kernels crate alone: no files, no threads, nothing about models.
//!
//! Run with `cargo run --release --example quantize_tensor`.

use weightmill_kernels::{Dtype, Level, dequantize, first_non_finite, quantize, validate};

fn main() {
    // A matrix of 64 rows of 1024 weights, row-major, and how much each of its columns matters.
    let (rows, columns) = (64, 1024);
    let weights: Vec<f32> = (0..rows * columns).map(|i| ((i % 977) as f32 / 977.0 - 0.5) * 0.1).collect();
    let importance: Vec<f32> = (0..columns).map(|column| 1.0 + (column % 7) as f32).collect();

    // The best level that this CPU has; every level writes the same bytes.
    let level = Level::detect();
    println!("level {}", level.name());
    assert_eq!(first_non_finite(level, &weights), None, "quantizers accept finite weights only");
    for dtype in [Dtype::Q4_K, Dtype::Q6_K, Dtype::Q8_0] {
        let bytes = dtype.byte_size(weights.len() as u64).expect("1024 columns fill whole blocks");
        let mut blocks = vec![0; bytes as usize];
        for importance in [None, Some(importance.as_slice())] {
            quantize(level, dtype, &weights, columns, importance, &mut blocks);
            assert_eq!(validate(dtype, &blocks), Ok(()), "scales are finite");

            let mut decoded = vec![0.0; weights.len()];
            dequantize(level, dtype, &blocks, &mut decoded);
            let squares: f32 = weights.iter().zip(&decoded).map(|(a, b)| (a - b) * (a - b)).sum();
            let error = (squares / weights.len() as f32).sqrt();
            let with = if importance.is_some() { "with" } else { "without" };
            println!("{dtype}: {bytes} bytes, root mean square error {error:.6} {with} importance");
        }
    }
}
