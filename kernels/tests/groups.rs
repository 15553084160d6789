//! Codes in groups: every level against the definition of each format, written here as plainly as it can be.

use weightmill_kernels::groups::{self, Bounds, FloatScale, Groups, Offsets, Signs, Ties};
use weightmill_kernels::{Dtype, Level, dequantize};

/// Numbers that round in every way there is: random ones of all magnitudes, halves of steps, zeros of both signs, denormal
/// and huge ones.
fn weights(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let special = [0.0, -0.0, 1e-40, -1e-44, 3e38, -3e38, 447.0, 464.0, 479.9, -0.001_953_125, 0.000_976_562_5];
    let weight = |i: usize| match i % 7 {
        0 => (next() % 4096) as f32 / 16.0 - 128.0,
        1 => special[next() as usize % special.len()],
        2 => ((next() % 65) as f32 - 32.0) / 8.0,
        _ => ((next() >> 40) as f32 / (1 << 23) as f32 - 1.0) * 2f32.powi((next() % 24) as i32 - 14),
    };
    (0..count).map(weight).collect()
}

/// Of several numbers that which lies nearest to `x`; of two equally near ones that whose place is even.
fn nearest(values: &[f32], x: f32) -> usize {
    let distance = |i: usize| (f64::from(values[i]) - f64::from(x)).abs();
    let least = (0..values.len()).map(distance).fold(f64::INFINITY, f64::min);
    let near: Vec<usize> = (0..values.len()).filter(|&i| distance(i) == least).collect();
    near.iter().copied().find(|i| i % 2 == 0).unwrap_or(near[0])
}

const SHAPES: [(usize, usize); 7] = [(16, 16), (32, 32), (45, 45), (128, 64), (96, 32), (256, 128), (7, 7)];

fn each_shape(mut check: impl FnMut(Groups<'_>, &[f32])) {
    for (columns, group) in SHAPES {
        for rows in [1, 2, 7, 33] {
            let weights = weights(rows * columns);
            let groups = Groups { weights: &weights, columns, group };
            let scales: Vec<f32> = (0..groups.count()).map(|i| [1.0, 0.25, 0.37, 3.0][i % 4]).collect();
            check(groups, &scales);
        }
    }
}

#[test]
fn extents_are_those_of_the_group() {
    each_shape(|groups, _| {
        let own = || groups.weights.chunks(groups.group);
        for level in Level::all() {
            let [mut most, mut low, mut high] = [0; 3].map(|_| vec![f32::NAN; groups.count()]);
            groups::max_abs(level, groups, &mut most);
            groups::min_max(level, groups, &mut low, &mut high);
            assert!(most.iter().zip(own()).all(|(most, x)| *most == x.iter().fold(0.0, |m: f32, x| m.max(x.abs()))));
            assert!(low.iter().zip(own()).all(|(low, x)| *low == x.iter().copied().fold(f32::INFINITY, f32::min)));
            assert!(high.iter().zip(own()).all(|(high, x)| *high == x.iter().copied().fold(-f32::INFINITY, f32::max)));
        }
    });
}

#[test]
fn integers_are_the_nearest_ones_within_bounds() {
    each_shape(|groups, scales| {
        let offsets: Vec<f32> = (0..scales.len()).map(|i| [3.0, 0.0, 8.0, 15.0][i % 4]).collect();
        let bounds = [-8.0, 7.0];
        let expected = |formula: fn(f32, f32, f32) -> f32| -> Vec<u8> {
            let codes = groups.weights.iter().enumerate().map(|(i, &x)| {
                let group = i / groups.group;
                formula(x, scales[group], offsets[group]).round_ties_even().clamp(-8.0, 7.0) + 8.0
            });
            codes.map(|code| code as u8).collect()
        };
        let half = |x: f32| half::f16::from_f32(x).to_f32();
        for level in Level::all() {
            let check = |own: Offsets<'_>, expected: Vec<u8>| {
                let mut codes = vec![0xa5; groups.weights.len()];
                groups::integers(level, groups, scales, own, bounds, &mut codes);
                assert!(codes == expected, "{own:?}, {}", level.name());
            };
            check(Offsets::None, expected(|x, scale, _| x / scale));
            check(Offsets::Zeros(&offsets), expected(|x, scale, zero| x / scale + zero));
            check(Offsets::Biases(&offsets), expected(|x, scale, bias| (x - bias) / scale));
            let codes = groups.weights.iter().enumerate().map(|(i, &x)| {
                let group = i / groups.group;
                let rounded = half((x / scales[group]).clamp(-1024.0, 1024.0)).round_ties_even();
                ((rounded + offsets[group]).clamp(-8.0, 7.0) + 8.0) as u8
            });
            check(Offsets::ZerosInHalf(&offsets), codes.collect());
        }
    });
}

#[test]
fn floats_are_the_nearest_ones() {
    let codes: Vec<u8> = (0..=0x7e).collect();
    let mut eight = vec![0.0; codes.len()];
    dequantize(Level::SCALAR, Dtype::F8_E4M3, &codes, &mut eight);
    let four = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    each_shape(|groups, scales| {
        let expected = |values: &[f32], sign: u8, scaled: fn(f32, f32) -> f32| -> Vec<u8> {
            let code = |(i, &x): (usize, &f32)| {
                let x = scaled(x, scales[i / groups.group]);
                nearest(values, x.abs().min(values[values.len() - 1])) as u8
                    | if x.is_sign_negative() { sign } else { 0 }
            };
            groups.weights.iter().enumerate().map(code).collect()
        };
        for level in Level::all() {
            let mut codes = vec![0xa5; groups.weights.len()];
            groups::e4m3(level, groups, scales, &mut codes);
            assert!(codes == expected(&eight, 0x80, |x, scale| x / scale), "{}", level.name());
            groups::e4m3_times(level, groups, scales, &mut codes);
            assert!(codes == expected(&eight, 0x80, |x, scale| x * scale), "{}", level.name());
            groups::e2m1(level, groups, scales, Ties::Even, &mut codes);
            assert!(codes == expected(&four, 0x08, |x, scale| x / scale), "{}", level.name());
            groups::e2m1(level, groups, scales, Ties::Lesser, &mut codes);
            // a hair less than the number itself, so that nothing lies half-way
            let magnitudes =
                expected(&four, 0, |x, scale| f32::from_bits((x.abs() / scale).to_bits().saturating_sub(1)));
            assert!(codes.iter().map(|code| code & 7).eq(magnitudes), "{}", level.name());
        }
    });
}

fn error(groups: Groups<'_>, importance: Option<&[f32]>, scales: &[f32], [low, high]: [f32; 2], at: usize) -> f64 {
    let x = &groups.weights[at * groups.group..][..groups.group];
    let first = at * groups.group % groups.columns;
    let errors = x.iter().enumerate().map(|(i, &x)| {
        let scale = scales[at];
        let code = (x / scale).round_ties_even().clamp(low, high);
        let weight = importance.map_or(1.0, |importance| f64::from(importance[first + i]));
        weight * (f64::from(x) - f64::from(code) * f64::from(scale)).powi(2)
    });
    errors.sum()
}

#[test]
fn searched_scales_are_never_worse_and_the_same_at_every_level() {
    for (columns, group) in [(128, 128), (256, 64), (96, 96), (45, 45), (4096, 4096)] {
        let mut weights = weights(33 * columns);
        weights.iter_mut().for_each(|x| *x = x.clamp(-20.0, 20.0));
        weights[..group].fill(0.0);
        weights[group..2 * group].fill(0.125);
        let groups = Groups { weights: &weights, columns, group };
        let importance: Vec<f32> = (0..columns).map(|i| (i % 5) as f32 + 0.5).collect();
        for (bits, stored) in [(4, Dtype::BF16), (4, Dtype::F16), (8, Dtype::F32)] {
            let half = 2f32.powi(bits - 1);
            let bounds = [-half, half - 1.0];
            for (importance, signs) in [
                (None, Signs::Own),
                (Some(importance.as_slice()), Signs::Own),
                (None, Signs::Both),
                (Some(importance.as_slice()), Signs::Both),
            ] {
                let mut start = vec![0.0; groups.count()];
                groups::max_abs(Level::SCALAR, groups, &mut start);
                for scale in &mut start {
                    *scale = half::bf16::from_f32(*scale / (half - 0.5)).to_f32();
                    *scale = if *scale == 0.0 { 0.0078125 } else { *scale };
                }
                let mut first = start.clone();
                groups::search(Level::SCALAR, groups, importance, Bounds::All(bounds), stored, signs, &mut first);
                let mut gains = 0;
                for at in 0..groups.count() {
                    let [before, after] = [&start, &first].map(|scales| error(groups, importance, scales, bounds, at));
                    assert!(after <= before * 1.000_01, "group {at}: {before} {after}");
                    assert!(first[at] != 0.0 && first[at].is_finite());
                    assert!(first[at] > 0.0 || signs == Signs::Both);
                    gains += usize::from(after < 0.98 * before);
                }
                assert!(gains > groups.count() / 10, "{gains} of {}", groups.count());
                assert!(first[0] == start[0], "zeros keep their scale");
                for level in Level::all() {
                    let mut scales = start.clone();
                    groups::search(level, groups, importance, Bounds::All(bounds), stored, signs, &mut scales);
                    assert!(scales == first, "{}", level.name());
                }
            }
        }
    }
}

#[test]
fn searched_scales_of_other_numbers_are_never_worse_and_the_same_at_every_level() {
    let floats: Vec<f32> = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0].into_iter().flat_map(|x| [x, -x]).collect();
    for (columns, group) in [(128, 128), (96, 32), (64, 16), (45, 45)] {
        let mut weights = weights(33 * columns);
        weights.iter_mut().for_each(|x| *x = x.clamp(-20.0, 20.0));
        weights[..group].fill(0.0);
        let groups = Groups { weights: &weights, columns, group };
        let importance: Vec<f32> = (0..columns).map(|i| (i % 5) as f32 + 0.5).collect();
        let mut most = vec![0.0; groups.count()];
        groups::max_abs(Level::SCALAR, groups, &mut most);
        let low: Vec<f32> = (0..groups.count()).map(|at| -((at % 16) as f32)).collect();
        let whole = |scale: f32| half::bf16::from_f32(scale.max(0.01)).to_f32();
        let power = |scale: f32| 2f32.powf(scale.max(0.01).log2().ceil());
        let eighth = |scale: f32| f32::from_bits(scale.max(0.25).to_bits() >> 20 << 20);
        type Search = fn(Level, Groups<'_>, Option<&[f32]>, &[f32], &mut [f32]);
        let around: Search = |level, groups, importance, low, scales| {
            let bounds = Bounds::Each { low, levels: 15.0 };
            groups::search(level, groups, importance, bounds, Dtype::BF16, Signs::Own, scales);
        };
        let powers: Search = |level, groups, importance, _, scales| {
            groups::search_e2m1(level, groups, importance, FloatScale::Power, scales);
        };
        let scaled: Search = |level, groups, importance, _, scales| {
            groups::search_e2m1(level, groups, importance, FloatScale::E4M3Over(8.0), scales);
        };
        let start_around: Vec<f32> = most.iter().map(|most| whole(most / 7.5)).collect();
        // twice as large as need be, so that there is something to gain
        let start_powers: Vec<f32> = most.iter().map(|most| 2.0 * power(most / 6.0)).collect();
        let start_scaled: Vec<f32> = most.iter().map(|most| eighth(most / 6.0 * 8.0)).collect();
        for (search, start, divisor) in
            [(around, start_around, 0.0), (powers, start_powers, 1.0), (scaled, start_scaled, 8.0)]
        {
            for importance in [None, Some(importance.as_slice())] {
                // of a group of weights, with whole numbers where there is no divisor
                let error = |scales: &[f32], at: usize| match divisor {
                    0.0 => error(groups, importance, scales, [low[at], low[at] + 15.0], at),
                    _ => {
                        let scale = f64::from(scales[at]) / divisor;
                        let x = groups.weights[at * group..][..group].iter().enumerate();
                        let errors = x.map(|(i, &x)| {
                            let own = |float: &f32| (f64::from(x) - f64::from(*float) * scale).powi(2);
                            let weight = importance.map_or(1.0, |all| f64::from(all[at * group % columns + i]));
                            weight * floats.iter().map(own).fold(f64::INFINITY, f64::min)
                        });
                        errors.sum()
                    }
                };
                let mut first = start.clone();
                search(Level::SCALAR, groups, importance, &low, &mut first);
                let mut gains = 0;
                for at in 0..groups.count() {
                    let [before, after] = [error(&start, at), error(&first, at)];
                    assert!(after <= before * 1.000_01, "group {at} of {divisor}: {before} {after}");
                    assert!(first[at] > 0.0 && first[at].is_finite());
                    gains += usize::from(after < 0.98 * before);
                    match divisor {
                        1.0 => assert_eq!(first[at].to_bits() & 0x007f_ffff, 0, "a power of two"),
                        8.0 => assert_eq!(first[at].to_bits() & 0x000f_ffff, 0, "3 bits of mantissa"),
                        _ => assert_eq!(first[at].to_bits() & 0xffff, 0, "a BF16 number"),
                    }
                }
                assert!(gains > groups.count() / 10, "{gains} of {} with {divisor}", groups.count());
                assert!(first[0] == start[0], "zeros keep their scale");
                for level in Level::all() {
                    let mut scales = start.clone();
                    search(level, groups, importance, &low, &mut scales);
                    assert!(scales == first, "{}", level.name());
                }
            }
        }
    }
}
