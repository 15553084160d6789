//! What an entry's numbers say: figures of `llama-imatrix --show-statistics` that follow from the file alone.

use super::Entry;

/// Figures of the means of one tensor, over the matrices that saw something. Zero where there are none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Number of means: columns, times matrices that saw something.
    pub values: usize,
    /// Matrices with a count of their own; 1 if all share one.
    pub matrices: usize,
    /// Of these the ones whose count is zero.
    pub unseen: usize,
    /// Smallest and largest count.
    pub counts: (u64, u64),
    /// Sum of the means.
    pub sum: f64,
    /// Smallest mean.
    pub min: f32,
    /// Largest mean.
    pub max: f32,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (of a sample: divided by one less than their number).
    pub deviation: f64,
    /// Share of means that are zero.
    pub zeros: f64,
    /// Entropy in bits of the means taken as shares of their sum: how evenly columns matter, at most `log2(values)`.
    pub entropy: f64,
    /// Share of means more than one standard deviation away from their mean.
    pub outliers: f64,
    /// Means that are not finite.
    pub non_finite: usize,
    /// Means below zero.
    pub negative: usize,
}

impl Statistics {
    /// The figures of an entry. What is not finite is counted and otherwise left out.
    pub fn of(entry: &Entry) -> Self {
        // As the reference, means are computed in double precision here, unlike those for quantizing.
        let means = || {
            let seen = entry.parts().filter(|(count, _)| *count > 0);
            seen.flat_map(|(count, sums)| sums.iter().map(move |&sum| f64::from(sum) / count as f64))
        };
        let finite = || means().filter(|mean| mean.is_finite());
        let values = finite().count();
        let (sum, n) = (finite().sum::<f64>(), values.max(1) as f64);
        let mean = sum / n;
        let variance = finite().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let deviation = variance.sqrt();
        let energy: f64 = finite().map(|v| v.max(0.0)).sum();
        let share = |count: usize| count as f64 / n;
        let bits = finite().map(|v| v.max(0.0) / energy).filter(|&p| p > 0.0).map(|p| -p * p.log2());
        let far = finite().filter(|v| deviation > 0.0 && (v - mean).abs() > deviation);
        let least = |a: Option<u64>| a.unwrap_or(0);
        Statistics {
            values,
            matrices: entry.counts.len(),
            unseen: entry.counts.iter().filter(|&&count| count == 0).count(),
            counts: (least(entry.counts.iter().min().copied()), least(entry.counts.iter().max().copied())),
            sum,
            min: finite().reduce(f64::min).unwrap_or(0.0) as f32,
            max: finite().reduce(f64::max).unwrap_or(0.0) as f32,
            mean,
            deviation,
            zeros: share(finite().filter(|&v| v == 0.0).count()),
            entropy: bits.fold(0.0, |sum, bits| sum + bits),
            outliers: share(far.count()),
            non_finite: means().count() - values,
            negative: finite().filter(|&v| v < 0.0).count(),
        }
    }
}

/// Cosine of the angle between the means of two entries, as of a tensor and the same one a block before: 1 if the same
/// columns matter. Means of matrices that saw nothing are zero. `None` for entries of different sizes, or all zeros, or with
/// what is not finite.
pub fn similarity(entry: &Entry, other: &Entry) -> Option<f64> {
    fn means(entry: &Entry) -> impl Iterator<Item = f64> {
        let mean = |count: u64, sum: f32| if count > 0 { f64::from(sum) / count as f64 } else { 0.0 };
        entry.parts().flat_map(move |(count, sums)| sums.iter().map(move |&sum| mean(count, sum)))
    }
    let dot = |a: &Entry, b: &Entry| means(a).zip(means(b)).map(|(a, b)| a * b).sum::<f64>();
    let cosine = dot(entry, other) / (dot(entry, entry).sqrt() * dot(other, other).sqrt());
    (entry.sums.len() == other.sums.len() && cosine.is_finite()).then_some(cosine)
}
