//! What rounding did to every tensor.

use serde::Serialize;

/// What is known of one rounded tensor. Errors are squared errors of the outputs on the text, relative to the outputs, over
/// evenly spread rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Of plain rounding.
    pub error_before: f64,
    /// Of what is written.
    pub error_after: f64,
    /// Least tokens that a matrix saw.
    pub tokens: u64,
    /// Matrices that were rounded plainly, as too few tokens came to them, or nothing that can be used.
    pub plain_matrices: u64,
}

impl Figures {
    pub(super) const BYTES: usize = 32;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let words = [self.error_before.to_bits(), self.error_after.to_bits(), self.tokens, self.plain_matrices];
        let mut bytes = [0; Self::BYTES];
        bytes.chunks_exact_mut(8).zip(words).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_le_bytes()));
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[8 * at..8 * at + 8].try_into().expect("8 bytes"));
        Self {
            error_before: f64::from_bits(word(0)),
            error_after: f64::from_bits(word(1)),
            tokens: word(2),
            plain_matrices: word(3),
        }
    }
}

/// One tensor of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RoundedTensor {
    /// Its name in the output's form.
    pub tensor: String,
    /// The type or scheme written.
    #[serde(rename = "type")]
    pub to: String,
    /// Matrices in it.
    pub matrices: usize,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub figures: Figures,
}

/// The report of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Tokens that went through the model.
    pub tokens: usize,
    /// Tensors that an earlier run had rounded.
    pub resumed: usize,
    /// Every tensor that was rounded with its moment.
    pub rounded: Vec<RoundedTensor>,
    /// Quantized tensors that are rounded as ever: their inputs are not measured, or the type's scales cannot hold them.
    pub plain: Vec<String>,
}

impl Report {
    /// Mean over tensors of the ratio of errors, after to before, as a geometric mean; 1 if there is nothing.
    pub fn ratio(&self) -> f64 {
        let ratios = self.rounded.iter().map(|tensor| tensor.figures);
        let ratios = ratios.filter(|figures| figures.error_before > 0.0 && figures.error_after > 0.0);
        let logs: Vec<f64> = ratios.map(|figures| (figures.error_after / figures.error_before).ln()).collect();
        if logs.is_empty() { 1.0 } else { (logs.iter().sum::<f64>() / logs.len() as f64).exp() }
    }

    /// Tensors that have a larger error than plain rounding gives.
    pub fn worse(&self) -> impl Iterator<Item = &RoundedTensor> {
        self.rounded.iter().filter(|tensor| tensor.figures.error_after > tensor.figures.error_before)
    }
}
