//! Numbers of an architecture map: written out, or reckoned from settings of config.json, as in
//! `hidden_size / num_attention_heads`.

use serde::Deserialize;
use serde_json::Value as Json;

use super::super::config::Config;

/// A number, or sums and products of numbers and settings. A setting inside another is written with a point:
/// `rope_scaling.factor`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a number, or settings of config.json with + - * / between them")]
pub enum Expression {
    #[allow(missing_docs)]
    Whole(u64),
    #[allow(missing_docs)]
    Real(f64),
    #[allow(missing_docs)]
    Text(String),
}

/// What an expression comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// All that counts something.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl Number {
    /// The value as a float.
    pub fn real(self) -> f64 {
        match self {
            Number::Whole(number) => number as f64,
            Number::Real(number) => number,
        }
    }

    fn apply(self, operator: char, other: Number) -> Option<Number> {
        use Number::{Real, Whole};
        if let (Whole(a), Whole(b)) = (self, other) {
            let whole = match operator {
                '+' => a.checked_add(b),
                '-' => a.checked_sub(b),
                '*' => a.checked_mul(b),
                _ if b != 0 && a.is_multiple_of(b) => Some(a / b),
                _ => None,
            };
            if whole.is_some() || operator != '/' {
                return whole.map(Whole);
            }
        }
        let (a, b) = (self.real(), other.real());
        let real = match operator {
            '+' => a + b,
            '-' => a - b,
            '*' => a * b,
            _ => a / b,
        };
        real.is_finite().then_some(Real(real))
    }
}

impl Expression {
    /// The setting that the expression names, if it is nothing but that.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Expression::Text(text) if is_setting(text.trim()) => Some(text.trim()),
            _ => None,
        }
    }

    /// The settings of config.json that it needs and that are not there.
    pub fn missing<'a>(&'a self, config: &Config) -> Option<&'a str> {
        let Expression::Text(text) = self else { return None };
        text.split(['+', '-', '*', '/']).map(str::trim).find(|atom| is_setting(atom) && lookup(config, atom).is_none())
    }

    /// Its value.
    ///
    /// # Errors
    /// When a setting is missing or no number, or when the result is none.
    pub fn number(&self, config: &Config) -> Result<Number, String> {
        match self {
            Expression::Whole(number) => Ok(Number::Whole(*number)),
            Expression::Real(number) => Ok(Number::Real(*number)),
            Expression::Text(text) => evaluate(text, config),
        }
    }

    /// Its value as a count.
    ///
    /// # Errors
    /// As for [`Self::number`], and when it is not whole.
    pub fn count(&self, config: &Config) -> Result<u64, String> {
        match self.number(config)? {
            Number::Whole(count) => Ok(count),
            Number::Real(number) => Err(format!("{} is {number}, where a whole number is expected", self.shown())),
        }
    }

    /// Its value as a count of 32 bits that is not zero.
    ///
    /// # Errors
    /// As for [`Self::count`], and when it is zero or too large.
    pub fn count_32(&self, config: &Config) -> Result<u32, String> {
        let count = self.count(config)?;
        let small = u32::try_from(count).ok().filter(|count| *count > 0);
        small.ok_or_else(|| format!("{} is {count}, where a positive 32-bit number is expected", self.shown()))
    }

    fn shown(&self) -> String {
        match self {
            Expression::Whole(number) => number.to_string(),
            Expression::Real(number) => number.to_string(),
            Expression::Text(text) => format!("{text:?}"),
        }
    }
}

/// A setting of config.json, at the top or, after a point, inside another.
pub fn lookup<'a>(config: &'a Config, path: &str) -> Option<&'a Json> {
    let mut parts = path.split('.');
    let mut value = config.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value).filter(|value| !value.is_null())
}

fn is_setting(atom: &str) -> bool {
    atom.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && atom.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// Sums of products, from left to right.
fn evaluate(text: &str, config: &Config) -> Result<Number, String> {
    let wrong = |problem: &str| format!("{text:?}: {problem}");
    let mut sum: Option<(Number, char)> = None;
    let mut product: Option<(Number, char)> = None;
    let mut rest = text;
    loop {
        let end = rest.find(['+', '-', '*', '/']).unwrap_or(rest.len());
        let value = atom(rest[..end].trim(), config).map_err(|problem| wrong(&problem))?;
        let none = || wrong("the result is negative, too large or no number");
        let value = match product.take() {
            Some((before, operator)) => before.apply(operator, value).ok_or_else(none)?,
            None => value,
        };
        let operator = rest[end..].chars().next();
        match operator {
            Some(operator @ ('*' | '/')) => product = Some((value, operator)),
            operator => {
                let value = match sum.take() {
                    Some((before, operator)) => before.apply(operator, value).ok_or_else(none)?,
                    None => value,
                };
                match operator {
                    Some(operator) => sum = Some((value, operator)),
                    None => return Ok(value),
                }
            }
        }
        rest = &rest[end + 1..];
    }
}

fn atom(atom: &str, config: &Config) -> Result<Number, String> {
    if let Ok(number) = atom.parse() {
        return Ok(Number::Whole(number));
    }
    if let Some(number) = atom.parse().ok().filter(|number: &f64| number.is_finite() && !is_setting(atom)) {
        return Ok(Number::Real(number));
    }
    if !is_setting(atom) {
        return Err(format!("{atom:?} is neither a number nor a setting"));
    }
    let value = lookup(config, atom).ok_or_else(|| format!("config.json has no {atom}"))?;
    let whole = value.as_u64().map(Number::Whole);
    let real = || value.as_f64().filter(|number| number.is_finite()).map(Number::Real);
    whole.or_else(real).ok_or_else(|| format!("{atom} of config.json is no number that can be reckoned with: {value}"))
}
