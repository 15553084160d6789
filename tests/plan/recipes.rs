//! Plans for tiny models of many architectures against what llama.cpp made of the same models.
//!
//! `tests/golden/recipes/*.txt` describe the models and the results; `make.py` beside them made them with llama.cpp's
//! library and says what the lines mean. Types, names, order, metadata, offsets and sizes are compared: all but types
//! through the digest of everything in the file before the first tensor.

use std::collections::BTreeMap;

use weightmill::plan::Plan;

use crate::golden::{Case, Golden, digest};
use crate::source::Tensors;

fn planned(golden: &Golden, case: &Case) -> Plan {
    let source = Tensors::of(golden);
    let importance = case.importance.then(|| source.importance());
    let plan = source.plan(importance.as_ref(), &case.request());
    plan.unwrap_or_else(|error| panic!("{}: {}: {error}", golden.name, case.line))
}

#[test]
fn types_are_those_of_llama_cpp() {
    let mut wrong = Vec::new();
    for golden in Golden::all() {
        for case in &golden.cases {
            let plan = planned(&golden, case);
            let tensors = plan.outputs[0].tensors.iter().filter(|tensor| tensor.shape.len() > 1);
            let chosen: BTreeMap<String, String> = tensors.map(|t| (t.name.clone(), t.to.name().to_owned())).collect();
            let differing = case.types.iter().filter(|(name, dtype)| chosen.get(*name) != Some(*dtype));
            let differing: Vec<_> = differing.map(|(name, dtype)| (name, dtype, chosen.get(name))).take(5).collect();
            if !differing.is_empty() || chosen.len() != case.types.len() {
                wrong.push(format!("{}: {}: (tensor, llama.cpp, ours) {differing:?}", golden.name, case.line));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn headers_are_those_of_llama_cpp() {
    let mut wrong = Vec::new();
    for golden in Golden::all() {
        for case in &golden.cases {
            let plan = planned(&golden, case);
            let files = plan.outputs[0].parts.iter().map(|part| (digest(&part.header), part.bytes));
            let files: Vec<(String, u64)> = files.collect();
            if files.is_empty() || files != case.files {
                wrong.push(format!("{}: {}: {files:?}, llama.cpp {:?}", golden.name, case.line, case.files));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn goldens_cover_every_recipe() {
    let goldens = Golden::all();
    // llama-quantize refuses NVFP4, so there is nothing to compare with.
    for recipe in weightmill::recipe::RECIPES.iter().filter(|recipe| recipe.name != "NVFP4") {
        let covered = goldens.iter().flat_map(|golden| &golden.cases).filter(|case| case.recipe.name == recipe.name);
        assert!(covered.count() >= 3, "{} is planned fewer than three times", recipe.name);
    }
}
