//! Every operation at every level and at twice its width, compared with plain scalar code, lane by lane.

use super::{Kernel, Level, Simd, Twice};
use half::f16;

/// Values that tell roundings, comparisons and conversions apart.
fn values() -> Vec<f32> {
    let mut all = vec![0.0, -0.0, 0.5, -0.5, 0.499_999_97, 1.5, 2.5, -2.5, 3.0, 1e-40, -1e-40, 65504.0, 1e-7, 6e-8];
    all.extend([1.0 / 3.0, -7.7, 126.5, 127.499_99, 1023.5, -4_000_000.5, 2048.5, 1e6, -65519.0]);
    let mut state = 1u32;
    all.extend((0..233).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state as i32 >> 8) as f32 / 1024.0
    }));
    all
}

struct Operations;

impl Kernel for Operations {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        operations(s);
        operations(Twice(s));
    }
}

fn operations<S: Simd>(s: S) {
    let values = values();
    let n = S::LANES;
    let mut out = vec![0.0f32; n];
    let mut ints = vec![0i32; n];
    for (at, a) in values.windows(n).enumerate() {
        let b: Vec<f32> = (0..n).map(|l| values[(at * 7 + l * 3 + 1) % values.len()]).collect();
        let (va, vb) = (s.load(a), s.load(&b));
        let mut floats = |name: &str, v: S::F32, expected: &dyn Fn(f32, f32) -> f32| {
            s.store(v, &mut out);
            for l in 0..n {
                let e = expected(a[l], b[l]);
                assert!(out[l].to_bits() == e.to_bits() || out[l].is_nan() && e.is_nan(), "{name}: {} {}", a[l], b[l]);
            }
        };
        floats("add", s.add(va, vb), &|a, b| a + b);
        floats("sub", s.sub(va, vb), &|a, b| a - b);
        floats("mul", s.mul(va, vb), &|a, b| a * b);
        floats("div", s.div(va, vb), &|a, b| a / b);
        floats("sqrt", s.sqrt(s.abs(va)), &|a, _| a.abs().sqrt());
        floats("min", s.min(va, vb), &|a, b| if a < b { a } else { b });
        floats("max", s.max(va, vb), &|a, b| if a > b { a } else { b });
        floats("abs", s.abs(va), &|a, _| a.abs());
        floats("neg", s.neg(va), &|a, _| -a);
        floats("round_even", s.add(s.round_even(va), s.splat(0.0)), &|a, _| a.round_ties_even() + 0.0);
        floats("select lt", s.select(s.lt(va, vb), va, vb), &|a, b| if a < b { a } else { b });
        floats("select le", s.select(s.le(va, vb), va, vb), &|a, b| if a <= b { a } else { b });
        floats("select gt", s.select(s.gt(va, vb), va, vb), &|a, b| if a > b { a } else { b });
        floats("select ge", s.select(s.ge(va, vb), va, vb), &|a, b| if a >= b { a } else { b });
        floats("select eq", s.select(s.eq(va, vb), va, s.splat(9.0)), &|a, b| if a == b { a } else { 9.0 });
        let zero = s.splat(0.0);
        let both = s.and(s.lt(va, zero), s.lt(vb, zero));
        floats("and", s.select(both, va, zero), &|a, b| if a < 0.0 && b < 0.0 { a } else { 0.0 });
        let both = s.and_lt(s.lt(va, zero), vb, zero);
        floats("and_lt", s.select(both, va, zero), &|a, b| if a < 0.0 && b < 0.0 { a } else { 0.0 });
        let both = s.and_ne(s.lt(va, zero), va, vb);
        floats("and_ne", s.select(both, va, zero), &|a, b| if a < 0.0 && a != b { a } else { 0.0 });
        let either = s.or(s.lt(va, zero), s.lt(vb, zero));
        floats("or", s.select(either, va, zero), &|a, b| if a < 0.0 || b < 0.0 { a } else { 0.0 });
        floats("not", s.select(s.not(either), va, zero), &|a, b| if a < 0.0 || b < 0.0 { 0.0 } else { a });
        floats("round_f16", s.round_f16(va), &|a, _| f16::from_f32_const(a).to_f32_const());
        floats("to_f32", s.to_f32(s.trunc_i32(va)), &|a, _| a as i32 as f32);
        let max = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(s.reduce_max(va), max);
        let min = a.iter().copied().fold(f32::INFINITY, f32::min);
        assert_eq!(s.reduce_min(va), min);
        assert_eq!(s.bits(s.lt(va, vb)), (0..n).map(|l| u32::from(a[l] < b[l]) << l).sum());
        let of_lanes = b[0].to_bits() & u32::MAX >> (32 - n);
        assert_eq!(s.bits(s.mask(b[0].to_bits())), of_lanes);
        assert_eq!(s.any(s.lt(va, vb)), (0..n).any(|l| a[l] < b[l]));
        assert_eq!(s.all(s.lt(va, vb)), (0..n).all(|l| a[l] < b[l]));
        assert!(s.all(s.eq(va, va)) && !s.any(s.lt(va, va)));

        let (ia, ib) = (s.to_bits(va), s.to_bits(vb));
        let mut integers = |name: &str, v: S::I32, expected: &dyn Fn(f32, f32) -> i32| {
            s.store_i32(v, &mut ints);
            for l in 0..n {
                assert_eq!(ints[l], expected(a[l], b[l]), "{name}: {} {}", a[l], b[l]);
            }
        };
        let bits = |v: f32| v.to_bits() as i32;
        let signs: Vec<i32> = a.iter().map(|a| a.to_bits() as i32).collect();
        integers("load_i32", s.load_i32(&signs), &|a, _| bits(a));
        integers("trunc_i32", s.trunc_i32(va), &|a, _| a as i32);
        integers("nearest_i32", s.nearest_i32(va), &|a, _| a.round_ties_even() as i32);
        integers("round_away_i32", s.round_away_i32(va), &|a, _| a.round() as i32);
        integers("add_i32", s.add_i32(ia, ib), &|a, b| bits(a).wrapping_add(bits(b)));
        integers("sub_i32", s.sub_i32(ia, ib), &|a, b| bits(a).wrapping_sub(bits(b)));
        integers("min_i32", s.min_i32(ia, ib), &|a, b| bits(a).min(bits(b)));
        integers("max_i32", s.max_i32(ia, ib), &|a, b| bits(a).max(bits(b)));
        integers("and_i32", s.and_i32(ia, ib), &|a, b| bits(a) & bits(b));
        integers("or_i32", s.or_i32(ia, ib), &|a, b| bits(a) | bits(b));
        integers("shl_i32", s.shl_i32::<5>(ia), &|a, _| bits(a) << 5);
        integers("shr_i32", s.shr_i32::<5>(ia), &|a, _| (a.to_bits() >> 5) as i32);
        let equal = s.eq_i32(ia, ib);
        integers("eq_i32", s.select_i32(equal, ia, s.splat_i32(7)), &|a, b| {
            if bits(a) == bits(b) { bits(a) } else { 7 }
        });
        let greater = s.gt_i32(ia, ib);
        integers("gt_i32", s.select_i32(greater, ia, ib), &|a, b| bits(a).max(bits(b)));
        integers("add_one_i32", s.add_one_i32(s.lt(va, vb), ia), &|a, b| bits(a).wrapping_add((a < b).into()));
        integers("from_bits", s.to_bits(s.from_bits(ia)), &|a, _| bits(a));
        integers("to_f16_bits", s.to_f16_bits(va), &|a, _| f16::from_f32_const(a).to_bits().into());

        let table: [f32; 32] = core::array::from_fn(|i| i as f32 * 1.5 - 7.0);
        floats("lookup 32", s.lookup(&table, ia), &|a, _| table[a.to_bits() as usize % 32]);
        let eight: [f32; 8] = *table.last_chunk().expect("a table");
        floats("lookup 8", s.lookup(&eight, ia), &|a, _| eight[a.to_bits() as usize % 8]);
        let table: [f32; 16] = *table.last_chunk().expect("a table");
        floats("lookup 16", s.lookup(&table, ia), &|a, _| table[a.to_bits() as usize % 16]);
        s.store(s.mul_add_roughly(va, vb, s.splat(0.75)), &mut out);
        let sums = (0..n).map(|l| f64::from(a[l]) * f64::from(b[l]) + 0.75);
        assert!(sums.zip(&out).all(|(sum, &v)| (sum - f64::from(v)).abs() <= 1e-6 * (sum.abs() + 0.75)));

        let mut after = vec![0; n];
        s.store_i32(s.after_i32(ib, ia), &mut after);
        assert!((0..n).all(|l| after[l] == bits(if l == 0 { b[n - 1] } else { a[l - 1] })));

        let mut low = vec![0u8; n];
        s.store_u8(ia, &mut low);
        assert!((0..n).all(|l| low[l] == a[l].to_bits() as u8));
        integers("load_u8", s.load_u8(&low), &|a, _| (a.to_bits() as u8).into());
        integers("load_i8", s.load_i8(&low), &|a, _| (a.to_bits() as i8).into());

        let mut words = vec![0u8; 2 * n];
        s.store_u16(ia, &mut words);
        assert!((0..n).all(|l| words[2 * l..][..2] == (a[l].to_bits() as u16).to_le_bytes()));
        integers("load_u16", s.load_u16(&words), &|a, _| (a.to_bits() as u16).into());
    }
    for magnitude in [f32::INFINITY, f32::NAN, 3e38] {
        s.store_i32(s.nearest_i32(s.splat(magnitude)), &mut ints);
        let expected = ((magnitude + 12_582_912.0).to_bits() & 0x7f_ffff) as i32 - 0x40_0000;
        assert!(ints.iter().all(|&i| i == expected), "{magnitude}");
    }
    for unfit in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e9, -3e9] {
        s.store_i32(s.trunc_i32(s.splat(unfit)), &mut ints);
        assert!(ints.iter().all(|&i| i == i32::MIN), "{unfit}");
        s.store_i32(s.round_away_i32(s.splat(unfit)), &mut ints);
        assert!(ints.iter().all(|&i| i == i32::MIN), "{unfit}");
    }
    // Every length of stretch, so that whole tiles and their rests are met; stretches in no order.
    for len in 0..40 {
        let src: Vec<f32> = (0..200 + 40).map(|i| i as f32).collect();
        let start = |lane: usize| (lane * 61) % 200;
        let mut dst = vec![s.splat(-1.0); len];
        s.transpose(&src, start, &mut dst);
        for (i, v) in dst.into_iter().enumerate() {
            s.store(v, &mut out);
            assert!((0..n).all(|l| out[l] == src[start(l) + i]), "stretches of {len}, element {i}");
        }
    }
}

#[test]
fn operations_do_the_same_at_every_level() {
    for level in Level::all() {
        level.run(Operations);
    }
}

#[test]
fn names_are_round_trips_and_others_are_told_apart() {
    for level in Level::all() {
        assert_eq!(Level::by_name(level.name()), Ok(level));
    }
    let unknown = Level::by_name("sse9").unwrap_err();
    assert_eq!(unknown, super::LevelError::Unknown("sse9".into()));
    assert!(unknown.to_string().contains("scalar"), "{unknown}");
    let other = if cfg!(target_arch = "x86_64") { "neon" } else { "avx2" };
    assert_eq!(Level::by_name(other), Err(super::LevelError::Unsupported(other.into())));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_best_level_of_this_cpu_is_the_one_that_runs() {
    struct Lanes;
    impl Kernel for Lanes {
        type Out = usize;
        #[inline(always)]
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }
    let lanes = Level::detect().run(Lanes);
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
        assert_eq!(lanes, 16);
    } else if is_x86_feature_detected!("avx2") {
        assert_eq!(lanes, 8);
    }
}

#[test]
#[cfg(all(target_arch = "aarch64", target_endian = "little"))]
fn the_best_level_of_this_cpu_is_the_one_that_runs() {
    // Every 64-bit Arm CPU that runs an operating system has NEON.
    assert_eq!(Level::detect().name(), "neon");
}
