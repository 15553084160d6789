//! What is wrong with a checkpoint is an error that says so; no numbers of a file make decoding panic.

use serde_json::{Value as Json, json};
use weightmill::scheme::{self, SchemeError};
use weightmill::weights::{Storage, Weights};
use weightmill_formats::TensorInfo;
use weightmill_kernels::Dtype::{self, BF16, F8_E4M3, F16, F32, I8, I32, I64, U8, U32};
use weightmill_kernels::Level;

use crate::golden::CASES;
use crate::memory::Memory;

fn read(source: Memory, config: Json) -> Result<(Weights, Vec<String>), SchemeError> {
    scheme::read(Box::new(source), Some(&config))
}

/// The message about a checkpoint, which must contain all of `parts`.
#[track_caller]
fn refused(source: Memory, config: Json, parts: &[&str]) {
    let message = match read(source, config) {
        Ok(_) => panic!("read, though it should be refused for {parts:?}"),
        Err(error) => error.to_string(),
    };
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

fn shape(rows: i64, columns: i64) -> Vec<u8> {
    [rows.to_le_bytes(), columns.to_le_bytes()].concat()
}

/// 8 rows of 64 columns in groups of 32.
fn packed() -> Memory {
    Memory::default().filled("m.weight_packed", I32, &[8, 8], 0x55).filled("m.weight_scale", BF16, &[8, 2], 0x3f).with(
        "m.weight_shape",
        I64,
        &[2],
        &shape(8, 64),
    )
}

fn gptq() -> Memory {
    Memory::default()
        .filled("m.qweight", I32, &[8, 8], 0x55)
        .filled("m.qzeros", I32, &[2, 1], 0x65)
        .filled("m.scales", F16, &[2, 8], 0x22)
        .filled("m.g_idx", I32, &[64], 0)
}

fn block_fp8() -> Memory {
    Memory::default().filled("m.weight", F8_E4M3, &[256, 384], 0x38).filled("m.weight_scale_inv", F32, &[2, 3], 0x3f)
}

/// `source` with another shape of one tensor, of which the first bytes stay.
fn reshaped(source: &Memory, name: &str, shape: &[u64]) -> Memory {
    source.changed(|mut tensors| {
        let (tensor, bytes) =
            tensors.iter_mut().find(|(tensor, _)| tensor.name == name).expect("a tensor of that name");
        tensor.shape = shape.to_vec();
        bytes.resize(tensor.dtype.byte_size(shape.iter().product()).unwrap() as usize, 0);
        tensors
    })
}

fn retyped(source: &Memory, name: &str, dtype: Dtype) -> Memory {
    source.changed(|mut tensors| {
        let (tensor, bytes) =
            tensors.iter_mut().find(|(tensor, _)| tensor.name == name).expect("a tensor of that name");
        tensor.dtype = dtype;
        bytes.resize(dtype.byte_size(tensor.shape.iter().product()).unwrap() as usize, 0);
        tensors
    })
}

fn without(source: &Memory, name: &str) -> Memory {
    source.changed(|mut tensors| {
        tensors.retain(|(tensor, _)| tensor.name != name);
        tensors
    })
}

#[test]
fn the_checkpoints_that_the_defects_are_made_of_are_sound() {
    for source in [packed(), gptq(), block_fp8()] {
        let (weights, _) = read(source, json!({})).unwrap();
        assert_eq!(weights.list().len(), 1);
        assert_eq!(weights.list()[0].name, "m.weight");
    }
}

#[test]
fn methods_that_are_not_read_are_named() {
    for (config, found) in [
        (json!({"quant_method": "aqlm"}), "quant_method \"aqlm\""),
        (json!({"quant_method": 7}), "quant_method 7"),
        (json!({"quant_method": "awq", "version": "gemv"}), "AWQ of version \"gemv\""),
        (json!({"quant_method": "gptq", "checkpoint_format": "marlin"}), "\"marlin\""),
        (json!({"quant_method": "compressed-tensors", "format": "marlin-24"}), "\"marlin-24\""),
        (
            json!({"quant_method": "compressed-tensors", "config_groups": {"a": {"format": "sparse-24-bitmask"}}}),
            "\"sparse-24-bitmask\"",
        ),
        (json!({"sparsity_config": {"format": "sparse-bitmask"}}), "\"sparse-bitmask\""),
        (json!({"transform_config": {"config_groups": {"u": {"type": "hadamard"}}}}), "transform_config"),
    ] {
        refused(packed(), config, &[found, "is not read", "convert the unquantized checkpoint"]);
    }
    refused(packed(), json!("int4"), &["quantization_config", "an object is expected"]);
    read(packed(), json!({"transform_config": {}, "sparsity_config": {}})).unwrap();
    read(packed(), json!({"transform_config": {"config_groups": {}}, "sparsity_config": null})).unwrap();
}

#[test]
fn tensors_that_are_not_read_are_named() {
    for name in ["m.pre_quant_scale", "m.weight_svdquant_lora_a", "m.qbiases", "n.W_q", "n.weight._data"] {
        refused(packed().filled(name, F32, &[4], 0), json!({}), &[name, "is not read"]);
    }
}

#[test]
fn a_missing_part_is_named() {
    for (source, part) in
        [(packed(), "m.weight_scale"), (packed(), "m.weight_shape"), (gptq(), "m.qzeros"), (gptq(), "m.scales")]
    {
        refused(without(&source, part), json!({}), &["model.safetensors", part, "is missing"]);
    }
    refused(without(&gptq(), "m.g_idx"), json!({"desc_act": true}), &["m.g_idx", "is missing"]);
    read(without(&gptq(), "m.g_idx"), json!({"desc_act": false})).unwrap();
}

#[test]
fn a_part_of_nothing_is_named() {
    for (source, codes, orphan) in [
        (packed(), "m.weight_packed", "m.weight_scale"),
        (gptq(), "m.qweight", "m.qzeros"),
        (block_fp8(), "m.weight", "m.weight_scale_inv"),
    ] {
        refused(without(&source, codes), json!({"quant_method": "fp8"}), &[orphan, "belongs to no quantized weight"]);
    }
}

#[test]
fn codes_without_a_meaning_are_an_error_where_there_are_settings() {
    let unscaled = without(&block_fp8(), "m.weight_scale_inv");
    refused(unscaled.clone(), json!({"quant_method": "fp8"}), &["m.weight", "F8_E4M3", "nothing beside it"]);
    let (weights, notes) = scheme::read(Box::new(unscaled), None).unwrap();
    assert!(matches!(weights.list()[0].storage, Storage::Plain(0)) && notes.is_empty());
    refused(
        Memory::default().filled("m.weight", U8, &[8, 8], 1),
        json!({"quant_method": "modelopt"}),
        &["m.weight", "U8"],
    );
}

#[test]
fn the_same_weight_twice_is_an_error() {
    let twice = packed().filled("m.weight", BF16, &[8, 64], 0);
    refused(twice, json!({}), &["\"m.weight\"", "m.weight_packed"]);
    let scales = block_fp8().filled("m.weight_scale", F32, &[2, 3], 0);
    refused(scales, json!({}), &["m.weight_scale", "second scale"]);
    let names = packed().filled("m.weight_scale", BF16, &[8, 2], 0);
    refused(names, json!({}), &["m.weight_scale"]);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    for (source, tensor, shape) in [
        (packed(), "m.weight_packed", &[8, 9][..]),
        (packed(), "m.weight_packed", &[8, 0]),
        (packed(), "m.weight_packed", &[7, 8]),
        (packed(), "m.weight_packed", &[64]),
        (packed(), "m.weight_scale", &[8, 3]),
        (packed(), "m.weight_scale", &[2, 8]),
        (packed(), "m.weight_scale", &[3]),
        (packed(), "m.weight_shape", &[3]),
        (gptq(), "m.qweight", &[8, 7]),
        (gptq(), "m.qweight", &[8, 1, 8]),
        (gptq(), "m.qzeros", &[2, 3]),
        (gptq(), "m.qzeros", &[3, 1]),
        (gptq(), "m.scales", &[2, 7]),
        (gptq(), "m.g_idx", &[63]),
        (block_fp8(), "m.weight_scale_inv", &[3, 2]),
        (block_fp8(), "m.weight_scale_inv", &[2, 4]),
        (block_fp8(), "m.weight_scale_inv", &[384]),
        (block_fp8(), "m.weight_scale_inv", &[2, 3, 2]),
    ] {
        let config = json!({"weight_block_size": [128, 128], "config_groups": {"g": {"weights": {"num_bits": 4}}}});
        refused(reshaped(&source, tensor, shape), config, &["model.safetensors", "shape"]);
    }
}

#[test]
fn types_that_do_not_fit_are_errors() {
    for (source, tensor, dtype) in [
        (packed(), "m.weight_shape", U8),
        (packed(), "m.weight_scale", I32),
        (gptq(), "m.qweight", U32),
        (gptq(), "m.qzeros", F32),
        (gptq(), "m.scales", U8),
        (gptq(), "m.g_idx", I64),
        (block_fp8(), "m.weight_scale_inv", I8),
    ] {
        refused(retyped(&source, tensor, dtype), json!({}), &[tensor, dtype.name(), "expected"]);
    }
}

#[test]
fn values_that_cannot_be_are_errors() {
    let with_shape =
        |rows, columns| without(&packed(), "m.weight_shape").with("m.weight_shape", I64, &[2], &shape(rows, columns));
    for (rows, columns) in [(-8, 64), (8, 0), (8, i64::MAX), (i64::MIN, i64::MIN), (9, 64), (8, 65)] {
        refused(with_shape(rows, columns), json!({}), &["m.weight"]);
    }
    for group in [2_i32, -1, i32::MIN, i32::MAX] {
        let mut indices = vec![0; 256];
        indices[40..44].copy_from_slice(&group.to_le_bytes());
        let source = without(&gptq(), "m.g_idx").with("m.g_idx", I32, &[64], &indices);
        refused(source, json!({}), &["m.g_idx", "column 10", &group.to_string(), "there are 2"]);
    }
    for global in [0.0_f32, -1.0, f32::NAN, f32::INFINITY] {
        let nvfp4 = Memory::default()
            .filled("m.weight_packed", U8, &[4, 32], 0x21)
            .filled("m.weight_scale", F8_E4M3, &[4, 4], 0x38)
            .with("m.weight_global_scale", F32, &[1], &global.to_le_bytes());
        refused(nvfp4, json!({}), &["m.weight_global_scale", "positive and finite"]);
    }
    for text in [
        "",
        "{}",
        "[]",
        "{\"shape\": [4, 64]}",
        "{\"shape\": [4, -1], \"blocksize\": 64}",
        "{\"shape\": [4, 64], \"blocksize\": 0}",
    ] {
        let nf4 = Memory::default()
            .filled("m.weight", U8, &[128, 1], 0)
            .filled("m.weight.absmax", F32, &[4], 0)
            .filled("m.weight.quant_map", F32, &[16], 0)
            .with(
                "m.weight.quant_state.bitsandbytes__nf4",
                U8,
                &[text.len().max(1) as u64],
                if text.is_empty() { b" " } else { text.as_bytes() },
            );
        refused(nf4, json!({}), &["m.weight.quant_state.bitsandbytes__nf4"]);
    }
}

#[test]
fn bits_that_shapes_leave_open_must_be_said() {
    let mlx = || {
        Memory::default().filled("m.weight", U32, &[8, 8], 0x55).filled("m.scales", BF16, &[8, 1], 0x3f).filled(
            "m.biases",
            BF16,
            &[8, 1],
            0,
        )
    };
    refused(mlx(), json!({}), &["bits and group_size", "m.weight"]);
    refused(mlx(), json!({"bits": 4, "group_size": 32}), &["m.weight", "4-bit codes in groups of 32"]);
    refused(mlx(), json!({"bits": 0, "group_size": 64}), &["bits and group_size"]);
    refused(mlx(), json!({"bits": 4, "group_size": u64::MAX}), &["bits and group_size"]);
    for (bits, group) in [(4, 64), (8, 32), (2, 128)] {
        let (weights, _) = read(mlx(), json!({"bits": bits, "group_size": group})).unwrap();
        assert_eq!(weights.list()[0].shape, [8, group]);
    }
}

#[test]
fn auxiliary_tensors_are_no_weights_and_others_stay() {
    let source = packed()
        .filled("m.input_scale", F32, &[1], 0)
        .filled("self_attn.k_scale", F32, &[1], 0)
        .filled("m.bias", BF16, &[8], 0)
        .filled("norm.weight", BF16, &[64], 0);
    let (weights, notes) = read(source, json!({"quant_method": "compressed-tensors"})).unwrap();
    let names: Vec<_> = weights.list().iter().map(|weight| weight.name.as_str()).collect();
    assert_eq!(names, ["m.weight", "m.bias", "norm.weight"]);
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("4 bits") && notes[0].contains("prefer 8 bits, or Q4_0"), "{}", notes[0]);
    let plain = Memory::default().filled("m.input_scale", F32, &[1], 0).filled("m.weight", BF16, &[8, 8], 0);
    assert_eq!(scheme::read(Box::new(plain), None).unwrap().0.list().len(), 2, "a plain checkpoint keeps everything");
}

/// Every fixture, with shapes, types, bytes and settings changed at random: an error or weights, never a panic.
#[test]
fn nothing_in_a_file_makes_decoding_panic() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = move |bound: usize| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) as usize % bound.max(1)
    };
    let (mut read_anyway, mut refused) = (0, 0);
    for round in 0..40 * CASES.len() {
        let case = &CASES[round % CASES.len()];
        let source = case.source.changed(|mut tensors| {
            for _ in 0..=below(2) {
                let at = below(tensors.len());
                mutate(&mut tensors[at], &mut below);
            }
            tensors
        });
        let mut config = case.config.clone();
        if below(3) == 0 {
            mutate_number(&mut config, &mut below);
        }
        let Ok((weights, _)) = scheme::read(Box::new(source), scheme::quantization_config(&config)) else {
            refused += 1;
            continue;
        };
        read_anyway += 1;
        for weight in weights.list() {
            let Storage::Encoded(encoded) = &weight.storage else { continue };
            let columns = weight.columns();
            let rows = weight.elements() as usize / columns;
            assert!(weight.elements() < 1 << 22, "{}: no more weights than there are bits", case.name);
            let mut values = vec![0.0; rows * columns];
            weights.decode(weight, Level::detect(), 0..rows, 0..columns, &mut values);
            if let Some(dtype) = encoded.lossless() {
                let bytes = dtype.byte_size(weight.elements()).expect("whole blocks");
                encoded.repack(weights.source(), 0..rows, &mut vec![0; bytes as usize]);
            }
        }
    }
    assert!(read_anyway > 200 && refused > 200, "{read_anyway} read, {refused} refused: both are looked at");
}

fn mutate((tensor, bytes): &mut (TensorInfo, Vec<u8>), below: &mut impl FnMut(usize) -> usize) {
    let dims = tensor.shape.len();
    match below(8) {
        0 if dims > 1 => tensor.shape.swap(0, dims - 1),
        1 if dims > 0 => tensor.shape[below(dims)] = below(70) as u64,
        2 if dims > 0 => {
            let at = below(dims);
            tensor.shape[at] = tensor.shape[at] * [1, 2, 3, 4][below(4)] / [1, 2, 4][below(3)];
        }
        3 => tensor.shape.insert(below(dims + 1), 1),
        4 if dims > 1 => {
            let last = tensor.shape.pop().expect("two dimensions");
            *tensor.shape.last_mut().expect("one dimension") *= last;
        }
        5 => tensor.dtype = [U8, I8, I32, U32, I64, F16, BF16, F32, F8_E4M3, Dtype::F8_E8M0][below(10)],
        6 => bytes.iter_mut().for_each(|byte| *byte = below(256) as u8),
        _ => tensor.name.push_str(["_scale", "x", "s"][below(3)]),
    }
    let length = tensor.dtype.byte_size(tensor.shape.iter().product()).expect("types of single numbers");
    let fill = bytes.clone();
    *bytes = fill.iter().copied().chain([0]).cycle().take(length as usize).collect();
}

/// Changes one number or flag somewhere in the settings.
fn mutate_number(value: &mut Json, below: &mut impl FnMut(usize) -> usize) {
    match value {
        Json::Object(map) => {
            let at = below(map.len());
            if let Some(inner) = map.values_mut().nth(at) {
                mutate_number(inner, below);
            }
        }
        Json::Array(list) => {
            let at = below(list.len());
            if let Some(inner) = list.get_mut(at) {
                mutate_number(inner, below);
            }
        }
        Json::Number(_) => *value = json!([0_u64, 1, 2, 3, 7, 16, 64, 1 << 20, u64::MAX][below(9)]),
        Json::Bool(flag) => *flag = !*flag,
        _ => {}
    }
}
