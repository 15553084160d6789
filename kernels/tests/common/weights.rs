//! Kinds of weights that tell a right quantizer from a nearly right one.
//!
//! Only integer arithmetic and IEEE operations that round one way everywhere: the same bits on every platform.

use super::random::Random;

/// Fills a piece of a row, of any length.
pub type Fill = fn(&mut Random, &mut [f32]);

/// All kinds. Left out: NaN and infinities (not weights; the caller's error). Few types have a finite scale for the last
/// kinds. Where a scale overflows the reference rejects the blocks, and the test demands that
/// `validate` rejects the same block.
pub const KINDS: &[(&str, Fill)] = &[
    ("uniform", |r, x| x.fill_with(|| 0.05 * r.signed())),
    ("heavy", |r, x| x.fill_with(|| 0.02 * r.heavy())),
    ("bf16-grid", |r, x| x.fill_with(|| f32::from_bits((0.02 * r.heavy()).to_bits() & 0xffff_0000))),
    ("f16-grid", |r, x| x.fill_with(|| f32::from_bits((0.02 * r.heavy()).to_bits() & 0xffff_e000))),
    ("affine-grid", affine_grid),
    ("ties-4", |r, x| ties(r, x, 4)),
    ("ties-8", |r, x| ties(r, x, 8)),
    ("ties-15", |r, x| ties(r, x, 15)),
    ("ties-16", |r, x| ties(r, x, 16)),
    ("ties-31", |r, x| ties(r, x, 31)),
    ("ties-32", |r, x| ties(r, x, 32)),
    ("ties-127", |r, x| ties(r, x, 127)),
    ("affine-ties-3", |r, x| affine_ties(r, x, 3)),
    ("affine-ties-15", |r, x| affine_ties(r, x, 15)),
    ("affine-ties-31", |r, x| affine_ties(r, x, 31)),
    ("near-ties", near_ties),
    ("zero", |_, x| x.fill(0.0)),
    ("negative-zero", |_, x| x.fill(-0.0)),
    ("signed-zeros", |r, x| x.fill_with(|| if r.below(8) == 0 { 0.1 * r.signed() } else { 0.0 * r.sign() })),
    ("constant", constant),
    ("denormal", |r, x| x.fill_with(|| f32::from_bits(r.bits() as u32 & 0x807f_ffff))),
    ("near-epsilon", near_epsilon),
    ("outlier", outlier),
    ("single", single),
    ("negative", |r, x| x.fill_with(|| -(0.02 * r.heavy()).abs())),
    ("positive", |r, x| x.fill_with(|| (0.02 * r.heavy()).abs())),
    ("far-from-zero", |r, x| x.fill_with(|| 3.0 + 0.01 * r.signed())),
    ("plus-minus", plus_minus),
    ("two-valued", two_valued),
    ("twins", twins),
    ("sparse", |r, x| x.fill_with(|| if r.below(16) == 0 { 0.1 * r.heavy() } else { 0.0 })),
    ("stepped", stepped),
    ("ramp", |_, x| (0..).zip(x).for_each(|(i, x)| *x = (i as f32 - 100.0) * 0.125)),
    ("f16-edges", f16_edges),
    ("bf16-ties", |r, x| x.fill_with(|| f32::from_bits((r.heavy().to_bits() & 0xffff_0000) | 0x8000))),
    ("scale-1e-30", |r, x| x.fill_with(|| 1e-30 * r.heavy())),
    ("scale-1e-20", |r, x| x.fill_with(|| 1e-20 * r.heavy())),
    ("scale-1e-14", |r, x| x.fill_with(|| 1e-14 * r.heavy())),
    ("scale-1e-8", |r, x| x.fill_with(|| 1e-8 * r.heavy())),
    ("scale-1e-5", |r, x| x.fill_with(|| 1e-5 * r.heavy())),
    ("scale-1e3", |r, x| x.fill_with(|| 1e3 * r.bell())),
    ("scale-1e5", |r, x| x.fill_with(|| 1e5 * r.bell())),
    ("scale-1e6", |r, x| x.fill_with(|| 1e6 * r.bell())),
    ("scale-1e7", |r, x| x.fill_with(|| 5e6 * r.bell())),
    ("scale-1e12", |r, x| x.fill_with(|| 5e11 * r.bell())),
    ("below-powers", below_powers),
];

/// A power of two times an odd mantissa that f16 holds exactly.
fn step(r: &mut Random) -> f32 {
    r.pick(&[1.0, 0.5, 0.25, 0.0625, 0.001953125, 4.0]) * r.pick(&[1.0, 1.25, 1.5, 1.75])
}

/// Sixteen levels per 32 weights, as if another quantizer had made them.
fn affine_grid(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(32) {
        let (step, offset) = (0.01 * r.unit() + 0.001, 0.1 * r.signed());
        x.fill_with(|| step * r.integer(0, 15) as f32 + offset);
    }
}

/// Half-integer multiples of a step, and the extreme of a signed type of `n` levels per side: every second weight
/// lies exactly between two levels.
fn ties(r: &mut Random, x: &mut [f32], n: i32) {
    for x in x.chunks_mut(r.pick(&[16, 32])) {
        let step = step(r);
        x.fill_with(|| 0.5 * step * r.integer(-2 * n, 2 * n) as f32);
        x[r.below(x.len())] = n as f32 * step * r.sign();
    }
}

/// The same for a type with a minimum: `n` steps between the least and the greatest weight.
fn affine_ties(r: &mut Random, x: &mut [f32], n: i32) {
    for x in x.chunks_mut(r.pick(&[16, 32])) {
        let step = step(r);
        let low = -r.integer(0, 2 * n);
        x.fill_with(|| 0.5 * step * r.integer(low, low + 2 * n) as f32);
        x[r.below(x.len())] = 0.5 * step * low as f32;
        x[r.below(x.len())] = 0.5 * step * (low + 2 * n) as f32;
    }
}

/// One unit in the last place off a tie, or on it.
fn near_ties(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(32) {
        let n = r.pick(&[4, 8, 16, 32, 127]);
        ties(r, x, n);
        for x in x {
            if *x != 0.0 {
                *x = f32::from_bits(x.to_bits() + r.below(3) as u32 - 1);
            }
        }
    }
}

fn constant(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(32) {
        x.fill(r.pick(&[1.0, -1.0, 0.1, -0.1, 3.0, 1e-3, 1e-7, -1e-12, 1e-20, 1e-38, 1000.0, -20000.0, 0.0]));
    }
}

/// The k-quant searches treat a block as zero if its greatest magnitude is below 1e-15.
fn near_epsilon(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(16) {
        let top = f32::from_bits(1e-15f32.to_bits() + r.below(5) as u32 - 2);
        x.fill_with(|| top * r.signed());
        x[r.below(x.len())] = top * r.sign();
    }
}

fn outlier(r: &mut Random, x: &mut [f32]) {
    x.fill_with(|| 0.01 * r.bell());
    x[r.below(x.len())] = 20000.0 * r.sign();
}

fn single(r: &mut Random, x: &mut [f32]) {
    x.fill(0.0);
    x[r.below(x.len())] = r.heavy();
}

fn plus_minus(r: &mut Random, x: &mut [f32]) {
    let a = r.heavy();
    x.fill_with(|| a * r.sign());
}

fn two_valued(r: &mut Random, x: &mut [f32]) {
    let values = [r.heavy(), r.heavy()];
    x.fill_with(|| r.pick(&values));
}

/// The greatest magnitude occurs with both signs: the first one decides the sign of the scale.
fn twins(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(r.pick(&[16, 32])) {
        let top = 0.1 * r.unit() + 0.01;
        x.fill_with(|| if r.below(6) == 0 { top * r.sign() } else { top * r.signed() });
    }
}

/// The greatest magnitude of each sub-block is a little less than a power of two, whose logarithm may round up; any power.
fn below_powers(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(r.pick(&[16, 32])) {
        let top = f32::from_bits(((r.below(254) as u32 + 2) << 23) - 1 - r.below(64) as u32);
        x.fill_with(|| top * r.signed());
        x[r.below(x.len())] = top * r.sign();
    }
}

/// Neighbouring sub-blocks orders of magnitude apart.
fn stepped(r: &mut Random, x: &mut [f32]) {
    for x in x.chunks_mut(16) {
        let scale = r.pick(&[1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 1.0, 100.0]);
        x.fill_with(|| scale * r.bell());
    }
}

/// Around the ends of f16's range and of its denormals, and half-way between its values.
fn f16_edges(r: &mut Random, x: &mut [f32]) {
    let unit = f32::from_bits(0x3380_0000); // 2^-24, the least f16
    x.fill_with(|| {
        r.sign()
            * match r.below(6) {
                0 => r.pick(&[65504.0, 65503.996, 65519.996, 65488.0, 65472.0]),
                1 => 0.5 * unit * r.integer(0, 4200) as f32,
                2 => f32::from_bits((0.5 * unit * r.integer(1, 4200) as f32).to_bits() + r.below(3) as u32 - 1),
                3 => f32::from_bits((r.heavy().to_bits() & 0xffff_e000) | 0x1000),
                4 => f32::from_bits(((r.heavy().to_bits() & 0xffff_e000) | 0x1000) + r.below(3) as u32 - 1),
                _ => 1e-4 * r.signed(),
            }
    });
}
