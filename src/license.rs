//! The licence that a model states, and the check that it is one of those that a user accepts.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::model::Model;

/// Hugging Face's identifier for a licence that has none; the card's `license_name` then says which it is.
const OTHER: &str = "other";

/// What a model says of its licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct License {
    /// `general.license`: an identifier as in `apache-2.0`; of several, separated by commas, all apply.
    pub id: Option<String>,
    /// `general.license.name`.
    pub name: Option<String>,
    /// `general.license.link`.
    pub link: Option<String>,
    /// Where it is stated, or would be: the model card, or a key of the file.
    pub stated_in: String,
    /// Why nothing can be stated there, if that is so.
    #[serde(skip)]
    unreadable: Option<String>,
}

/// Why a licence is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LicenseError {
    #[error("{stated_in} states no licence{reason}, but --require-license accepts only {accepted}")]
    NotStated { stated_in: String, reason: String, accepted: String },
    #[error("{stated_in} states the licence {found}, but --require-license accepts only {accepted}")]
    NotAccepted { stated_in: String, found: String, accepted: String },
}

impl License {
    /// The licence of the model in a GGUF file.
    pub fn of_gguf(model: &Model, path: &Path) -> Self {
        Self::of(model, format!("general.license of {}", path.display()), None)
    }

    /// The licence of the model in a checkpoint folder: what its card says.
    pub fn of_checkpoint(model: &Model, folder: &Path) -> Self {
        let card = folder.join("README.md");
        let ignored = model.notes.iter().find_map(|note| note.strip_prefix("README.md: the front matter is ignored: "));
        let unreadable = match ignored {
            Some(reason) => Some(format!("its front matter cannot be read: {reason}")),
            None if !card.is_file() => Some("there is no such file".to_owned()),
            None => None,
        };
        Self::of(model, card.display().to_string(), unreadable)
    }

    fn of(model: &Model, stated_in: String, unreadable: Option<String>) -> Self {
        let text = |key: &str| model.metadata.string(key).map(str::to_owned);
        License {
            id: text("general.license"),
            name: text("general.license.name"),
            link: text("general.license.link"),
            stated_in,
            unreadable,
        }
    }

    /// The identifiers that must all be accepted. Where there is none, or one that says nothing, the name stands for it.
    fn identifiers(&self) -> Vec<&str> {
        let name = self.name.as_deref();
        let stated = self.id.as_deref().or(name).unwrap_or_default();
        let ids = stated.split(',').map(str::trim).filter(|id| !id.is_empty());
        ids.map(|id| if is(id, OTHER) { name.unwrap_or(id) } else { id }).collect()
    }

    /// True if the model states any.
    pub fn is_stated(&self) -> bool {
        !self.identifiers().is_empty()
    }

    /// Checks that the licence is stated and that `accepted` has it, in any case. Of several licences it must have all.
    ///
    /// # Errors
    /// If it is another one or none.
    pub fn require(&self, accepted: &[String]) -> Result<(), LicenseError> {
        let found = self.identifiers();
        let stated_in = self.stated_in.clone();
        if found.is_empty() {
            let reason = self.unreadable.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            return Err(LicenseError::NotStated { stated_in, reason, accepted: accepted.join(", ") });
        }
        if found.iter().all(|id| accepted.iter().any(|wanted| is(wanted.trim(), id))) {
            return Ok(());
        }
        Err(LicenseError::NotAccepted { stated_in, found: self.to_string(), accepted: accepted.join(", ") })
    }
}

fn is(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

impl fmt::Display for License {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.name) {
            (Some(id), Some(name)) => write!(f, "{} ({})", id.escape_debug(), name.escape_debug()),
            (Some(id), None) => write!(f, "{}", id.escape_debug()),
            (None, Some(name)) => write!(f, "{}", name.escape_debug()),
            (None, None) => f.write_str("none"),
        }
    }
}
