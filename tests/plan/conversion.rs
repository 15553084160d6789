//! Checkpoints to F32, F16 and BF16: what llama.cpp's converter alone would write.

use weightmill::options::Request;
use weightmill_formats::Value;
use weightmill_kernels::Dtype;

use crate::golden::Golden;
use crate::source::Tensors;
use crate::{read_back, request};

/// A checkpoint whose weights are of this type, matrices and vectors alike.
fn checkpoint(dtype: Dtype) -> Tensors {
    let mut source = Tensors::of(&Golden::named("llama_grouped"));
    source.format = "safetensors";
    for tensor in &mut source.tensors {
        tensor.dtype = dtype;
        tensor.bytes = dtype.byte_size(tensor.weights()).expect("whole blocks");
    }
    source
}

#[test]
fn order_of_tensors_and_metadata_stays() {
    let source = checkpoint(Dtype::F32);
    let plan = source.plan(None, &request(&["F16"])).expect("a plan");
    let file = read_back(&plan.outputs[0].parts[0]);
    let names = |tensors: &[weightmill_formats::TensorInfo]| {
        tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&file.tensors), names(&source.tensors));
    let keys: Vec<&str> = file.metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, source.metadata.iter().map(|(key, _)| key).collect::<Vec<_>>());
    assert_eq!(file.metadata.get("general.file_type"), Some(&Value::U32(1)));
}

#[test]
fn vectors_and_norms_stay_f32() {
    for (name, wanted) in [("F32", Dtype::F32), ("F16", Dtype::F16), ("BF16", Dtype::BF16)] {
        let plan = checkpoint(Dtype::F32).plan(None, &request(&[name])).expect("a plan");
        for tensor in &plan.outputs[0].tensors {
            let expected = if tensor.name.contains("norm") { Dtype::F32 } else { wanted };
            assert_eq!(tensor.to, expected, "{name}: {}", tensor.name);
        }
    }
}

#[test]
fn weights_go_straight_to_their_type() {
    let plan = checkpoint(Dtype::F16).plan(None, &request(&["F16", "BF16"])).expect("a plan");
    let types = |output: usize| {
        let tensor =
            plan.outputs[output].tensors.iter().find(|tensor| tensor.name == "output.weight").expect("a tensor");
        (tensor.from, tensor.via, tensor.to)
    };
    assert_eq!(types(0), (Dtype::F16, Dtype::F16, Dtype::F16), "copied");
    assert_eq!(types(1), (Dtype::F16, Dtype::F32, Dtype::BF16));
}

#[test]
fn quantized_types_go_through_the_type_of_the_model() {
    let plan = checkpoint(Dtype::BF16).plan(None, &request(&["Q8_0"])).expect("a plan");
    assert!(plan.outputs[0].tensors.iter().all(|tensor| tensor.via == Dtype::BF16));
    assert_eq!(plan.outputs[0].tensors[0].name, "output.weight", "sorted");
}

#[test]
fn options_of_llama_quantize_make_its_file() {
    let options = Request { overrides: vec!["a.b=int:1".parse().expect("an override")], ..request(&["F16"]) };
    let plan = checkpoint(Dtype::BF16).plan(None, &options).expect("a plan");
    let file = read_back(&plan.outputs[0].parts[0]);
    let keys: Vec<&str> = file.metadata.iter().map(|(key, _)| key).collect();
    assert_eq!(keys[keys.len() - 3..], ["general.quantization_version", "general.file_type", "a.b"]);
    assert_eq!(file.tensors[0].name, "output.weight");
}
