//! What is refused before the run, and what is warned about.

use weightmill::options::{Fallback, Request, Split};
use weightmill::plan::{ImportanceSummary, PlanError, Weighing};
use weightmill::recipe::ChooseError;
use weightmill_formats::Value;
use weightmill_kernels::Dtype;

use crate::golden::Golden;
use crate::source::Tensors;
use crate::{read_back, request};

fn llama() -> Tensors {
    Tensors::of(&Golden::named("llama_grouped"))
}

/// The same model with all matrices inside blocks of this type.
fn quantized(dtype: Dtype) -> Tensors {
    let mut source = llama();
    for tensor in source.tensors.iter_mut().filter(|tensor| tensor.name.starts_with("blk.") && tensor.shape.len() > 1) {
        tensor.dtype = dtype;
        tensor.bytes = dtype.byte_size(tensor.weights()).expect("whole blocks");
    }
    source
}

fn refusal(source: &Tensors, importance: Option<&ImportanceSummary>, request: &Request) -> PlanError {
    source.plan(importance, request).expect_err("no plan")
}

fn warnings(source: &Tensors, importance: Option<&ImportanceSummary>, request: &Request) -> Vec<String> {
    source.plan(importance, request).expect("a plan").outputs.remove(0).warnings
}

#[test]
fn two_outputs_of_one_path_are_refused() {
    let mut request = request(&["Q4_K_M", "Q8_0"]);
    request.outputs[1].path = request.outputs[0].path.clone();
    assert!(matches!(refusal(&llama(), None, &request), PlanError::DuplicateOutput { .. }));
}

#[test]
fn copy_and_kept_parts_need_gguf() {
    let mut source = llama();
    source.format = "safetensors";
    assert!(matches!(refusal(&source, None, &request(&["COPY"])), PlanError::CopyNeedsGguf { .. }));
    let kept = Request { split: Split::AsInput, ..request(&["Q8_0"]) };
    assert!(matches!(refusal(&source, None, &kept), PlanError::KeepSplitNeedsGguf { .. }));
}

#[test]
fn quantizing_again_is_refused_unless_allowed() {
    let source = quantized(Dtype::Q8_0);
    let mut request = request(&["Q4_K_M"]);
    let error = refusal(&source, None, &request);
    let PlanError::Requantize { names, .. } = &error else { panic!("{error}") };
    assert!(names.contains(&"blk.0.attn_q.weight".to_owned()) && !names.contains(&"output.weight".to_owned()));
    assert!(error.to_string().contains("--allow-requantize"), "{error}");
    request.types.allow_requantize = true;
    assert!(source.plan(None, &request).is_ok());
}

#[test]
fn what_keeps_its_type_is_not_quantized_again() {
    let source = quantized(Dtype::Q8_0);
    for name in ["Q8_0", "COPY"] {
        let plan = source.plan(None, &request(&[name])).expect("nothing changes inside blocks");
        let tensors = &plan.outputs[0].tensors;
        assert!(tensors.iter().any(|tensor| tensor.from == Dtype::Q8_0));
        assert!(tensors.iter().filter(|tensor| tensor.from == Dtype::Q8_0).all(|tensor| tensor.to == tensor.from));
    }
}

#[test]
fn types_without_encoder_or_decoder_are_refused() {
    let mut options = request(&["Q4_K_M"]);
    options.types.tensors = vec!["attn_v=q8_1".parse().expect("an option")];
    let error = refusal(&llama(), None, &options);
    assert!(matches!(&error, PlanError::CannotEncode { to: Dtype::Q8_1, .. }), "{error}");
    let mut options = request(&["Q4_K_M"]);
    options.types.allow_requantize = true;
    let error = refusal(&quantized(Dtype::I16), None, &options);
    assert!(matches!(&error, PlanError::CannotDecode { from: Dtype::I16, .. }), "{error}");
}

#[test]
fn rows_that_do_not_fill_blocks_are_named_or_refused() {
    let source = Tensors::of(&Golden::named("rows_of_576"));
    let mut options = request(&["Q4_K_M"]);
    let told = warnings(&source, None, &options);
    assert!(
        told.iter().any(|warning| warning.starts_with("Q5_0 instead of Q4_K") && warning.contains("attn_q")),
        "{told:?}"
    );
    assert!(
        told.iter().any(|warning| warning.starts_with("Q8_0 instead of Q6_K") && warning.contains("token_embd.weight")),
        "{told:?}"
    );

    options.types.fallback = Fallback::Error;
    let error = refusal(&source, None, &options);
    let PlanError::Fallback { names, .. } = &error else { panic!("{error}") };
    assert!(!names.contains(&"blk.0.ffn_down.weight".to_owned()), "1536 columns fit");
    assert_eq!(names.len(), 12 * 4 + 1, "four matrices in each block, and the embeddings");

    options.types.fallback = Fallback::Allow;
    options.types.token_embedding = Some(Dtype::Q4_K);
    let error = refusal(&source, None, &options);
    assert!(matches!(error, PlanError::Choose(ChooseError::DoesNotFit { columns: 576, .. })), "{error}");
}

#[test]
fn experts_need_a_block_that_exists() {
    let mut source = Tensors::of(&Golden::named("mixtral"));
    let last = source.tensors.iter_mut().find(|tensor| tensor.name == "blk.31.ffn_up_exps.weight").expect("a tensor");
    last.name = "blk.99.ffn_up_exps.weight".to_owned();
    let error = refusal(&source, None, &request(&["Q4_K_M"]));
    assert!(matches!(error, PlanError::Choose(ChooseError::BadBlock { block: 99, layers: 32, .. })), "{error}");
    let last = source.tensors.iter_mut().find(|tensor| tensor.name.starts_with("blk.99")).expect("a tensor");
    last.name = "ffn_up_exps.weight".to_owned();
    let error = refusal(&source, None, &request(&["Q4_K_M"]));
    assert!(matches!(error, PlanError::Choose(ChooseError::NoBlock { .. })), "{error}");
}

#[test]
fn coarse_types_need_importance() {
    let (source, request) = (llama(), request(&["Q2_K_S"]));
    let error = refusal(&source, None, &request);
    assert!(matches!(error, PlanError::NeedsImportance { .. }), "{error}");
    assert!(error.to_string().contains("--imatrix"), "{error}");

    let mut importance = source.importance();
    importance.entries.remove("blk.7.attn_q.weight");
    let error = refusal(&source, Some(&importance), &request);
    let PlanError::MissingImportance { names, .. } = error else { panic!("{error}") };
    assert_eq!(names, ["blk.7.attn_q.weight"]);
}

#[test]
fn importance_of_another_size_is_refused_but_for_embeddings() {
    let (source, request) = (llama(), request(&["Q4_K_M"]));
    let mut importance = source.importance();
    importance.entries.insert("token_embd.weight".to_owned(), 7);
    assert!(source.plan(Some(&importance), &request).is_ok());
    importance.entries.insert("blk.3.attn_q.weight".to_owned(), 255);
    let error = refusal(&source, Some(&importance), &request);
    assert!(matches!(&error, PlanError::ImportanceSize { found: 255, expected: 256, .. }), "{error}");
}

#[test]
fn importance_that_is_missing_or_left_over_is_told() {
    let source = llama();
    let mut importance = source.importance();
    let complete = warnings(&source, Some(&importance), &request(&["Q4_K_M"]));
    assert_eq!(
        complete,
        ["the importance matrix has nothing for 2 tensors, quantized without: output.weight, token_embd.weight"]
    );
    importance.entries.insert("blk.99.attn_q.weight".to_owned(), 256);
    let told = warnings(&source, Some(&importance), &request(&["Q4_K_M"]));
    assert_eq!(told[1], "1 entry matches no tensor: importance matrix, blk.99.attn_q.weight");
    assert_eq!(warnings(&source, None, &request(&["Q4_K_M"])), [""; 0]);
}

#[test]
fn experts_without_importance_are_told_and_refused_on_request() {
    let (experts, columns) = (5, 256);
    let mut source = Tensors::of(&Golden::named("qwen3_moe"));
    let stacked = source.tensors.iter_mut().find(|tensor| tensor.name == "blk.0.ffn_up_exps.weight").expect("experts");
    stacked.shape = vec![experts, 2, columns as u64];
    let stacked = stacked.clone();
    let mut importance = source.importance();
    let second = columns..2 * columns;
    importance.gaps.insert(stacked.name.clone(), vec![second]);
    // Zeros in columns of an expert are nothing unusual, of a whole expert they are.
    importance.zeros.insert(stacked.name.clone(), vec![10..columns, 2 * columns + 32..5 * columns]);
    let plan = source.plan(Some(&importance), &request(&["Q4_K_M"])).expect("a plan");
    let planned = plan.outputs[0].tensors.iter().find(|tensor| tensor.name == stacked.name).expect("a tensor");
    assert_eq!(planned.weighing, Some(Weighing::Partial));
    let told = &plan.outputs[0].warnings;
    let part = |count: u64| format!("blk.0.ffn_up_exps.weight ({count} of {experts} matrices)");
    assert!(told[1].contains("nothing sound") && told[1].ends_with(&part(1)), "{}", told[1]);
    assert!(told[2].contains("zero throughout") && told[2].ends_with(&part(2)), "{}", told[2]);
    let strict = Request { strict_importance: true, ..request(&["Q4_K_M"]) };
    let error = refusal(&source, Some(&importance), &strict);
    assert!(matches!(&error, PlanError::ImportanceGaps { names, .. } if *names == [part(3)]), "{error}");
    assert!(source.plan(Some(&source.importance()), &strict).is_ok());
}

#[test]
fn only_filtered_importance_counts() {
    let source = llama();
    let importance = source.importance();
    let mut options = request(&["Q4_0"]);
    options.importance.include = vec!["ffn_".to_owned()];
    options.importance.exclude = vec!["blk.3.".to_owned()];
    let plan = source.plan(Some(&importance), &options).expect("a plan");
    let tensors = &plan.outputs[0].tensors;
    let used: Vec<&str> = tensors.iter().filter_map(|tensor| tensor.importance.as_deref()).collect();
    assert_eq!(used.len(), 21 * 3);
    assert!(used.iter().all(|name| name.contains("ffn_") && !name.starts_with("blk.3.")));

    // Without any entry the file is that without a matrix.
    options.importance.exclude = vec!["blk".to_owned()];
    let nothing = source.plan(Some(&importance), &options).expect("a plan");
    let without = source.plan(None, &options).expect("a plan");
    assert_eq!(nothing.outputs[0].parts[0].header, without.outputs[0].parts[0].header);
    assert_ne!(plan.outputs[0].parts[0].header, without.outputs[0].parts[0].header);
}

#[test]
fn importance_follows_renumbered_blocks() {
    let source = llama();
    let importance = source.importance();
    let options = Request { prune_layers: [1, 2].into(), ..request(&["Q4_K_M"]) };
    let plan = source.plan(Some(&importance), &options).expect("a plan");
    let moved = plan.outputs[0].tensors.iter().find(|tensor| tensor.name == "blk.1.attn_q.weight").expect("a tensor");
    assert_eq!(moved.importance.as_deref(), Some("blk.3.attn_q.weight"));
    assert_eq!(source.tensors[moved.index].name, "blk.3.attn_q.weight");
    let none = Request { prune_layers: [22].into(), ..request(&["Q4_K_M"]) };
    assert!(matches!(refusal(&source, None, &none), PlanError::NoSuchLayer { layer: 22 }));
}

#[test]
fn patterns_without_effect_are_told() {
    let mut options = request(&["Q4_K_M"]);
    options.types.tensors = vec!["attn_w=q8_0".parse().expect("an option")];
    assert_eq!(warnings(&llama(), None, &options), ["--tensor-type attn_w=Q8_0: no tensor has such a name"]);
    options.outputs = request(&["F16"]).outputs;
    assert_eq!(warnings(&llama(), None, &options), ["--tensor-type has no effect with F16"]);
}

#[test]
fn copies_without_file_type_get_a_guess() {
    let mut source = quantized(Dtype::Q4_K);
    source.metadata.remove("general.file_type");
    let plan = source.plan(None, &request(&["COPY"])).expect("a plan");
    let metadata = read_back(&plan.outputs[0].parts[0]).metadata;
    assert_eq!(metadata.get("general.file_type"), Some(&Value::U32(15 | 1024)));
}
