//! Layouts that no fixture has, decoded as they are defined.

use serde_json::json;
use weightmill::scheme;
use weightmill::weights::Storage;
use weightmill_kernels::Dtype::{self, BF16, F8_E4M3, F8_E8M0, F16, F32, I8, I32, U8, U32};
use weightmill_kernels::Level;

use crate::memory::Memory;

/// Name, shape and values of the only encoded weight.
fn decode(source: Memory, config: serde_json::Value) -> (String, Vec<u64>, Vec<f32>) {
    let (weights, _) = scheme::read(Box::new(source), Some(&config)).unwrap();
    let [weight] = weights.list() else { panic!("one weight") };
    assert!(matches!(weight.storage, Storage::Encoded(_)));
    let columns = weight.columns();
    let rows = weight.elements() as usize / columns;
    let mut values = vec![f32::NAN; rows * columns];
    weights.decode(weight, Level::detect(), 0..rows, 0..columns, &mut values);
    (weight.name.clone(), weight.shape.clone(), values)
}

fn f32s(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Settings of compressed-tensors that say 4 bits.
fn int4() -> serde_json::Value {
    json!({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"type": "int", "num_bits": 4}}}})
}

/// 1.0 as F8_E4M3.
const ONE: u8 = 0x38;

#[test]
fn blocks_of_a_grid_end_at_the_edges_of_each_matrix_of_a_stack() {
    // Two matrices of 130 x 200 ones, in blocks of 64 x 128: three rows of two blocks, the last ones partial.
    let scales: Vec<f32> = (1..=12).map(|number| number as f32).collect();
    let source = Memory::default().filled("experts.gate_up_proj", F8_E4M3, &[2, 130, 200], ONE).with(
        "experts.gate_up_proj_scale_inv",
        F32,
        &[2, 3, 2],
        &f32s(scales),
    );
    let (name, shape, values) = decode(source, json!({"quant_method": "fp8", "weight_block_size": [64, 128]}));
    assert_eq!((name.as_str(), shape.as_slice()), ("experts.gate_up_proj", &[2, 130, 200][..]));
    for (at, value) in values.iter().enumerate() {
        let (matrix, row, column) = (at / 200 / 130, at / 200 % 130, at % 200);
        assert_eq!(*value, (1 + matrix * 6 + row / 64 * 2 + column / 128) as f32, "{matrix}, {row}, {column}");
    }
}

#[test]
fn scales_of_every_extent_are_told_by_their_shape() {
    /// Shapes of weights and scales; the number of the scale for a matrix, row and column.
    type Extent = (&'static [u64], &'static [u64], fn(usize, usize, usize) -> usize);
    let cases: [Extent; 9] = [
        (&[4, 64], &[], |_, _, _| 0),
        (&[4, 64], &[1], |_, _, _| 0),
        (&[4, 64], &[4], |_, row, _| row),
        (&[4, 64], &[4, 1], |_, row, _| row),
        (&[4, 64], &[4, 2], |_, row, column| 2 * row + column / 32),
        (&[4, 64], &[2, 1, 4, 1], |_, row, column| row / 2 * 4 + column / 16),
        (&[3, 4, 64], &[3], |matrix, _, _| matrix),
        (&[3, 4, 64], &[3, 4, 1], |matrix, row, _| 4 * matrix + row),
        // Llama 4 of FBGEMM: the last dimension is that of the outputs.
        (&[3, 4, 64], &[3, 1, 64], |matrix, _, column| 64 * matrix + column),
    ];
    for (weights, scales, index) in cases {
        let numbers = (0..scales.iter().product::<u64>()).map(|number| number as f32 + 0.5);
        let source = Memory::default().filled("m.weight", F8_E4M3, weights, ONE).with(
            "m.weight_scale",
            F32,
            scales,
            &f32s(numbers),
        );
        let (_, _, values) = decode(source, json!({}));
        for (at, value) in values.iter().enumerate() {
            let expected = index(at / 64 / 4, at / 64 % 4, at % 64) as f32 + 0.5;
            assert_eq!(*value, expected, "scales {scales:?} of {weights:?}, weight {at}");
        }
    }
}

#[test]
fn scales_go_by_all_their_names_and_types() {
    let half: [(&str, Dtype, &[u8]); 7] = [
        ("m.weight_scale", F32, &[0, 0, 0, 0x3f]),
        ("m.weight_scale_inv", BF16, &[0, 0x3f]),
        ("m.weight_scale_inv", F8_E8M0, &[126]),
        ("m.weight_scale_inv", U8, &[126]),
        ("m.weight_scale", F16, &[0, 0x38]),
        ("m.scale", F8_E8M0, &[126]),
        ("m.qscale_weight", BF16, &[0, 0x3f]),
    ];
    for (name, dtype, bytes) in half {
        let source = Memory::default().filled("m.weight", F8_E4M3, &[2, 16], ONE).with(name, dtype, &[1], bytes);
        let (weight, _, values) = decode(source, json!({}));
        assert_eq!((weight.as_str(), values), ("m.weight", vec![0.5; 32]), "{name} of type {dtype}");
    }
    let e5m2 =
        Memory::default().filled("m.weight", Dtype::F8_E5M2, &[2, 16], 0x3c).filled("m.weight_scale", BF16, &[1], 0x40);
    assert_eq!(decode(e5m2, json!({})).2, [3.0; 32]);
}

#[test]
fn four_bit_floats_with_the_names_of_deepseek_v4() {
    // Codes 2 (1.0) and 9 (-0.5), the lower half of a byte first; 2^1 and 2^-1 for the two groups.
    let source = Memory::default().filled("m.weight", I8, &[2, 32], 0x92).with(
        "m.scale",
        F8_E8M0,
        &[2, 2],
        &[128, 126, 126, 128],
    );
    let (_, shape, values) = decode(source, json!({"quant_method": "fp8", "expert_dtype": "fp4"}));
    assert_eq!(shape, [2, 64]);
    for (at, value) in values.iter().enumerate() {
        let scale = if (at / 32) % 4 == 0 || at / 32 == 3 { 2.0 } else { 0.5 };
        assert_eq!(*value, scale * if at % 2 == 0 { 1.0 } else { -0.5 }, "weight {at}");
    }
}

#[test]
fn columns_of_compressed_tensors_in_another_order() {
    // Columns 0 and 2 belong to group 1, the others to group 0.
    let order: Vec<u8> = (0..16_i32).flat_map(|column| i32::from(column == 0 || column == 2).to_le_bytes()).collect();
    let source = Memory::default()
        .filled("m.weight_packed", I32, &[1, 2], 0x99)
        .with("m.weight_shape", I32, &[2], &[1, 0, 0, 0, 16, 0, 0, 0])
        .with("m.weight_scale", F32, &[1, 2], &f32s([3.0, 5.0]))
        .with("m.weight_g_idx", I32, &[16], &order);
    let (_, _, values) = decode(source, int4());
    let expected: Vec<f32> = (0..16).map(|column| if column == 0 || column == 2 { 5.0 } else { 3.0 }).collect();
    assert_eq!(values, expected);
}

#[test]
fn zero_points_of_old_compressed_tensors_are_not_packed() {
    let source = Memory::default()
        .filled("m.weight_packed", I32, &[2, 1], 0x99)
        .with("m.weight_shape", Dtype::I64, &[2], &[[2_u64.to_le_bytes(), 8_u64.to_le_bytes()].concat()].concat())
        .with("m.weight_scale", F32, &[2, 1], &f32s([1.0, 2.0]))
        .with("m.weight_zero_point", I8, &[2, 1], &[3, 0xff]);
    assert_eq!(decode(source, int4()).2, [[-2.0; 8], [4.0; 8]].concat());
    let source = Memory::default()
        .with("m.weight", I8, &[2, 2], &[0x80, 0x7f, 1, 0xff])
        .with("m.weight_scale", F32, &[2, 1], &f32s([1.0, 2.0]))
        .with("m.weight_zero_point", I8, &[2, 1], &[3, 0xff]);
    assert_eq!(decode(source, json!({})).2, [-131.0, 124.0, 4.0, 0.0]);
}

#[test]
fn stacks_of_experts_of_mlx() {
    let source = Memory::default()
        .filled("m.switch_mlp.up_proj.weight", U32, &[3, 2, 4], 0x11)
        .with("m.switch_mlp.up_proj.scales", F32, &[3, 2, 1], &f32s((1..=6).map(|number| number as f32)))
        .with("m.switch_mlp.up_proj.biases", F32, &[3, 2, 1], &f32s([0.5; 6]));
    let config = json!({"bits": 8, "group_size": 64, "m.switch_mlp.up_proj": {"bits": 4, "group_size": 32}});
    let (_, shape, values) = decode(source, config);
    assert_eq!(shape, [3, 2, 32]);
    for (at, value) in values.iter().enumerate() {
        assert_eq!(*value, (at / 32 + 1) as f32 + 0.5);
    }
}

#[test]
fn symmetry_of_gptq_is_that_of_the_module() {
    let source = || {
        Memory::default()
            .filled("model.layers.3.m.qweight", I32, &[4, 8], 0x99)
            .filled("model.layers.3.m.qzeros", I32, &[1, 1], 0x32)
            .with("model.layers.3.m.scales", F16, &[1, 8], &[0, 0x3c].repeat(8))
    };
    let first = |config| decode(source(), config).2[0];
    // Codes of 9, zero points of 2 and 3 in turn, of 8 if symmetric.
    assert_eq!(first(json!({"quant_method": "gptq", "sym": true})), 1.0);
    assert_eq!(first(json!({"quant_method": "gptq", "sym": false})), 6.0);
    assert_eq!(first(json!({"quant_method": "gptq", "sym": false, "checkpoint_format": "gptq_v2"})), 7.0);
    let dynamic =
        |pattern: &str, sym: bool| json!({"quant_method": "gptq", "sym": !sym, "dynamic": {pattern: {"sym": sym}}});
    assert_eq!(first(dynamic(r"+:model\.layers\.3\.", true)), 1.0);
    assert_eq!(first(dynamic(r"layers\.3", true)), 6.0, "patterns match from the beginning");
    assert_eq!(first(dynamic(r"-:model", true)), 6.0);
    assert_eq!(first(dynamic(r".*\.3\.m", false)), 6.0);
    let auto_round = json!({"quant_method": "auto-round", "packing_format": "auto_round", "sym": true, "extra_config": {"model.layers.3.m": {"sym": false}}});
    assert_eq!(first(auto_round), 7.0);
    let bad = json!({"quant_method": "gptq", "dynamic": {"(": {"sym": true}}});
    let error = scheme::read(Box::new(source()), Some(&bad)).err().unwrap().to_string();
    assert!(error.contains("dynamic"), "{error}");
}

#[test]
fn settings_are_found_where_publishers_put_them() {
    let find = |config| scheme::quantization_config(&config).cloned();
    assert_eq!(
        find(json!({"quantization": {"bits": 4}, "quantization_config": {"quant_method": "awq"}})),
        Some(json!({"bits": 4}))
    );
    assert_eq!(find(json!({"text_config": {"quantization_config": {"bits": 3}}})), Some(json!({"bits": 3})));
    assert_eq!(find(json!({"compression_config": {"bits": 2}})), Some(json!({"bits": 2})));
    assert_eq!(find(json!({"quantization_config": null, "quantization": {}})), None);
    // hf_quant_config.json
    let source = Memory::default().filled("m.weight", F8_E4M3, &[2, 16], ONE).filled("m.weight_scale", F32, &[], 0x40);
    decode(source, json!({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}));
}
