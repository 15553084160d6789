//! Metadata of an architecture map: values written out, or taken from config.json.

use serde_json::Value as Json;
use weightmill_formats::{Array, Value};

use super::super::config::Config;
use super::expression::{Number, lookup};
use super::file::{Entry, File, Kind};

/// What is wrong, and where in the file.
type Problem = (Option<usize>, String);

/// Checks what can be wrong whatever the checkpoint.
pub(super) fn check(file: &File) -> Result<(), Problem> {
    for default in &file.defaults {
        if default.get_ref().value.is_some() == default.get_ref().from.is_some() {
            return Err((Some(default.span().start), "a default has either a value or `from`".to_owned()));
        }
    }
    for spanned in &file.metadata {
        let entry = spanned.get_ref();
        let problem = match () {
            () if entry.value.is_some() == entry.from.is_some() => "an entry has either a value or `from`",
            () if entry.key.starts_with("general.") => "general. keys are not the architecture's: use --override-kv",
            () if entry.key.is_empty() || entry.key.contains(char::is_whitespace) => "this is no key",
            () if !entry.names.is_empty() && entry.from.as_ref().is_none_or(|from| from.setting().is_none()) => {
                "names go with `from` and one setting of config.json"
            }
            () => continue,
        };
        return Err((Some(spanned.span().start), format!("metadata {:?}: {problem}", entry.key)));
    }
    Ok(())
}

/// Sets what config.json leaves out.
pub(super) fn complete(file: &File, config: &mut Config) -> Result<(), Problem> {
    for spanned in &file.defaults {
        let default = spanned.get_ref();
        if config.get(&default.key).is_some() {
            continue;
        }
        let value = match (&default.value, &default.from) {
            (Some(value), _) => serde_json::to_value(value).map_err(|error| error.to_string()),
            (None, Some(from)) => from.number(config).map(|number| match number {
                Number::Whole(number) => number.into(),
                Number::Real(number) => number.into(),
            }),
            (None, None) => continue,
        };
        config.set_default(&default.key, value.map_err(|problem| (Some(spanned.span().start), problem))?);
    }
    Ok(())
}

/// The entries that a map adds to the metadata; keys less the architecture, but for those of the tokenizer.
pub(super) fn entries(file: &File, config: &Config) -> Result<Vec<(String, Value)>, Problem> {
    let mut entries = Vec::with_capacity(file.metadata.len());
    for spanned in &file.metadata {
        let entry = spanned.get_ref();
        let value = value(entry, config)
            .map_err(|problem| (Some(spanned.span().start), format!("metadata {:?}: {problem}", entry.key)))?;
        entries.extend(value.map(|value| (entry.key.clone(), value)));
    }
    Ok(entries)
}

fn value(entry: &Entry, config: &Config) -> Result<Option<Value>, String> {
    let Some(from) = &entry.from else {
        let value = entry.value.as_ref().map(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
        return value.map(|value| of_json(&value?, entry.kind)).transpose();
    };
    if from.missing(config).is_some() && entry.optional {
        return Ok(None);
    }
    let Some(found) = from.setting().and_then(|setting| lookup(config, setting)).filter(|value| !value.is_number())
    else {
        return typed(from.number(config)?, entry.kind).map(Some);
    };
    match found {
        Json::String(name) if !entry.names.is_empty() => match entry.names.get(name) {
            Some(number) => Ok(Some(Value::U32(*number))),
            None => {
                let known: Vec<&str> = entry.names.keys().map(String::as_str).collect();
                Err(format!("config.json says {name:?}, where one of {} is expected", known.join(", ")))
            }
        },
        found => of_json(found, entry.kind).map(Some),
    }
}

fn of_json(value: &Json, kind: Option<Kind>) -> Result<Value, String> {
    match value {
        Json::Bool(flag) => Ok(Value::Bool(*flag)),
        Json::String(text) => Ok(Value::String(text.clone())),
        Json::Number(number) => of_number(number, kind),
        Json::Array(items) => array(items, kind),
        other => Err(format!("{other} is nothing that metadata can hold")),
    }
}

fn of_number(number: &serde_json::Number, kind: Option<Kind>) -> Result<Value, String> {
    if let Some(negative) = number.as_i64().filter(|number| *number < 0)
        && matches!(kind, None | Some(Kind::I32))
    {
        return i32::try_from(negative).map(Value::I32).map_err(|_| format!("{negative} does not fit 32 bits"));
    }
    let real = || number.as_f64().filter(|number| number.is_finite()).map(Number::Real);
    let number = number.as_u64().map(Number::Whole).or_else(real).ok_or("this is no finite number")?;
    typed(number, kind)
}

fn typed(number: Number, kind: Option<Kind>) -> Result<Value, String> {
    let misfit =
        || format!("{number:?} does not fit type {}", kind.map_or("u32".to_owned(), |kind| format!("{kind:?}")));
    match (kind, number) {
        (None | Some(Kind::U32), Number::Whole(count)) => u32::try_from(count).map(Value::U32).map_err(|_| misfit()),
        (Some(Kind::I32), Number::Whole(count)) => i32::try_from(count).map(Value::I32).map_err(|_| misfit()),
        (Some(Kind::U64), Number::Whole(count)) => Ok(Value::U64(count)),
        (Some(Kind::F64), number) => Ok(Value::F64(number.real())),
        (None | Some(Kind::F32), number) => {
            let real = number.real() as f32;
            if real.is_finite() { Ok(Value::F32(real)) } else { Err(misfit()) }
        }
        _ => Err(misfit()),
    }
}

/// A list of values of one type.
fn array(items: &[Json], kind: Option<Kind>) -> Result<Value, String> {
    let values: Vec<Value> = items.iter().map(|item| of_json(item, kind)).collect::<Result<_, _>>()?;
    macro_rules! all {
        ($($variant:ident),*) => {$(
            if matches!(values.first(), Some(Value::$variant(_))) {
                let items: Option<Vec<_>> =
                    values.into_iter().map(|value| if let Value::$variant(item) = value { Some(item) } else { None }).collect();
                let items = items.ok_or("a list holds values of one type")?;
                return Ok(Value::Array(Array::$variant(items)));
            }
        )*};
    }
    all!(U32, I32, U64, F32, F64, Bool, String);
    Err("an empty list, or lists in a list, cannot be written".to_owned())
}
