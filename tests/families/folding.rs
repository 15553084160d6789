//! Folded scales change nothing that a model computes: for every family that can be run, from its checkpoint and from GGUF.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use weightmill::arch::Choices;
use weightmill::folding::{Folding, Link, Origin};
use weightmill::forward::{Activation, Activations, Machine, Options};
use weightmill::input::Input;
use weightmill_formats::Pickles;
use weightmill_kernels::Level;

use crate::checkpoint::Checkpoint;
use crate::{cases, convert};

const SEQUENCE: usize = 32;

/// What a layer adds to the activations of some tokens.
struct Added {
    values: Vec<f32>,
    /// The largest activation: what is added is known no better than that is.
    largest: f32,
    /// Relative error that a layer's function may make: GELU is computed in f16, as llama.cpp does, and others in f32.
    precision: f32,
}

/// What every layer adds.
fn added(input: &Input) -> Option<Vec<Added>> {
    let options = Options {
        sequence: SEQUENCE,
        max_memory: 256 << 20,
        folder: std::env::temp_dir(),
        level: Level::detect(),
        activations: Activations::Exact,
    };
    let cancel = AtomicBool::new(false);
    let machine = Machine::new(&input.model, &input.weights, options, &cancel).ok()?;
    let tokens: Vec<u32> = (0..2 * SEQUENCE as u32).map(|at| (at * at * 7 + 3) % machine.vocabulary() as u32).collect();
    let mut stream = machine.embed(&tokens).unwrap();
    let mut before = stream.read(0..tokens.len()).unwrap().data;
    let precision = if machine.settings().family.activation == Activation::Gelu { 1e-3 } else { 1e-4 };
    let layers = (0..machine.settings().layers).map(|layer| {
        machine.layer(layer, &mut stream, &mut ()).unwrap();
        let after = stream.read(0..tokens.len()).unwrap().data;
        let values = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        before = after;
        Added { values, largest: largest(&before), precision }
    });
    Some(layers.collect())
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0f32, |most, value| most.max(value.abs()))
}

/// Scales between a quarter and four that have nothing to do with each other.
fn scales(links: &[Link]) -> Vec<Vec<f32>> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((state >> 40) as f32 / (1u64 << 24) as f32) * 4.0 - 2.0).exp2()
    };
    links.iter().map(|link| (0..link.channels).map(|_| next()).collect()).collect()
}

/// Folds scales, and compares; kinds of links that there were.
fn check(path: &Path) -> Result<Option<[bool; 3]>, String> {
    let Ok(mut input) = Input::open(path, Pickles::Refuse, &Choices::default()) else { return Ok(None) };
    let Some(expected) = added(&input) else { return Ok(None) };
    let folding = Folding::new(&input.model, &input.weights, &|_| true).unwrap();
    let links = folding.links();
    let of = |wanted: &dyn Fn(&Link) -> bool| links.iter().any(wanted);
    let kinds = [
        of(&|link| matches!(link.origin, Origin::Norm(_))),
        of(&|link| link.users[0].tensor.contains("attn_output")),
        of(&|link| link.users[0].tensor.contains("ffn_down")),
    ];
    let scales = scales(links);
    folding.fold(&mut input.weights, &scales, &|_| Vec::new(), Level::detect());
    let found = added(&input).unwrap();
    for (layer, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let differences: Vec<f32> = found.values.iter().zip(&expected.values).map(|(a, b)| a - b).collect();
        let (difference, allowed) =
            (largest(&differences), expected.precision * largest(&expected.values) + 1e-6 * expected.largest);
        if differences.iter().any(|value| value.is_nan()) || difference > allowed {
            return Err(format!("layer {layer}: {difference}, not {allowed}"));
        }
    }
    Ok(Some(kinds))
}

#[test]
fn folded_models_compute_the_same() {
    let (mut failures, mut seen) = (Vec::new(), Vec::new());
    for (name, case) in cases() {
        let checkpoint = Checkpoint::make(&name, &case);
        let (_, gguf) = convert(&checkpoint, &case);
        for (form, path) in [("checkpoint", &checkpoint.path), ("GGUF", &gguf)] {
            match check(path) {
                Ok(None) => {}
                Ok(Some(kinds)) => seen.push((format!("{name} as {form}"), kinds)),
                Err(error) => failures.push(format!("{name} as {form}: {error}")),
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let kinds = |wanted: &str| seen.iter().find(|(name, _)| name == wanted).map(|(_, kinds)| *kinds);
    assert_eq!(kinds("llama as checkpoint"), Some([true; 3]));
    assert_eq!(kinds("qwen3_moe as GGUF"), Some([true; 3]));
    // no norms before, but one in every head and a gated network
    assert_eq!(kinds("olmo2 as checkpoint"), Some([false, true, true]));
    // a function follows the only branch
    assert_eq!(kinds("starcoder2 as GGUF"), Some([true, true, false]));
}
