//! What config.json says of the quantization, read with suspicion.

use regex::Regex;
use serde_json::{Map, Value as Json};

use super::error::SchemeError;

/// The values of `quant_method` whose tensors are read. MLX names none.
const METHODS: &[&str] = &[
    "auto-round",
    "awq",
    "bitsandbytes",
    "compressed-tensors",
    "fbgemm_fp8",
    "fp8",
    "gptq",
    "intel/auto-round",
    "modelopt",
    "modelopt_fp4",
    "mxfp4",
];

/// The values of `format` in compressed-tensors whose tensors are read.
const FORMATS: &[&str] = &[
    "dense",
    "float-quantized",
    "int-quantized",
    "mixed-precision",
    "mxfp4-pack-quantized",
    "mxfp6-pack-quantized",
    "mxfp8-quantized",
    "naive-quantized",
    "nvfp4-pack-quantized",
    "pack-quantized",
];

/// What a user can do about weights that are not read.
const REMEDY: &str = "convert the unquantized checkpoint that it was made from";

/// The settings of the quantization; there may be none.
pub(super) struct Settings<'a>(Option<&'a Map<String, Json>>);

/// The version of GPTQ's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GptqVersion {
    /// Zero points are stored less one.
    V1,
    /// Zero points are stored as they are.
    V2,
}

/// The settings of the quantization in a config.json, wherever a publisher put them. Those of MLX come first: their tensors
/// decide what the others say in vain.
pub fn quantization_config(config: &Json) -> Option<&Json> {
    let candidates = [
        config.get("quantization"),
        config.get("quantization_config"),
        config.get("compression_config"),
        config.get("text_config").and_then(|text| text.get("quantization_config")),
    ];
    candidates.into_iter().flatten().find(|settings| settings.as_object().is_some_and(|map| !map.is_empty()))
}

impl<'a> Settings<'a> {
    /// Reads the settings.
    ///
    /// # Errors
    /// When they name a method or transformation that is not read.
    pub fn new(config: Option<&'a Json>) -> Result<Self, SchemeError> {
        let Some(config) = config.filter(|config| !config.is_null()) else { return Ok(Settings(None)) };
        // hf_quant_config.json has its settings one level deeper.
        let config = config.get("quantization").unwrap_or(config);
        let Some(map) = config.as_object() else {
            return Err(error("quantization_config", format!("{config}, where an object is expected")));
        };
        let settings = Settings(Some(map));
        settings.check()?;
        Ok(settings)
    }

    /// Whether there are any.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    fn get(&self, key: &str) -> Option<&'a Json> {
        self.0?.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    fn check(&self) -> Result<(), SchemeError> {
        let refused = |what: String| Err(SchemeError::Refused { what, remedy: REMEDY });
        if let Some(method) = self.get("quant_method")
            && !method.as_str().is_some_and(|method| METHODS.contains(&method))
        {
            return refused(format!("quant_method {method}"));
        }
        // Rotations of the weights, of which a part happens while the model runs.
        let transform = self.get("transform_config").and_then(Json::as_object);
        if let Some(transform) = transform
            && transform.values().any(|value| !is_nothing(value))
        {
            let keys: Vec<_> = transform.keys().map(String::as_str).collect();
            return refused(format!("a transform_config with {}", keys.join(", ")));
        }
        let sparsity = self.get("sparsity_config").and_then(|sparsity| sparsity.get("format")).and_then(Json::as_str);
        if let Some(format) = sparsity.filter(|format| *format != "dense") {
            return refused(format!("a sparsity_config of format {format:?}"));
        }
        if self.text("quant_method") == Some("compressed-tensors") {
            let formats = self.groups().filter_map(|group| group.get("format")).chain(self.get("format"));
            for format in formats.filter_map(Json::as_str) {
                if !FORMATS.contains(&format) {
                    return refused(format!("the compressed-tensors format {format:?}"));
                }
            }
        }
        if self.text("quant_method") == Some("awq")
            && let Some(version) = self.text("version").filter(|version| !version.eq_ignore_ascii_case("gemm"))
        {
            return refused(format!("AWQ of version {version:?}, which has a layout of its own"));
        }
        self.gptq_version().map(|_| ())
    }

    /// The groups of compressed-tensors.
    fn groups(&self) -> impl Iterator<Item = &'a Json> + use<'a> {
        self.get("config_groups").and_then(Json::as_object).into_iter().flat_map(Map::values)
    }

    /// Bits of integer weights that compressed-tensors' groups name.
    pub fn integer_bits(&self) -> Vec<usize> {
        let weights = self.groups().filter_map(|group| group.get("weights"));
        let integers = weights.filter(|weights| weights.get("type").and_then(Json::as_str) != Some("float"));
        integers.filter_map(|weights| small(weights.get("num_bits")?)).collect()
    }

    /// Sizes of blocks that share a scale, rows and columns.
    pub fn blocks(&self) -> Vec<[usize; 2]> {
        let groups = self.groups().filter_map(|group| group.get("weights")?.get("block_structure"));
        let blocks = groups.chain(self.get("weight_block_size"));
        blocks.filter_map(|block| Some([small(block.get(0)?)?, small(block.get(1)?)?])).collect()
    }

    /// How GPTQ's zero points are stored.
    ///
    /// # Errors
    /// When the tensors have another layout than GPTQ's.
    pub fn gptq_version(&self) -> Result<GptqVersion, SchemeError> {
        let format = match self.text("quant_method") {
            Some("gptq") => self.text("checkpoint_format").or_else(|| self.text("format")),
            Some("auto-round" | "intel/auto-round") => self.text("packing_format"),
            _ => None,
        };
        match format {
            None
            | Some("gptq" | "auto_round:auto_gptq" | "auto_round:gptq" | "auto_round:auto_awq" | "auto_round:awq") => {
                Ok(GptqVersion::V1)
            }
            Some("gptq_v2" | "auto_round" | "auto_round:gptq_v2") => Ok(GptqVersion::V2),
            Some(other) => {
                Err(SchemeError::Refused { what: format!("GPTQ tensors of the format {other:?}"), remedy: REMEDY })
            }
        }
    }

    /// Whether GPTQModel wrote the file.
    pub fn by_gptqmodel(&self) -> bool {
        let quantizer = self.get("meta").and_then(|meta| meta.get("quantizer"));
        let names = |value: &Json| value.as_str().is_some_and(|name| name.to_lowercase().starts_with("gptqmodel"));
        quantizer.is_some_and(|quantizer| names(quantizer) || quantizer.as_array().is_some_and(|q| q.iter().any(names)))
    }

    /// Whether GPTQ's zero points of a module are all in the middle, as far as the settings say.
    ///
    /// # Errors
    /// When a pattern that decides it cannot be understood.
    pub fn is_symmetric(&self, module: &str) -> Result<Option<bool>, SchemeError> {
        let of = |settings: &Json| settings.get("sym").and_then(Json::as_bool);
        let mut symmetric = self.get("sym").and_then(Json::as_bool);
        if let Some(own) = self.get("extra_config").and_then(|extra| extra.get(module)).and_then(of) {
            symmetric = Some(own);
        }
        // The first pattern that matches from the name's beginning on decides.
        for (pattern, settings) in self.get("dynamic").and_then(Json::as_object).into_iter().flatten() {
            let Some(own) = of(settings).filter(|_| !pattern.starts_with("-:")) else { continue };
            let expression = format!("^(?:{})", pattern.trim_start_matches("+:"));
            let regex = Regex::new(&expression).map_err(|reason| error("dynamic", reason.to_string()))?;
            if regex.is_match(module) {
                return Ok(Some(own));
            }
        }
        Ok(symmetric)
    }

    /// Whether GPTQ's columns were put into another order.
    pub fn has_act_order(&self) -> bool {
        self.get("desc_act").and_then(Json::as_bool).unwrap_or(false)
    }

    /// Bits and columns per group of a module in MLX.
    pub fn mlx(&self, module: &str) -> Option<[usize; 2]> {
        let own = self.get(module).filter(|own| own.is_object());
        let setting = |key| own.and_then(|own| own.get(key)).or_else(|| self.get(key)).and_then(small);
        Some([setting("bits")?, setting("group_size")?])
    }
}

/// True for what says nothing: null, and empty objects and lists.
fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Object(map) => map.is_empty(),
        Json::Array(list) => list.is_empty(),
        _ => false,
    }
}

/// A number of bits, rows or columns.
fn small(value: &Json) -> Option<usize> {
    value.as_u64().filter(|number| (1..=1 << 20).contains(number)).map(|number| number as usize)
}

fn error(key: &str, problem: String) -> SchemeError {
    SchemeError::Config { key: key.to_owned(), problem }
}
