//! The feed-forward network of a layer: one for all tokens, or experts among which a router chooses for every token.

use super::family::{Gating, Routing};
use super::linear::{Observer, Part};
use super::matrix::Matrix;
use super::settings::Experts;
use super::{Error, LayerNames, Machine};

/// Least sum of weights that they are divided by, the smallest normal number of f16.
const LEAST_SUM: f32 = 6.103_515_6e-5;

impl Machine<'_> {
    /// The network of one layer: `[tokens, width]` to `[tokens, width]`.
    pub(super) fn feed_forward(
        &self,
        layer: usize,
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let names = LayerNames(layer);
        if !self.tensors.has(&names.of("ffn_gate_inp.weight")) {
            return self.branches(&names, "", Part::Whole, input, observer);
        }
        let experts = self.settings.experts.ok_or_else(|| Error::BadKey {
            key: format!("{}.expert_count", self.settings.family.name),
            found: "missing".to_owned(),
        })?;
        let mut output = self.routed(&names, experts, input, observer)?;
        if self.tensors.has(&names.of("ffn_up_shexp.weight")) {
            let mut shared = self.branches(&names, "_shexp", Part::Whole, input, observer)?;
            let gate = names.of("ffn_gate_inp_shexp");
            if self.tensors.has(&format!("{gate}.weight")) {
                let gates = self.linear(&gate, input, observer)?;
                for (row, gate) in gates.data.iter().enumerate() {
                    let factor = 1.0 / (1.0 + (-gate).exp());
                    shared.row_mut(row).iter_mut().for_each(|value| *value *= factor);
                }
            }
            output.add(&shared);
        }
        Ok(output)
    }

    /// Up, gate and down: of all tokens, of the shared experts (`_shexp`) or of one expert (`_exps`).
    fn branches(
        &self,
        names: &LayerNames,
        suffix: &str,
        part: Part,
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let name = |branch: &str| names.of(&format!("ffn_{branch}{suffix}"));
        let activation = self.settings.family.activation;
        let down = name("down");
        let shape = self.tensors.shape(&format!("{down}.weight")).unwrap_or_default();
        let inner = shape.last().map_or(0, |columns| *columns as usize);
        let both = name("gate_up");
        let fused = if self.tensors.has(&format!("{both}.weight")) { both } else { name("up") };
        let mut up = self.linear_part(&fused, part, input, observer)?;
        let gate = name("gate");
        let branch = if self.tensors.has(&format!("{gate}.weight")) {
            let mut gate = self.linear_part(&gate, part, input, observer)?;
            if gate.data.len() != up.data.len() {
                let (found, expected) = (vec![gate.columns as u64], vec![up.columns as u64]);
                return Err(Error::Shape { tensor: name("gate"), found, expected });
            }
            activation.gated(&mut gate, &up);
            gate
        } else if up.columns == 2 * inner {
            let mut gate = up.columns_of(0, inner);
            activation.gated(&mut gate, &up.columns_of(inner, inner));
            gate
        } else {
            activation.plain(&mut up);
            up
        };
        self.linear_part(&down, part, &branch, observer)
    }

    /// The experts of every token, weighted.
    fn routed(
        &self,
        names: &LayerNames,
        experts: Experts,
        input: &Matrix,
        observer: &mut dyn Observer,
    ) -> Result<Matrix, Error> {
        let scores = self.linear(&names.of("ffn_gate_inp"), input, observer)?;
        let count = scores.columns;
        let bias = self.tensors.vector(&names.of("exp_probs_b.bias"), &[count])?;
        let routing = self.settings.family.routing;
        let mut tokens: Vec<Vec<(usize, f32)>> = vec![Vec::new(); count];
        for (row, scores) in scores.data.chunks_exact(count).enumerate() {
            for (expert, weight) in choose(scores, &bias, &experts, routing) {
                tokens[expert].push((row, weight));
            }
        }
        let mut output = Matrix::zeros(input.rows(), self.settings.width);
        for (expert, tokens) in tokens.into_iter().enumerate() {
            let mut seen = input.gather(tokens.iter().map(|(row, _)| *row));
            if routing.weighs_input {
                weigh(&mut seen, &tokens);
            }
            let part = Part::Expert { index: expert, of: count };
            let mut result = self.branches(names, "_exps", part, &seen, observer)?;
            if !routing.weighs_input {
                weigh(&mut result, &tokens);
            }
            if !tokens.is_empty() && result.columns != output.columns {
                let (found, expected) = (vec![result.columns as u64], vec![output.columns as u64]);
                return Err(Error::Shape { tensor: names.of("ffn_down_exps.weight"), found, expected });
            }
            for (index, (row, _)) in tokens.iter().enumerate() {
                let sum = output.row_mut(*row).iter_mut();
                sum.zip(result.row(index)).for_each(|(sum, value)| *sum += value);
            }
        }
        Ok(output)
    }
}

fn weigh(rows: &mut Matrix, tokens: &[(usize, f32)]) {
    for (index, (_, weight)) in tokens.iter().enumerate() {
        rows.row_mut(index).iter_mut().for_each(|value| *value *= weight);
    }
}

/// The experts of one token and their weights.
fn choose(scores: &[f32], bias: &[f32], experts: &Experts, routing: Routing) -> Vec<(usize, f32)> {
    let probabilities: Vec<f32> = match experts.gating {
        Gating::Softmax => softmax(scores),
        Gating::Sigmoid => scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect(),
        Gating::SoftmaxOfChosen => scores.to_vec(),
    };
    let mut selection: Vec<f32> = if routing.weighs_input { scores.to_vec() } else { probabilities.clone() };
    selection.iter_mut().zip(bias).for_each(|(score, bias)| *score += bias);
    if experts.groups.0 > 1 {
        leave_out_groups(&mut selection, experts.groups);
    }
    let chosen = largest(&selection, experts.used);
    let mut weights: Vec<f32> = chosen.iter().map(|expert| probabilities[*expert]).collect();
    if experts.gating == Gating::SoftmaxOfChosen {
        weights = softmax(&weights);
    }
    if experts.normalized {
        let sum = weights.iter().sum::<f32>().max(LEAST_SUM);
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    chosen.into_iter().zip(weights).map(|(expert, weight)| (expert, weight * experts.scale)).collect()
}

/// Only the groups with the largest sum of their two best experts take part.
fn leave_out_groups(selection: &mut [f32], (groups, used): (usize, usize)) {
    let size = selection.len() / groups;
    let best_two = |group: &[f32]| largest(group, 2).into_iter().map(|expert| group[expert]).sum::<f32>();
    let scores: Vec<f32> = selection.chunks_exact(size).map(best_two).collect();
    let kept = largest(&scores, used);
    for (number, group) in selection.chunks_exact_mut(size).enumerate() {
        if !kept.contains(&number) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Places of the `count` largest values, the largest first.
fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(count);
    order
}

fn softmax(values: &[f32]) -> Vec<f32> {
    let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut weights: Vec<f32> = values.iter().map(|value| (value - most).exp()).collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPERTS: Experts = Experts { used: 2, gating: Gating::Softmax, normalized: true, scale: 1.0, groups: (0, 0) };
    const ROUTING: Routing = Routing { gating: Gating::Softmax, normalized: true, weighs_input: false };

    #[test]
    fn weights_of_the_chosen_add_up_to_one() {
        let chosen = choose(&[0.0, 2.0, 1.0, -1.0], &[], &EXPERTS, ROUTING);
        assert_eq!([chosen[0].0, chosen[1].0], [1, 2]);
        assert!((chosen[0].1 + chosen[1].1 - 1.0).abs() < 1e-6);
        assert!((chosen[0].1 / chosen[1].1 - 1f32.exp()).abs() < 1e-4);
    }

    #[test]
    fn a_bias_changes_the_choice_and_not_the_weights() {
        let sigmoid = Experts { gating: Gating::Sigmoid, normalized: false, ..EXPERTS };
        let chosen = choose(&[0.0, 2.0, 1.0, -1.0], &[9.0, 0.0, 0.0, 0.0], &sigmoid, ROUTING);
        assert_eq!(chosen[0], (0, 0.5));
        assert_eq!(chosen[1].0, 1);
    }

    #[test]
    fn groups_that_are_not_chosen_take_no_part() {
        let grouped = Experts { groups: (2, 1), ..EXPERTS };
        // the second group has the larger pair, the first the larger single score
        let chosen = choose(&[3.0, -9.0, 2.5, 2.5], &[], &grouped, ROUTING);
        assert_eq!([chosen[0].0, chosen[1].0], [2, 3]);
    }
}
