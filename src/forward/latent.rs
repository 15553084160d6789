//! Multi-head latent attention of DeepSeek: keys and values are made from one short vector per token.
//!
//! As in llama.cpp the matrices that would expand it are applied to queries and to what was attended to instead, so that all
//! heads share one key and one value. Files from before that form have one matrix for both and are computed head by head.

use super::attention::Heads;
use super::linear::{Observer, Part};
use super::matrix::Matrix;
use super::norm::{Norm, normalize};
use super::settings::Latent;
use super::{Error, LayerNames, Machine};

impl Machine<'_> {
    /// The attention of one layer: `[tokens, width]` to `[tokens, width]`.
    pub(super) fn latent_attention(
        &self,
        layer: usize,
        latent: Latent,
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let names = LayerNames(layer);
        let settings = &self.settings;
        let rope = &settings.rope;
        let (heads, rotated) = (settings.heads[layer], rope.dimensions);
        let plain = latent.key - rotated;
        let table = self.rotation(rope)?;

        let mut queries = self.latent_queries(&names, input, observer)?;
        expect_columns(&names.of("attn_q"), &queries, heads * latent.key)?;
        let columns = queries.columns;
        rope.rotate(&table, &mut queries.data, columns, latent.key, plain, self.sequence);

        let compressed = self.linear(&names.of("attn_kv_a_mqa"), input, observer)?;
        expect_columns(&names.of("attn_kv_a_mqa"), &compressed, latent.rank + rotated)?;
        let mut states = compressed.columns_of(0, latent.rank);
        let mut shared_key = compressed.columns_of(latent.rank, rotated);
        rope.rotate(&table, &mut shared_key.data, rotated, rotated, 0, self.sequence);
        let weights = self.tensors.required(&names.of("attn_kv_a_norm.weight"), latent.rank)?;
        normalize(Norm::Rms, settings.epsilon, &weights, &[], latent.rank, &mut states.data);

        let attended = if self.tensors.has(&names.of("attn_k_b.weight")) {
            let absorbed = self.per_head(&names.of("attn_k_b"), heads, (plain, latent.key), &queries, observer)?;
            expect_columns(&names.of("attn_k_b"), &absorbed, heads * latent.rank)?;
            let last = queries_last(&queries, latent.key, plain);
            let mut queries = interleave(&absorbed, latent.rank, &last, rotated);
            let keys = interleave(&states, latent.rank, &shared_key, rotated);
            self.warm_up(&mut queries);
            let attended = self.attend(Heads {
                queries: &queries,
                keys: &keys,
                values: &states,
                heads,
                groups: 1,
                key: latent.rank + rotated,
                value: latent.rank,
                scale: settings.attention_scale,
                window: 0,
                sinks: &[],
            });
            self.per_head(&names.of("attn_v_b"), heads, (latent.rank, latent.rank), &attended, observer)?
        } else {
            let expanded = self.linear(&names.of("attn_kv_b"), &states, observer)?;
            expect_columns(&names.of("attn_kv_b"), &expanded, heads * (plain + latent.value))?;
            let of_head = plain + latent.value;
            let keys = rows_of_heads(&expanded, heads, |row, head| row[head * of_head..][..plain].to_vec());
            let repeated = rows_of_heads(&shared_key, heads, |row, _| row.to_vec());
            let keys = interleave(&keys, plain, &repeated, rotated);
            let values =
                rows_of_heads(&expanded, heads, |row, head| row[head * of_head + plain..][..latent.value].to_vec());
            self.warm_up(&mut queries);
            self.attend(Heads {
                queries: &queries,
                keys: &keys,
                values: &values,
                heads,
                groups: heads,
                key: latent.key,
                value: latent.value,
                scale: settings.attention_scale,
                window: 0,
                sinks: &[],
            })
        };
        self.linear(&names.of("attn_output"), &attended, observer)
    }

    /// Queries, in one step or through a short vector of their own.
    fn latent_queries(&self, names: &LayerNames, input: &Matrix, observer: &mut dyn Observer) -> Result<Matrix, Error> {
        if self.tensors.has(&names.of("attn_q.weight")) {
            return self.linear(&names.of("attn_q"), input, observer);
        }
        let mut short = self.linear(&names.of("attn_q_a"), input, observer)?;
        let weights = self.tensors.required(&names.of("attn_q_a_norm.weight"), short.columns)?;
        let columns = short.columns;
        normalize(Norm::Rms, self.settings.epsilon, &weights, &[], columns, &mut short.data);
        self.linear(&names.of("attn_q_b"), &short, observer)
    }

    /// Every head times a matrix of its own. Of the head's numbers, `stride` apart, `length` are multiplied.
    fn per_head(
        &self,
        name: &str,
        heads: usize,
        (length, stride): (usize, usize),
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let mut output = Matrix::default();
        for head in 0..heads {
            let part = input.columns_of(head * stride, length);
            let result = self.linear_part(name, Part::Head { index: head, of: heads }, &part, observer)?;
            if head == 0 {
                output = Matrix::zeros(input.rows(), heads * result.columns);
            }
            let width = result.columns;
            for (row, result) in result.data.chunks_exact(width).enumerate() {
                output.row_mut(row)[head * width..][..width].copy_from_slice(result);
            }
        }
        Ok(output)
    }
}

fn expect_columns(name: &str, found: &Matrix, expected: usize) -> Result<(), Error> {
    if found.columns == expected {
        return Ok(());
    }
    let (found, expected) = (vec![found.columns as u64], vec![expected as u64]);
    Err(Error::Shape { tensor: format!("{name}.weight"), found, expected })
}

/// For every head of a row some numbers.
fn rows_of_heads(rows: &Matrix, heads: usize, of: impl Fn(&[f32], usize) -> Vec<f32>) -> Matrix {
    let data: Vec<f32> = rows
        .data
        .chunks_exact(rows.columns)
        .flat_map(|row| (0..heads).flat_map(|head| of(row, head)).collect::<Vec<_>>())
        .collect();
    Matrix { columns: data.len() / rows.rows().max(1), data }
}

/// The rotated end of every query head.
fn queries_last(queries: &Matrix, key: usize, plain: usize) -> Matrix {
    rows_of_heads(queries, queries.columns / key, |row, head| row[head * key + plain..(head + 1) * key].to_vec())
}

/// In every row `a` numbers of the first, `b` of the second, and so on.
fn interleave(first: &Matrix, a: usize, second: &Matrix, b: usize) -> Matrix {
    let turns = first.columns / a;
    let mut data = Vec::with_capacity(first.data.len() + second.data.len());
    for (first, second) in first.data.chunks_exact(a).zip(second.data.chunks_exact(b)) {
        data.extend_from_slice(first);
        data.extend_from_slice(second);
    }
    Matrix { columns: turns * (a + b), data }
}
