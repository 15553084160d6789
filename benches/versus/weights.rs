//! Weights that look like a model's: normal, rows of different scale, some outliers.

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1).
    fn unit(&mut self) -> f32 {
        ((self.bits() >> 41) as f32 + 0.5) / (1 << 23) as f32
    }

    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f32 {
        (-2.0 * self.unit().ln()).sqrt() * (core::f32::consts::TAU * self.unit()).cos()
    }
}

/// Rows of normal weights, deviation about 0.02 and different from row to row; one in 2000 is six times as large.
pub fn weights(rows: usize, columns: usize) -> Vec<f32> {
    let mut random = Random(7);
    let mut weights = vec![0.0; rows * columns];
    for row in weights.chunks_exact_mut(columns) {
        let scale = 0.02 * (0.3 * random.normal()).exp();
        row.fill_with(|| {
            let outlier = if random.bits().is_multiple_of(2000) { 6.0 } else { 1.0 };
            scale * random.normal() * outlier
        });
    }
    weights
}

/// Mean squares of activations: heavy-tailed, positive.
pub fn importance(columns: usize) -> Vec<f32> {
    let mut random = Random(11);
    let mut importance = vec![0.0; columns];
    importance.fill_with(|| {
        let x = random.normal() * (0.7 * random.normal()).exp();
        x * x
    });
    importance
}
