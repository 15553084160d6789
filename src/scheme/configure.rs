//! What config.json says of a quantized checkpoint, for those that load it.

use serde_json::{Map, Value as Json, json};

use super::output::OutputScheme;
use crate::options::GroupSize;
use crate::publish::pretty;

/// Makes the statement.
pub(crate) type Configure = fn(&Outcome<'_>) -> Statement;

/// What became of the modules of a checkpoint.
pub(crate) struct Outcome<'a> {
    /// The scheme.
    pub scheme: &'static OutputScheme,
    /// The size of groups that was asked for.
    pub group: GroupSize,
    /// There are zero points.
    pub asymmetric: bool,
    /// Those that are quantized, each with the size of its groups.
    pub coded: &'a [(&'a str, GroupSize)],
    /// Matrices that stay as they are.
    pub left: &'a [&'a str],
}

/// The statement.
#[derive(Debug, Default)]
pub(crate) struct Statement {
    /// Keys of config.json.
    pub keys: Map<String, Json>,
    /// Files beside it.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Statement {
    fn of(settings: Json) -> Self {
        let mut statement = Statement::default();
        statement.keys.insert("quantization_config".to_owned(), settings);
        statement
    }
}

pub(super) const PACKED: Configure = |outcome| compressed(outcome, "pack-quantized", "int", Json::Null);
pub(super) const INT8: Configure = |outcome| {
    let tokens = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true});
    compressed(outcome, "int-quantized", "int", tokens)
};
pub(super) const FP8: Configure = |outcome| {
    let tokens = json!({"num_bits": 8, "type": "float", "symmetric": true, "strategy": "token", "dynamic": true});
    compressed(outcome, "float-quantized", "float", tokens)
};
pub(super) const FP8_BLOCKS: Configure = |outcome| {
    let groups = json!({"num_bits": 8, "type": "float", "symmetric": true, "strategy": "group", "group_size": 128,
        "dynamic": true});
    compressed(outcome, "float-quantized", "float", groups)
};
pub(super) const NVFP4: Configure = |outcome| compressed(outcome, "nvfp4-pack-quantized", "float", Json::Null);
pub(super) const MXFP4: Configure = |outcome| compressed(outcome, "mxfp4-pack-quantized", "float", Json::Null);

/// compressed-tensors. The usual size of groups is that of every Linear; modules with another are named.
fn compressed(outcome: &Outcome<'_>, format: &str, kind: &str, activations: Json) -> Statement {
    let weights = |group: GroupSize| {
        let mut weights = json!({"num_bits": outcome.scheme.bits, "type": kind, "symmetric": !outcome.asymmetric});
        let more = match group {
            GroupSize::Row => json!({"strategy": "channel", "dynamic": false}),
            GroupSize::Columns(16) => json!({"strategy": "tensor_group", "group_size": 16, "dynamic": false,
                "scale_dtype": "torch.float8_e4m3fn", "zp_dtype": "torch.float8_e4m3fn"}),
            GroupSize::Columns(size) if kind == "float" && outcome.scheme.bits == 8 => json!({"strategy": "block",
                "block_structure": [size, size], "dynamic": false}),
            GroupSize::Columns(size) if kind == "float" => json!({"strategy": "group", "group_size": size,
                "dynamic": false, "scale_dtype": "torch.uint8", "zp_dtype": "torch.uint8"}),
            GroupSize::Columns(size) => json!({"strategy": "group", "group_size": size, "dynamic": false}),
        };
        let (weights_map, more) = (weights.as_object_mut().expect("an object"), more);
        weights_map.extend(more.as_object().expect("an object").clone());
        weights
    };
    let group = |targets: Json, size: GroupSize| {
        json!({"targets": targets, "format": format, "weights": weights(size), "input_activations": activations,
            "output_activations": null})
    };
    let mut groups = Map::new();
    groups.insert("group_0".to_owned(), group(json!(["Linear"]), outcome.group));
    for &size in outcome.scheme.groups.iter().filter(|size| **size != outcome.group) {
        let modules = outcome.coded.iter().filter(|(_, own)| *own == size).map(|(module, _)| *module);
        let modules: Vec<&str> = modules.collect();
        if !modules.is_empty() {
            groups.insert(format!("group_{}", groups.len()), group(json!(modules), size));
        }
    }
    let mut ignored = outcome.left.to_vec();
    // A tied one is a Linear without a tensor.
    if !ignored.contains(&"lm_head") {
        ignored.push("lm_head");
    }
    Statement::of(json!({
        "quant_method": "compressed-tensors",
        "format": format,
        "quantization_status": "compressed",
        "config_groups": groups,
        "ignore": ignored,
        "kv_cache_scheme": null,
    }))
}

/// GPTQ: what lies outside of blocks is never quantized, of other modules those that are not are named.
pub(super) const GPTQ: Configure = |outcome| {
    let GroupSize::Columns(size) = outcome.group else { unreachable!("GPTQ has groups") };
    let mut settings = json!({
        "bits": outcome.scheme.bits,
        "group_size": size,
        "desc_act": false,
        "sym": true,
        "lm_head": false,
        "true_sequential": true,
        "quant_method": "gptq",
        "method": "gptq",
        "format": "gptq",
        "checkpoint_format": "gptq",
        "pack_dtype": "int32",
        "meta": {"quantizer": [concat!("weightmill:", env!("CARGO_PKG_VERSION"))]},
    });
    let within = outcome.left.iter().filter(|module| super::select::is_in_block(module));
    let dynamic: Map<String, Json> =
        within.map(|module| (format!("-:^{}$", regex::escape(module)), json!({}))).collect();
    if !dynamic.is_empty() {
        settings["dynamic"] = Json::Object(dynamic);
    }
    let files = vec![("quantize_config.json".to_owned(), pretty(&settings))];
    Statement { files, ..Statement::of(settings) }
};

/// AWQ: modules that are not quantized are named by a part of their name. Where such a name would also be part of one that
/// is, none is named: readers then go by the types of the tensors.
pub(super) const AWQ: Configure = |outcome| {
    let GroupSize::Columns(size) = outcome.group else { unreachable!("AWQ has groups") };
    let mut left = outcome.left.to_vec();
    if !left.contains(&"lm_head") {
        left.push("lm_head");
    }
    let misleading = left.iter().any(|left| outcome.coded.iter().any(|(module, _)| module.contains(left)));
    Statement::of(json!({
        "quant_method": "awq",
        "bits": outcome.scheme.bits,
        "group_size": size,
        "zero_point": true,
        "version": "gemm",
        "modules_to_not_convert": if misleading { Json::Null } else { json!(left) },
    }))
};

/// DeepSeek's: every module that is not quantized is named.
pub(super) const DEEPSEEK: Configure = |outcome| {
    let mut left = outcome.left.to_vec();
    if !left.contains(&"lm_head") {
        left.push("lm_head");
    }
    Statement::of(json!({
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": left,
    }))
};

pub(super) const MLX: Configure = |outcome| mlx(outcome, "affine");
pub(super) const MLX_MXFP4: Configure = |outcome| mlx(outcome, "mxfp4");

/// MLX: what has scales is quantized; only groups of another size are named.
fn mlx(outcome: &Outcome<'_>, mode: &str) -> Statement {
    let GroupSize::Columns(size) = outcome.group else { unreachable!("MLX has groups") };
    let bits = outcome.scheme.bits;
    let mut settings = Map::new();
    settings.insert("group_size".to_owned(), json!(size));
    settings.insert("bits".to_owned(), json!(bits));
    settings.insert("mode".to_owned(), json!(mode));
    for (module, group) in outcome.coded.iter().filter(|(_, group)| *group != outcome.group) {
        let GroupSize::Columns(size) = group else { unreachable!("MLX has groups") };
        settings.insert((*module).to_owned(), json!({"group_size": size, "bits": bits}));
    }
    let mut statement = Statement::of(Json::Object(settings.clone()));
    statement.keys.insert("quantization".to_owned(), Json::Object(settings));
    statement
}
