//! How many weights a model has, and the label that says so: `8B`, `8x7B`, `135M`.

/// Weights of a model as GGUF stores it, computed tensors included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParameterCounts {
    /// All weights.
    pub total: u64,
    /// Weights that every token passes: all but those of experts.
    pub shared: u64,
    /// Weights of one expert, summed over the layers.
    pub expert: u64,
    /// Experts per layer, the mean where layers differ; 0 without experts.
    pub expert_count: u64,
}

impl ParameterCounts {
    /// Counts tensors given by GGUF name and row-major shape. Expert tensors are those whose name holds `_exps.`;
    /// experts are their outermost dimension.
    pub fn of<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [u64])>) -> Self {
        let mut counts = Self::default();
        let (mut experts, mut expert_tensors) = (0u64, 0u64);
        for (name, shape) in tensors {
            let weights = shape.iter().fold(1u64, |product, &n| product.saturating_mul(n));
            counts.total = counts.total.saturating_add(weights);
            let from_last = if name.contains(".bias") { 2 } else { 3 };
            if name.contains("_exps.") && shape.len() >= 3 {
                let count = shape[shape.len() - from_last];
                counts.expert = counts.expert.saturating_add(weights.checked_div(count).unwrap_or(0));
                experts = experts.saturating_add(count);
                expert_tensors += 1;
            } else {
                counts.shared = counts.shared.saturating_add(weights);
            }
        }
        counts.expert_count = experts.checked_div(expert_tensors).unwrap_or(0);
        counts
    }

    /// `general.size_label` for a model whose name does not tell its size.
    pub fn label(&self) -> String {
        if self.expert_count > 0 {
            format!("{}x{}", self.expert_count, rounded(self.shared.saturating_add(self.expert)))
        } else {
            rounded(self.total)
        }
    }
}

/// A count in thousands, millions, billions or trillions, with at least two digits: `135M`, `1.1B`.
fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, suffix) = if count > 1e12 {
        (count * 1e-12, 'T')
    } else if count > 1e9 {
        (count * 1e-9, 'B')
    } else if count > 1e6 {
        (count * 1e-6, 'M')
    } else {
        (count * 1e-3, 'K')
    };
    let whole = scaled.round_ties_even();
    let digits = if whole < 1.0 { 0 } else { format!("{whole}").len() };
    format!("{scaled:.*}{suffix}", 2usize.saturating_sub(digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Expected values: gguf.size_label of gguf-py.
    #[test]
    fn labels() {
        for (total, label) in [
            (8_030_261_248, "8.0B"),
            (70_553_706_496, "71B"),
            (134_515_008, "135M"),
            (999_999, "1000K"),
            (1_000_001, "1.0M"),
            (1_250_000, "1.2M"),
            (120, "0.12K"),
            (0, "0.00K"),
        ] {
            assert_eq!(ParameterCounts { total, shared: total, ..Default::default() }.label(), label, "{total}");
        }
    }

    #[test]
    fn experts_are_counted_once_per_layer() {
        let shapes: [(&str, &[u64]); 3] = [
            ("blk.0.ffn_up_exps.weight", &[8, 1000, 2000]),
            ("blk.0.ffn_up_exps.bias", &[8, 1000]),
            ("output.weight", &[500, 2000]),
        ];
        let counts = ParameterCounts::of(shapes);
        assert_eq!(
            counts,
            ParameterCounts { total: 17_008_000, shared: 1_008_000, expert: 2_000_000, expert_count: 8 }
        );
        assert_eq!(counts.label(), "8x3.0M");
    }
}
