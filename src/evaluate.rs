//! How well a model predicts a text, and how far it is from the model that it was made of.
//!
//! The figures are those of llama-perplexity on the same text: of every sequence the second half is predicted. A base model
//! runs beside the other, layer by layer; only the logits of some tokens exist at a time, and no file of them is written.

use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use crate::corpus::Corpus;
use crate::forward::{Error, Machine, Matrix, Stream};

/// Tokens that the base gives a log probability of at most this take no part in the divergence, as in llama-perplexity.
const LEAST_LOG_PROBABILITY: f64 = -16.0;

/// What is found about a model on a text.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Sequences of text.
    pub sequences: usize,
    /// Tokens per sequence.
    pub context: usize,
    /// Tokens that were predicted and compared with the text.
    pub predicted: usize,
    /// The model itself.
    pub perplexity: Perplexity,
    /// Against the base, if there is one.
    pub divergence: Option<Divergence>,
    /// Layer by layer.
    pub layers: Vec<LayerFigures>,
    /// Time of the whole run.
    pub seconds: f64,
}

/// The exponential of the mean negative log likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Perplexity {
    /// The perplexity.
    pub value: f64,
    /// Its standard error over the tokens.
    pub error: f64,
}

/// How the distributions of a model differ from those of its base, over all predicted tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Divergence {
    /// The base's perplexity.
    pub base_perplexity: Perplexity,
    /// Mean Kullback-Leibler divergence from the base, in nats.
    pub mean_kl: f64,
    /// Its standard error.
    pub mean_kl_error: f64,
    /// Half of the tokens have less.
    pub median_kl: f64,
    /// 99 of 100 have less.
    pub percentile_99_kl: f64,
    /// The largest.
    pub maximum_kl: f64,
    /// Tokens for which both find the same one likeliest, in per cent.
    pub same_top_percent: f64,
    /// Root of the mean squared change of the right token's probability, in per cent.
    pub rms_probability_change_percent: f64,
}

/// What is measured of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LayerFigures {
    /// Number of the layer.
    pub layer: usize,
    /// Time that the model took.
    pub seconds: f64,
    /// After this layer: root of the mean squared difference to the base's activations over that of those activations.
    pub relative_error: Option<f64>,
}

/// How far an evaluation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Layers that are done, the head counted as one.
    pub done: usize,
    /// Layers there are.
    pub total: usize,
}

/// The figures of one predicted token.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    loss: f64,
    base_loss: f64,
    divergence: f64,
    same_top: bool,
}

/// Runs `model`, and `base` beside it, over all sequences.
///
/// # Errors
/// As [`Machine::layer`] and [`Machine::logits`].
pub fn evaluate(
    model: &Machine<'_>,
    base: Option<&Machine<'_>>,
    corpus: &Corpus,
    max_memory: u64,
    progress: &dyn Fn(Step),
) -> Result<Evaluation, Error> {
    let start = Instant::now();
    let mut streams = vec![model.embed(&corpus.tokens)?];
    if let Some(base) = base {
        streams.push(base.embed(&corpus.tokens)?);
    }
    let layers = model.settings().layers;
    let base_layers = base.map_or(0, |base| base.settings().layers);
    let comparable = base_layers == layers && base.is_some_and(|base| base.settings().width == model.settings().width);
    let total = layers.max(base_layers) + 1;
    let mut figures = Vec::with_capacity(layers);
    for layer in 0..layers.max(base_layers) {
        let begin = Instant::now();
        if layer < layers {
            model.layer(layer, &mut streams[0], &mut ())?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        if let Some(base) = base.filter(|_| layer < base_layers) {
            base.layer(layer, &mut streams[1], &mut ())?;
        }
        if layer < layers {
            let [first, rest @ ..] = streams.as_mut_slice() else { unreachable!("the model's own stream") };
            let relative_error = match rest.first_mut() {
                Some(base) if comparable => Some(relative_error(first, base, corpus.context)?),
                _ => None,
            };
            figures.push(LayerFigures { layer, seconds, relative_error });
        }
        progress(Step { done: layer + 1, total });
    }
    let scores = scores(model, base, corpus, &mut streams, max_memory)?;
    progress(Step { done: total, total });
    Ok(Evaluation {
        sequences: corpus.sequences(),
        context: corpus.context,
        predicted: scores.len(),
        perplexity: perplexity(scores.iter().map(|score| score.loss)),
        divergence: base.map(|_| divergence(&scores)),
        layers: figures,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The difference of two streams relative to the second.
fn relative_error(stream: &mut Stream, base: &mut Stream, context: usize) -> Result<f64, Error> {
    let (mut difference, mut size) = (0.0, 0.0);
    let mut first = 0;
    while first < stream.tokens() {
        let tokens = first..stream.tokens().min(first + context);
        let (found, expected) = (stream.read(tokens.clone())?, base.read(tokens)?);
        for (found, expected) in found.data.iter().zip(&expected.data) {
            let (found, expected) = (f64::from(*found), f64::from(*expected));
            difference += (found - expected) * (found - expected);
            size += expected * expected;
        }
        first += context;
    }
    Ok((difference / size.max(f64::MIN_POSITIVE)).sqrt())
}

/// The figures of every predicted token, in the order of the text.
fn scores(
    model: &Machine<'_>,
    base: Option<&Machine<'_>>,
    corpus: &Corpus,
    streams: &mut [Stream],
    max_memory: u64,
) -> Result<Vec<Score>, Error> {
    let context = corpus.context;
    let predicted = context / 2..context - 1;
    let numbers = model.vocabulary() * if base.is_some() { 2 } else { 1 };
    let fitting = max_memory / 4 / (numbers * size_of::<f32>()) as u64;
    let at_once = usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, predicted.len().max(1));
    let mut scores = Vec::with_capacity(corpus.sequences() * predicted.len());
    for sequence in 0..corpus.sequences() {
        let begin = sequence * context;
        let mut first = predicted.start;
        while first < predicted.end {
            let last = predicted.end.min(first + at_once);
            let tokens = begin + first..begin + last;
            let logits = model.logits(&streams[0].read(tokens.clone())?, &mut ())?;
            let base_logits = match base {
                Some(base) => Some(base.logits(&streams[1].read(tokens.clone())?, &mut ())?),
                None => None,
            };
            let expected = &corpus.tokens[tokens.start + 1..tokens.end + 1];
            scores.extend(score(&logits, base_logits.as_ref(), expected));
            first = last;
        }
    }
    Ok(scores)
}

/// The figures of some rows of logits.
fn score(logits: &Matrix, base: Option<&Matrix>, expected: &[u32]) -> Vec<Score> {
    let rows = expected.par_iter().enumerate();
    rows.map(|(row, token)| {
        let (token, logits) = (*token as usize, logits.row(row));
        let (top, normalizer) = top_and_normalizer(logits);
        let loss = normalizer - f64::from(logits[token]);
        let Some(base) = base else { return Score { loss, ..Score::default() } };
        let base = base.row(row);
        let (base_top, base_normalizer) = top_and_normalizer(base);
        let mut divergence = 0.0;
        for (logit, base) in logits.iter().zip(base) {
            let log_base = f64::from(*base) - base_normalizer;
            if log_base > LEAST_LOG_PROBABILITY {
                divergence += log_base.exp() * (log_base - f64::from(*logit) + normalizer);
            }
        }
        let base_loss = base_normalizer - f64::from(base[token]);
        Score { loss, base_loss, divergence, same_top: top == base_top }
    })
    .collect()
}

/// The place of the largest logit, the first of equals, and the logarithm of the sum of all exponentials.
fn top_and_normalizer(logits: &[f32]) -> (usize, f64) {
    let mut top = 0;
    for (place, logit) in logits.iter().enumerate() {
        if *logit > logits[top] {
            top = place;
        }
    }
    let most = logits[top];
    let sum: f64 = logits.iter().map(|logit| f64::from((logit - most).exp())).sum();
    (top, f64::from(most) + sum.ln())
}

fn perplexity(losses: impl Iterator<Item = f64> + Clone) -> Perplexity {
    let (mean, error) = mean_and_error(losses);
    Perplexity { value: mean.exp(), error: error * mean.exp() }
}

/// The mean and its standard error.
fn mean_and_error(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| value * value).sum::<f64>() / count - mean * mean;
    let error = if count > 1.0 { (variance.max(0.0) / (count - 1.0)).sqrt() } else { 0.0 };
    (mean, error)
}

fn divergence(scores: &[Score]) -> Divergence {
    let (mean_kl, mean_kl_error) = mean_and_error(scores.iter().map(|score| score.divergence));
    let mut sorted: Vec<f64> = scores.iter().map(|score| score.divergence).collect();
    sorted.sort_by(f64::total_cmp);
    let same = scores.iter().filter(|score| score.same_top).count();
    let changes = scores.iter().map(|score| (-score.loss).exp() - (-score.base_loss).exp());
    let mean_square = changes.map(|change| change * change).sum::<f64>() / scores.len().max(1) as f64;
    Divergence {
        base_perplexity: perplexity(scores.iter().map(|score| score.base_loss)),
        mean_kl,
        mean_kl_error,
        median_kl: quantile(&sorted, 0.5),
        percentile_99_kl: quantile(&sorted, 0.99),
        maximum_kl: sorted.last().copied().unwrap_or(0.0),
        same_top_percent: 100.0 * same as f64 / scores.len().max(1) as f64,
        rms_probability_change_percent: 100.0 * mean_square.sqrt(),
    }
}

/// The value below which a fraction of the sorted values lies, between two of them in proportion.
fn quantile(sorted: &[f64], fraction: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = fraction * last as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    // two tokens with probabilities 1/4, 3/4 in the base and 1/2, 1/2 in the model
    #[test]
    fn divergence_is_that_of_the_definition() {
        let base = Matrix { columns: 2, data: vec![1f32.ln(), 3f32.ln()] };
        let model = Matrix { columns: 2, data: vec![5.0, 5.0] };
        let score = score(&model, Some(&base), &[1])[0];
        let expected = 0.25 * (0.25f64 / 0.5).ln() + 0.75 * (0.75f64 / 0.5).ln();
        assert!((score.divergence - expected).abs() < 1e-6, "{}", score.divergence);
        assert!((score.loss - 2f64.ln()).abs() < 1e-6);
        assert!((score.base_loss - (4.0f64 / 3.0).ln()).abs() < 1e-6);
        assert!(!score.same_top);
        let all = divergence(&[score]);
        assert!((all.rms_probability_change_percent - 25.0).abs() < 1e-4);
        assert_eq!(all.median_kl, all.maximum_kl);
    }

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0], 0.5), 1.5);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
