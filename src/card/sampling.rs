//! `general.sampling.*`: the sampler settings that generation_config.json recommends.

use serde_json::Value;
use weightmill_formats::Metadata;

#[derive(Clone, Copy)]
enum Type {
    String,
    I32,
    F32,
}

/// Keys of generation_config.json (the first one present counts), key under `general.sampling.`, type; in the order
/// of the file.
const SETTINGS: [(&[&str], &str, Type); 12] = [
    (&["sequence"], "sequence", Type::String),
    (&["top_k"], "top_k", Type::I32),
    (&["top_p"], "top_p", Type::F32),
    (&["min_p"], "min_p", Type::F32),
    (&["xtc_probability"], "xtc_probability", Type::F32),
    (&["xtc_threshold"], "xtc_threshold", Type::F32),
    (&["temperature"], "temp", Type::F32),
    (&["penalty_last_n"], "penalty_last_n", Type::I32),
    (&["penalty_repeat", "repetition_penalty"], "penalty_repeat", Type::F32),
    (&["mirostat"], "mirostat", Type::I32),
    (&["mirostat_tau"], "mirostat_tau", Type::F32),
    (&["mirostat_eta"], "mirostat_eta", Type::F32),
];

pub(super) fn describe(config: Option<&Value>, metadata: &mut Metadata, notes: &mut Vec<String>) {
    let Some(config) = config.and_then(Value::as_object) else { return };
    for (names, key, ty) in SETTINGS {
        let Some((name, value)) = names.iter().find_map(|&name| Some((name, config.get(name)?))) else { continue };
        if value.is_null() || value.as_str() == Some("") {
            continue;
        }
        let key = format!("general.sampling.{key}");
        // Python packs true as 1.
        let number = value.as_f64().or_else(|| Some(f64::from(u8::from(value.as_bool()?))));
        let integer = value.as_i64().or_else(|| Some(i64::from(value.as_bool()?)));
        match (ty, value.as_str(), number.filter(|n| n.abs() <= f64::from(f32::MAX)), integer.map(i32::try_from)) {
            (Type::String, Some(text), ..) => metadata.set(key, text),
            (Type::F32, _, Some(number), _) => metadata.set(key, number as f32),
            (Type::I32, _, _, Some(Ok(integer))) => metadata.set(key, integer),
            _ => notes.push(format!("generation_config.json: {name} = {value} is left out: {key} cannot hold it")),
        }
    }
}

/// The settings of generation_config.json that became `general.sampling.*`, under the names that transformers has.
pub(crate) fn restore(metadata: &Metadata) -> impl Iterator<Item = (&'static str, &weightmill_formats::Value)> {
    SETTINGS
        .into_iter()
        .filter_map(|(names, key, _)| Some((*names.last()?, metadata.get(&format!("general.sampling.{key}"))?)))
}
