//! The scales that are tried.

/// Ratios that are tried: AutoAWQ's grid.
const RATIOS: usize = 20;

/// Added to the size of weights, and the least scale.
const LEAST: f32 = 1e-4;

/// Strengths that are tried, the usual one first, and the least size of a channel.
const STRENGTHS: [f32; 7] = [0.5, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9];
const FLOOR: f32 = 1e-5;

/// AWQ: scales for channels whose inputs and weights have these sizes. First all ones, then for every ratio `r`
/// `inputs^r / (weights^(1-r) + 1e-4)`, divided by the root of the product of the least and the greatest.
pub(super) fn by_ratio(inputs: &[f32], weights: &[f32]) -> Vec<Vec<f32>> {
    let tried = (0..RATIOS).map(|step| {
        let ratio = step as f32 / RATIOS as f32;
        let scale = |(input, weight): (&f32, &f32)| input.powf(ratio) / (weight.powf(1.0 - ratio) + LEAST);
        let mut scales: Vec<f32> = inputs.iter().zip(weights).map(scale).map(|scale| scale.max(LEAST)).collect();
        let (least, greatest) = scales
            .iter()
            .fold((f32::MAX, 0.0f32), |(least, greatest), scale| (least.min(*scale), greatest.max(*scale)));
        let middle = (least * greatest).sqrt();
        scales.iter_mut().for_each(|scale| *scale /= middle);
        scales
    });
    usable(inputs.len(), tried)
}

/// SmoothQuant (arXiv 2211.10438): scales for channels whose inputs reach so far and whose weights are at most so large. First
/// all ones, then for every strength `a` `reaches^a / (2 weights)^(1-a)`.
pub(super) fn by_strength(reaches: &[f32], weights: &[f32]) -> Vec<Vec<f32>> {
    let tried = STRENGTHS.into_iter().map(|strength| {
        let scale = |(reach, weight): (&f32, &f32)| {
            reach.max(FLOOR).powf(strength) / (2.0 * weight).max(FLOOR).powf(1.0 - strength)
        };
        reaches.iter().zip(weights).map(scale).map(|scale| scale.max(FLOOR)).collect()
    });
    usable(reaches.len(), tried)
}

/// All ones, and of the scales that are tried those with which something can be computed.
fn usable(channels: usize, tried: impl Iterator<Item = Vec<f32>>) -> Vec<Vec<f32>> {
    let usable = |scales: &Vec<f32>| scales.iter().all(|scale| scale.is_normal() && *scale > 0.0);
    std::iter::once(vec![1.0; channels]).chain(tried.filter(usable)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the definitions, with numbers whose powers are known.
    #[test]
    fn scales_are_those_of_the_definitions() {
        let tried = by_ratio(&[4.0, 1.0], &[1.0, 0.25]);
        assert_eq!(tried.len(), 21);
        assert_eq!(tried[0], [1.0, 1.0]);
        // ratio 0.5: 2 / 1.0001 and 1 / 0.5001, whose root is what both are divided by
        let [a, b] = [2.0 / 1.0001f32, 1.0 / 0.5001];
        let middle = (a * b).sqrt();
        assert!(
            (tried[11][0] - a / middle).abs() < 1e-6 && (tried[11][1] - b / middle).abs() < 1e-6,
            "{:?}",
            tried[11]
        );

        let tried = by_strength(&[16.0, 0.0], &[2.0, 0.5]);
        // strength 0.5: 4 / 2, and the root of the floor
        assert!((tried[1][0] - 2.0).abs() < 1e-6 && (tried[1][1] - 1e-5f32.sqrt()).abs() < 1e-6, "{:?}", tried[1]);
    }
}
