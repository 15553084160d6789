//! Levels by name, and the environment variable that forces one.

use super::{LEVELS, Level};
use core::fmt;

/// The environment variable that [`Level::from_env`] reads.
pub const VARIABLE: &str = "QUANTIZE_SIMD";

/// Why there is no level of that name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LevelError {
    /// No architecture has a level of this name.
    Unknown(String),
    /// This CPU does not have the level.
    Unsupported(String),
}

impl fmt::Display for LevelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LevelError::Unknown(name) => write!(f, "unknown CPU level {name:?}; this CPU has")?,
            LevelError::Unsupported(name) => write!(f, "this CPU does not have the level {name:?}; it has")?,
        }
        Level::all().enumerate().try_for_each(|(i, level)| {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma} {}", level.name())
        })
    }
}

impl core::error::Error for LevelError {}

impl Level {
    /// The level of this name: `scalar`, `avx2`, `avx512` or `neon`.
    pub fn by_name(name: &str) -> Result<Level, LevelError> {
        match LEVELS.iter().find(|(known, _)| *known == name) {
            None => Err(LevelError::Unknown(name.into())),
            Some((_, detect)) => detect().ok_or_else(|| LevelError::Unsupported(name.into())),
        }
    }

    /// The level that the environment variable `QUANTIZE_SIMD` names; the best one if it is not set or empty.
    ///
    /// The error does not mention the variable: whoever reports it names [`VARIABLE`].
    pub fn from_env() -> Result<Level, LevelError> {
        match std::env::var_os(VARIABLE) {
            Some(name) if !name.is_empty() => Level::by_name(&name.to_string_lossy()),
            _ => Ok(Level::detect()),
        }
    }
}
