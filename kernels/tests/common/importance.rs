//! Kinds of per-column importance.

use super::random::Random;

/// The importance of every column of a tensor.
pub type Fill = fn(&mut Random, &mut [f32]);

/// All kinds.
pub const KINDS: &[(&str, Fill)] = &[
    ("heavy", heavy),
    ("with-zeros", |r, w| {
        heavy(r, w);
        w.iter_mut().for_each(|w| *w = if r.below(3) == 0 { 0.0 } else { *w });
        // A whole sub-block that never mattered.
        w.iter_mut().skip(32).take(32).for_each(|w| *w = 0.0);
    }),
    ("equal", |_, w| w.fill(1.0)),
    ("one-huge", |r, w| {
        heavy(r, w);
        w[r.below(w.len())] = 1e9;
    }),
    ("tiny", |r, w| w.fill_with(|| 1e-25 * r.unit())),
    // Sums overflow, products vanish.
    ("any-exponent", |r, w| w.fill_with(|| f32::from_bits(r.bits() as u32 % 0x7f80_0000))),
    ("zero", |_, w| w.fill(0.0)),
];

fn heavy(r: &mut Random, w: &mut [f32]) {
    w.fill_with(|| {
        let x = r.heavy();
        x * x
    });
}
