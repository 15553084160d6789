//! Rotary position embedding with its scalings: linear, yarn, and factors per frequency (Llama 3, long contexts of Phi-3).
//!
//! Facts: `ggml_rope_cache_init` and `rope_yarn` of ggml, `llama_context` of llama.cpp.

use std::f32::consts::PI;

use rayon::prelude::*;

/// Which numbers of a head form a pair that is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairs {
    /// Each with its neighbour, 2i and 2i + 1: the order in which GGUF has Llama's queries and keys.
    Adjacent,
    /// i of the first half with i of the second, as transformers has them.
    Halves,
}

/// How positions become angles.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Pairs.
    pub pairs: Pairs,
    /// Numbers of a head that are rotated.
    pub dimensions: usize,
    /// Base of the frequencies.
    pub base: f32,
    /// Factor of positions: one over the scaling.
    pub scale: f32,
    /// Share of yarn: 1 with it, else 0.
    pub yarn: f32,
    /// Factor of the results.
    pub magnitude: f32,
    /// Yarn's fast and slow number of rotations.
    pub betas: (f32, f32),
    /// Context that the model was first trained with.
    pub context: f32,
}

impl Rope {
    /// Cosine and sine of every pair at the positions 0 to `positions`: `[positions, dimensions / 2]`.
    pub(super) fn table(&self, positions: usize, factors: &[f32]) -> Vec<(f32, f32)> {
        let pairs = self.dimensions / 2;
        let step = self.base.powf(-2.0 / self.dimensions as f32);
        let correction = |rotations: f32| {
            self.dimensions as f32 * (self.context / (rotations * 2.0 * PI)).ln() / (2.0 * self.base.ln())
        };
        let low = correction(self.betas.0).floor().max(0.0);
        let high = correction(self.betas.1).ceil().min(self.dimensions as f32 - 1.0);
        let mut table = Vec::with_capacity(positions * pairs);
        for position in 0..positions {
            let mut angle = position as f32;
            for pair in 0..pairs {
                let extrapolated = angle / factors.get(pair).copied().unwrap_or(1.0);
                let interpolated = self.scale * extrapolated;
                let (mut theta, mut magnitude) = (interpolated, self.magnitude);
                if self.yarn != 0.0 {
                    let ramp = 1.0 - ((pair as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    let mix = ramp * self.yarn;
                    theta = interpolated * (1.0 - mix) + extrapolated * mix;
                    magnitude *= 1.0 + 0.1 * (1.0 / self.scale).ln();
                }
                table.push((theta.cos() * magnitude, theta.sin() * magnitude));
                angle *= step;
            }
        }
        table
    }

    /// Rotates, in every head of `head` numbers, those from `first` on. Row `r` of `data` is at position
    /// `r` modulo `positions`, the length of a sequence.
    pub(super) fn rotate(
        &self,
        table: &[(f32, f32)],
        data: &mut [f32],
        columns: usize,
        head: usize,
        first: usize,
        positions: usize,
    ) {
        let pairs = self.dimensions / 2;
        data.par_chunks_exact_mut(columns).enumerate().with_min_len(16).for_each(|(row, data)| {
            let angles = &table[row % positions * pairs..][..pairs];
            for head in data.chunks_exact_mut(head) {
                let rotated = &mut head[first..first + 2 * pairs];
                for (pair, (cos, sin)) in angles.iter().enumerate() {
                    let (a, b) = match self.pairs {
                        Pairs::Adjacent => (2 * pair, 2 * pair + 1),
                        Pairs::Halves => (pair, pair + pairs),
                    };
                    let (x, y) = (rotated[a], rotated[b]);
                    rotated[a] = x * cos - y * sin;
                    rotated[b] = x * sin + y * cos;
                }
            }
        });
    }
}
