//! What scales did to every input.

use serde::Serialize;

use super::super::Figures;
use crate::folding::Unlinked;

/// One input that was scaled. Errors are squared errors of the outputs on the text, relative to the outputs, the mean over the
/// matrices and over evenly spread rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScaledInput {
    /// What gives it.
    pub from: String,
    /// What takes it.
    pub into: Vec<String>,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub figures: Figures,
}

impl ScaledInput {
    /// True if no scales were better than none.
    pub fn is_unchanged(&self) -> bool {
        self.figures.error_after >= self.figures.error_before
    }
}

/// The report of choosing scales.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ScaleReport {
    /// Tokens that went through the model.
    pub tokens: usize,
    /// Inputs whose scales an earlier run had chosen.
    pub resumed: usize,
    /// Every input that could be scaled.
    pub scaled: Vec<ScaledInput>,
    /// Quantized tensors whose inputs could not.
    pub unscaled: Vec<Unlinked>,
}

impl ScaleReport {
    /// Mean over inputs of the ratio of errors, after to before, as a geometric mean; 1 if there is nothing.
    pub fn ratio(&self) -> f64 {
        let ratios = self.scaled.iter().map(|input| input.figures);
        let ratios = ratios.filter(|figures| figures.error_before > 0.0 && figures.error_after > 0.0);
        let logs: Vec<f64> = ratios.map(|figures| (figures.error_after / figures.error_before).ln()).collect();
        if logs.is_empty() { 1.0 } else { (logs.iter().sum::<f64>() / logs.len() as f64).exp() }
    }
}
