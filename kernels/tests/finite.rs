//! Weights and scales that are not finite are found, and the first one is named.

use weightmill_kernels::{Dtype, Level, Scales, dequantize, first_non_finite, validate};

#[test]
fn the_first_weight_that_is_not_finite_is_found() {
    for level in Level::all() {
        for len in [0, 1, 3, 4, 15, 16, 17, 100, 5000, 9001] {
            let mut weights = vec![f32::MAX; len];
            weights.iter_mut().step_by(3).for_each(|weight| *weight = -0.0);
            assert_eq!(first_non_finite(level, &weights), None);
            for at in [0, 2, 14, 15, 16, 99, 4095, 4096, 4999, 9000].into_iter().filter(|&at| at < len) {
                for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
                    let mut weights = weights.clone();
                    weights[at..].fill(value);
                    assert_eq!(first_non_finite(level, &weights), Some(at), "{len} at {}", level.name());
                }
            }
        }
    }
}

#[test]
fn the_first_block_with_a_scale_that_is_not_finite_is_found() {
    for dtype in Dtype::all() {
        let size = dtype.info().block_bytes;
        // Bits of an infinity and of a NaN, and where they may stand.
        let (bits, offsets): ([&[u8]; 2], &[usize]) = match dtype.info().scales {
            Scales::None => continue,
            Scales::F64 => ([&[0, 0, 0, 0, 0, 0, 0xf0, 0x7f], &[1, 0, 0, 0, 0, 0, 0xf0, 0xff]], &[0]),
            Scales::F32 => ([&[0, 0, 0x80, 0xff], &[1, 0, 0x80, 0x7f]], &[0]),
            Scales::BF16 => ([&[0x80, 0x7f], &[0x81, 0xff]], &[0]),
            Scales::F16(offsets) => ([&[0, 0x7c], &[1, 0xfc]], offsets),
            Scales::E8M0 => ([&[0xff], &[0xff]], &[0]),
            Scales::IQ1_M => ([&[0, 0, 0, 0, 0, 0xc0, 0, 0x70], &[0, 0x10, 0, 0, 0, 0xc0, 0, 0xf0]], &[48]),
        };
        for bits in bits {
            for &offset in offsets {
                let mut blocks = vec![0; 5 * size];
                assert_eq!(validate(dtype, &blocks), Ok(()), "{dtype}");
                for block in [2, 4] {
                    blocks[block * size + offset..][..bits.len()].copy_from_slice(bits);
                }
                assert_eq!(validate(dtype, &blocks), Err(2), "{dtype} offset {offset}");
            }
        }
    }
}

#[test]
fn every_16_bit_number_decodes_to_its_value() {
    let numbers: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut weights = vec![0.0; 1 << 16];
    for level in Level::all() {
        dequantize(level, Dtype::F16, &numbers, &mut weights);
        for (number, &weight) in (0..=u16::MAX).zip(&weights) {
            let expected = half::f16::from_bits(number).to_f32();
            assert!(weight.to_bits() == expected.to_bits() || weight.is_nan() && expected.is_nan(), "F16 {number:#x}");
        }
        dequantize(level, Dtype::BF16, &numbers, &mut weights);
        for (number, &weight) in (0..=u16::MAX).zip(&weights) {
            assert_eq!(weight.to_bits(), u32::from(number) << 16, "BF16 {number:#x}");
        }
    }
}

#[test]
fn doubles_round_to_nearest_even() {
    let even = 1.0 + f64::from(f32::EPSILON) / 2.0;
    let values = [1.5, -0.0, 1e300, 1e-46, even, even + f64::from(f32::EPSILON), 0.1];
    let expected = [1.5, -0.0, f32::INFINITY, 0.0, 1.0, 1.0 + 2.0 * f32::EPSILON, 0.1];
    let bytes: Vec<u8> = values.iter().flat_map(|value: &f64| value.to_le_bytes()).collect();
    let mut weights = [f32::NAN; 7];
    dequantize(Level::SCALAR, Dtype::F64, &bytes, &mut weights);
    assert_eq!(weights.map(f32::to_bits), expected.map(f32::to_bits));
}
