//! The inputs of the golden tests; `examples/golden_inputs.rs` writes the same ones to files for the reference.
#![allow(dead_code, reason = "the tests and the example each use their part")]

pub mod blocks;
pub mod importance;
pub mod random;
pub mod weights;

use random::Random;
use weightmill_kernels::Dtype;

/// Rows of weights, and the kinds of importance to quantize them with besides none at all.
pub struct Case {
    pub name: String,
    pub rows: usize,
    pub columns: usize,
    pub weights: Vec<f32>,
    pub importances: Vec<(&'static str, Vec<f32>)>,
}

/// Rows and columns of the random cases: every number of blocks that leaves a different tail of lanes, for blocks
/// of 256, of 32, and of one weight.
const SHAPES: &[(usize, usize)] = &[
    (1, 256),
    (2, 256),
    (7, 256),
    (33, 256),
    (1, 512),
    (3, 512),
    (5, 1280),
    (1, 32),
    (3, 96),
    (7, 288),
    (33, 32),
    (1, 1),
    (3, 17),
    (7, 101),
];

/// Pieces of different kinds side by side, so that the lanes of one vector disagree.
const MIXTURES: &[(usize, usize, usize)] = &[(16, 33, 1280), (32, 33, 288), (32, 7, 512), (256, 7, 1280)];

/// The types that have golden digests.
pub const TYPES: &[Dtype] = &[
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::Q4_0,
    Dtype::Q4_1,
    Dtype::Q5_0,
    Dtype::Q5_1,
    Dtype::Q8_0,
    Dtype::Q2_K,
    Dtype::Q3_K,
    Dtype::Q4_K,
    Dtype::Q5_K,
    Dtype::Q6_K,
    Dtype::MXFP4,
    Dtype::NVFP4,
    Dtype::IQ4_NL,
    Dtype::IQ4_XS,
    Dtype::IQ1_S,
    Dtype::IQ1_M,
    Dtype::IQ2_XXS,
    Dtype::IQ2_XS,
    Dtype::IQ2_S,
    Dtype::IQ3_XXS,
    Dtype::IQ3_S,
    Dtype::TQ1_0,
    Dtype::TQ2_0,
    Dtype::Q1_0,
    Dtype::Q2_0,
];

/// The types that are decoded only.
pub const SOURCES: &[Dtype] = &[Dtype::Q8_1, Dtype::Q8_K];

/// All cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &(rows, columns) in SHAPES {
        cases.push(Case::new(format!("random-{rows}x{columns}"), rows, columns, |r, row| {
            let scale = r.pick(&[0.02, 1e-3, 0.7, 12.0]);
            row.fill_with(|| scale * r.heavy());
        }));
    }
    for (name, fill) in weights::KINDS {
        cases.push(Case::new(name.to_string(), 7, 512, fill));
    }
    // These overflow the scales of some types; there is a case of each alone, and a mixture that held one would not be
    // accepted as a whole.
    let vast = ["f16-edges", "scale-1e5", "scale-1e6", "scale-1e7", "scale-1e12", "below-powers"];
    let moderate: Vec<_> = weights::KINDS.iter().copied().filter(|(name, _)| !vast.contains(name)).collect();
    for &(piece, rows, columns) in MIXTURES {
        cases.push(Case::new(format!("mixed-{piece}-{rows}x{columns}"), rows, columns, |r, row| {
            row.chunks_mut(piece).for_each(|piece| r.pick(&moderate).1(r, piece));
        }));
    }
    let kinds = importance::KINDS;
    for (i, case) in cases.iter_mut().enumerate() {
        // Every kind of importance with the random rows and the mixtures, else in turn one that has some weight.
        let all = case.name.starts_with("random") || case.name.starts_with("mixed");
        for (name, fill) in if all { kinds } else { &kinds[i % (kinds.len() - 1)..][..1] } {
            let mut importance = vec![0.0; case.columns];
            fill(&mut Random::named(&format!("{} {name}", case.name)), &mut importance);
            case.importances.push((name, importance));
        }
    }
    cases
}

impl Case {
    fn new(name: String, rows: usize, columns: usize, fill: impl Fn(&mut Random, &mut [f32])) -> Case {
        let mut weights = vec![0.0; rows * columns];
        let mut random = Random::named(&name);
        weights.chunks_mut(columns).for_each(|row| fill(&mut random, row));
        Case { name, rows, columns, weights, importances: Vec::new() }
    }

    /// The kinds of importance that the type is encoded with.
    pub fn variants_for(&self, dtype: Dtype) -> impl Iterator<Item = (&'static str, Option<&[f32]>)> {
        self.variants().filter(move |(_, importance)| importance.is_some() || !dtype.info().needs_importance)
    }

    /// The weights without importance, then with each kind of it.
    pub fn variants(&self) -> impl Iterator<Item = (&'static str, Option<&[f32]>)> {
        let none = std::iter::once(("none", None));
        none.chain(self.importances.iter().map(|(name, importance)| (*name, Some(&importance[..]))))
    }
}
