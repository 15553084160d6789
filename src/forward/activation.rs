//! The functions between the matrices of a feed-forward network.

use half::f16;
use rayon::prelude::*;

use super::matrix::Matrix;

/// What is applied to the gate, or to the only branch where there is no gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x · sigmoid(x).
    Silu,
    /// The tanh approximation of x · Φ(x).
    Gelu,
    /// gpt-oss: the gate through a steeper sigmoid, both branches limited, and the other branch plus one.
    ClampedSwiglu,
}

/// Limit and steepness of [`Activation::ClampedSwiglu`], as openai/gpt-oss has them.
const LIMIT: f32 = 7.0;
const STEEPNESS: f32 = 1.702;

/// √(2/π), and the factor of the cube in the approximation.
const ROOT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

impl Activation {
    /// `gate` becomes the activated gate times `up`.
    pub(super) fn gated(self, gate: &mut Matrix, up: &Matrix) {
        assert_eq!(gate.data.len(), up.data.len(), "both branches are of one shape");
        gate.data.par_chunks_mut(4096).zip(up.data.par_chunks(4096)).for_each(|(gate, up)| {
            gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = self.product(*gate, *up));
        });
    }

    /// Without a gate.
    pub(super) fn plain(self, branch: &mut Matrix) {
        branch.data.par_chunks_mut(4096).for_each(|branch| branch.iter_mut().for_each(|x| *x = self.of(*x)));
    }

    fn product(self, gate: f32, up: f32) -> f32 {
        match self {
            Activation::ClampedSwiglu => {
                let (gate, up) = (gate.min(LIMIT), up.clamp(-LIMIT, LIMIT));
                gate / (1.0 + (-STEEPNESS * gate).exp()) * (up + 1.0)
            }
            _ => self.of(gate) * up,
        }
    }

    fn of(self, x: f32) -> f32 {
        match self {
            Activation::Silu | Activation::ClampedSwiglu => x / (1.0 + (-x).exp()),
            Activation::Gelu => gelu(x),
        }
    }
}

/// ggml looks the function up in a table of all f16 numbers, so argument and result are rounded to f16.
fn gelu(x: f32) -> f32 {
    if x <= -10.0 {
        return 0.0;
    }
    if x >= 10.0 {
        return x;
    }
    let x = f16::from_f32(x).to_f32();
    let tanh = (ROOT_2_OVER_PI * x * (1.0 + CUBE * x * x)).tanh();
    f16::from_f32(0.5 * x * (1.0 + tanh)).to_f32()
}
