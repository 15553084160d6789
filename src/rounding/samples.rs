//! Numbers for tests.

use super::moment::Moment;

/// Columns of the matrices that are rounded.
pub(super) const COLUMNS: usize = 160;

/// Numbers from -1 to 1.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The moment of inputs that depend on each other.
pub(super) fn moment(seed: u64) -> Moment {
    let inputs = numbers(seed, 2 * COLUMNS * COLUMNS);
    let mut moment = Moment::new(COLUMNS);
    for input in inputs.chunks_exact(COLUMNS) {
        for i in 0..COLUMNS {
            for j in 0..=i {
                moment.data[i * COLUMNS + j] += (input[i] + input[0]) * (input[j] + input[0]);
            }
        }
    }
    moment
}
