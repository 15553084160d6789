//! The scales that are tried: AutoAWQ's grid.

/// Ratios that are tried.
const RATIOS: usize = 20;

/// Added to the size of weights, and the least scale.
const LEAST: f32 = 1e-4;

/// Scales for channels whose inputs and weights have these sizes: first all ones, then for every ratio `r`
/// `inputs^r / (weights^(1-r) + 1e-4)`, divided by the root of the product of the least and the greatest.
pub(super) fn candidates(inputs: &[f32], weights: &[f32]) -> Vec<Vec<f32>> {
    let ones = vec![1.0; inputs.len()];
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
    let usable = |scales: &Vec<f32>| scales.iter().all(|scale| scale.is_finite() && *scale > 0.0);
    std::iter::once(ones).chain(tried.filter(usable)).collect()
}
