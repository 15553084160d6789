//! Causal self-attention with grouped queries, windows, capped scores and sinks.

use rayon::prelude::*;

use super::linear::Observer;
use super::matrix::Matrix;
use super::norm::normalize;
use super::product::{Rows, RowsMut, Threads};
use super::rope::Rope;
use super::rounding::{self, Activations};
use super::{Error, LayerNames, Machine};

/// Queries whose scores are computed at once.
pub(super) const QUERY_ROWS: usize = 128;

/// Queries, keys and values of some sequences, and how they attend.
pub(super) struct Heads<'a> {
    /// `[tokens, heads * key]`.
    pub queries: &'a Matrix,
    /// `[tokens, groups * key]`.
    pub keys: &'a Matrix,
    /// `[tokens, groups * value]`; of latent attention a part of the keys.
    pub values: &'a Matrix,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub groups: usize,
    /// Numbers of a query or key head.
    pub key: usize,
    /// Numbers of a value head.
    pub value: usize,
    /// Factor of the scores.
    pub scale: f32,
    /// Window, 0 for none.
    pub window: usize,
    /// One more score per head, whose value is nothing.
    pub sinks: &'a [f32],
}

impl Machine<'_> {
    /// The attention of one layer: `[tokens, width]` to `[tokens, width]`.
    pub(super) fn attention(&self, layer: usize, input: &Matrix, observer: &mut dyn Observer) -> Result<Matrix, Error> {
        let names = LayerNames(layer);
        let settings = &self.settings;
        let (heads, groups) = (settings.heads[layer], settings.kv_heads[layer]);
        let (key, value) = (settings.key, settings.value);
        let widths = [heads * key, groups * key, groups * value];
        let [mut queries, mut keys, values] = self.projections(&names, input, widths, observer)?;
        self.normalize_heads(&names.of("attn_q_norm"), key, &mut queries)?;
        self.normalize_heads(&names.of("attn_k_norm"), key, &mut keys)?;
        let rope = settings.rope_of(layer);
        if let Some(rope) = rope {
            let table = self.rotation(rope)?;
            for rotated in [&mut queries, &mut keys] {
                let columns = rotated.columns;
                rope.rotate(&table, &mut rotated.data, columns, key, 0, self.sequence);
                if settings.normalizes_rotated {
                    normalize(super::Norm::Rms, settings.epsilon, &[], &[], key, &mut rotated.data);
                }
            }
        }
        if settings.family.name != "llama4" || rope.is_none() {
            self.warm_up(&mut queries);
        }
        let sinks = self.tensors.vector(&names.of("attn_sinks.weight"), &[heads])?;
        let attended = self.attend(Heads {
            queries: &queries,
            keys: &keys,
            values: &values,
            heads,
            groups,
            key,
            value,
            scale: settings.attention_scale,
            window: settings.windows[layer],
            sinks: &sinks,
        });
        self.linear(&names.of("attn_output"), &attended, observer)
    }

    /// Queries, keys and values, whether their matrices are apart or one.
    fn projections(
        &self,
        names: &LayerNames,
        input: &Matrix,
        widths: [usize; 3],
        observer: &mut dyn Observer,
    ) -> Result<[Matrix; 3], Error> {
        let check = |name: &str, found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => Err(Error::Shape {
                tensor: format!("{name}.weight"),
                found: vec![found as u64, input.columns as u64],
                expected: vec![expected as u64, input.columns as u64],
            }),
        };
        let fused = names.of("attn_qkv");
        if self.tensors.has(&format!("{fused}.weight")) {
            let all = self.linear(&fused, input, observer)?;
            check(&fused, all.columns, widths.iter().sum())?;
            let [q, k, v] = widths;
            return Ok([all.columns_of(0, q), all.columns_of(q, k), all.columns_of(q + k, v)]);
        }
        let mut project = |name: &str, width: usize| -> Result<Matrix, Error> {
            let name = names.of(name);
            let projected = self.linear(&name, input, observer)?;
            check(&name, projected.columns, width)?;
            Ok(projected)
        };
        let [q, k, v] = widths;
        Ok([project("attn_q", q)?, project("attn_k", k)?, project("attn_v", v)?])
    }

    /// The norm of every head, or of all together, whichever the weights are for.
    fn normalize_heads(&self, name: &str, head: usize, rows: &mut Matrix) -> Result<(), Error> {
        let weights = self.tensors.vector(&format!("{name}.weight"), &[head, rows.columns])?;
        if weights.is_empty() {
            return Ok(());
        }
        // LayerNorm with weights for all heads is that of Command R+, head by head
        let per_head = weights.len() == head || self.settings.family.norm == super::Norm::Layer;
        let length = if per_head { head } else { rows.columns };
        normalize(self.settings.family.norm, self.settings.epsilon, &weights, &[], length, &mut rows.data);
        Ok(())
    }

    /// Cosines and sines for the positions of a sequence.
    pub(super) fn rotation(&self, rope: &Rope) -> Result<Vec<(f32, f32)>, Error> {
        let pairs = rope.dimensions / 2;
        let mut factors = self.tensors.vector("rope_freqs.weight", &[pairs])?;
        if factors.is_empty() {
            let long = self.sequence as f32 > rope.context;
            factors = self
                .tensors
                .vector(if long { "rope_factors_long.weight" } else { "rope_factors_short.weight" }, &[pairs])?;
        }
        // windowed and unwindowed layers alike, but for Gemma 3 and OLMo 3, which have no factors
        Ok(rope.table(self.sequence, &factors))
    }

    /// Queries that grow with the position.
    pub(super) fn warm_up(&self, queries: &mut Matrix) {
        let Some(temperature) = self.settings.temperature else { return };
        let columns = queries.columns;
        for (row, queries) in queries.data.chunks_exact_mut(columns).enumerate() {
            let position = (row % self.sequence) as f32;
            let steps = ((position + temperature.offset) / temperature.floor).floor();
            let factor = (steps + 1.0).ln() * temperature.scale + 1.0;
            queries.iter_mut().for_each(|query| *query *= factor);
        }
    }

    /// Attends inside every sequence: `[tokens, heads * value]`.
    pub(super) fn attend(&self, heads: Heads<'_>) -> Matrix {
        let rounded = match self.activations {
            Activations::Exact => None,
            // the cache is f16; queries and weights of values stay f32 in ggml's flash attention over many queries
            Activations::Rounded => Some([heads.keys, heads.values].map(|matrix| {
                let mut rounded = matrix.clone();
                rounding::round_to_f16(self.tensors.level(), &mut rounded.data);
                rounded
            })),
        };
        let heads = match &rounded {
            Some([keys, values]) => Heads { keys, values, ..heads },
            None => heads,
        };
        let tokens = heads.queries.rows();
        let sequences = tokens / self.sequence;
        let (count, value) = (heads.heads, heads.value);
        let jobs: Vec<(usize, usize)> =
            (0..sequences).flat_map(|sequence| (0..count).map(move |head| (sequence, head))).collect();
        let results: Vec<Vec<f32>> =
            jobs.par_iter().map(|&(sequence, head)| self.attend_head(&heads, sequence, head)).collect();
        let mut output = Matrix::zeros(tokens, count * value);
        output.data.par_chunks_exact_mut(count * value).enumerate().with_min_len(16).for_each(|(token, output)| {
            let (sequence, row) = (token / self.sequence, token % self.sequence);
            let results = &results[sequence * count..][..count];
            output.chunks_exact_mut(value).zip(results).for_each(|(output, result)| {
                output.copy_from_slice(&result[row * value..][..value]);
            });
        });
        output
    }

    /// One head of one sequence: `[tokens, value]`.
    fn attend_head(&self, heads: &Heads<'_>, sequence: usize, head: usize) -> Vec<f32> {
        let length = self.sequence;
        let begin = sequence * length;
        let group = head * heads.groups / heads.heads;
        let (key, value) = (heads.key, heads.value);
        let mut output = vec![0.0; length * value];
        for (block, out) in output.chunks_mut(QUERY_ROWS * value).enumerate() {
            let first = block * QUERY_ROWS;
            let rows = out.len() / value;
            let end = first + rows;
            let seen = self.first_seen(heads.window, first);
            let span = end - seen;
            let mut scores = vec![0.0; rows * span];
            let queries = heads.queries.block(begin + first, rows, head * key, key);
            let keys = heads.keys.block(begin + seen, span, group * key, key);
            let dense = RowsMut { data: &mut scores, rows, columns: span, stride: span };
            self.product.rows_by_rows(queries, keys, dense, Threads::One);
            for (row, scores) in scores.chunks_exact_mut(span).enumerate() {
                let query = first + row;
                let from = self.first_seen(heads.window, query) - seen;
                let sink = heads.sinks.get(head).copied();
                self.weigh(scores, from..query + 1 - seen, heads.scale, sink);
            }
            let values = heads.values.block(begin + seen, span, group * value, value);
            let dense = RowsMut { data: out, rows, columns: value, stride: value };
            self.product.rows_by_columns(Rows::dense(&scores, span), values, dense, Threads::One);
        }
        output
    }

    /// The first position that the query at `position` sees.
    fn first_seen(&self, window: usize, position: usize) -> usize {
        match window {
            0 => 0,
            window if self.settings.chunked() => position / window * window,
            window => (position + 1).saturating_sub(window),
        }
    }

    /// Scores to weights: those outside `seen` become 0.
    fn weigh(&self, scores: &mut [f32], seen: std::ops::Range<usize>, scale: f32, sink: Option<f32>) {
        let cap = self.settings.attention_cap;
        scores[..seen.start].fill(0.0);
        scores[seen.end..].fill(0.0);
        let scores = &mut scores[seen];
        scores.iter_mut().for_each(|score| *score *= scale);
        if cap != 0.0 {
            scores.iter_mut().for_each(|score| *score = cap * (*score / cap).tanh());
        }
        let most = scores.iter().copied().fold(sink.unwrap_or(f32::NEG_INFINITY), f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - most).exp());
        let sum: f32 = scores.iter().sum::<f32>() + sink.map_or(0.0, |sink| (sink - most).exp());
        scores.iter_mut().for_each(|score| *score /= sum);
    }
}
