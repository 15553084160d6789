//! What a row of the table of families holds.

use super::gguf::Gguf;
use super::{RestoreError, Settings};

/// How the config.json of one family is restored.
pub(super) struct Family {
    /// `general.architecture`.
    pub architecture: &'static str,
    /// Which files of that architecture belong to the family.
    pub when: fn(&Gguf<'_>) -> bool,
    /// Its name in `architectures` of config.json.
    pub config_name: &'static str,
    /// `model_type` of config.json.
    pub model_type: &'static str,
    /// Setting and name of the activation.
    pub activation: (&'static str, &'static str),
    /// GGUF keys, less the prefix, and the settings that they come from, where that is not the usual.
    pub keys: &'static [(&'static str, &'static str)],
    /// GGUF keys, less the prefix, whose value is not that of the usual setting.
    pub without: &'static [&'static str],
    /// Settings that are true if there is a tensor of that name, else false.
    pub flags: &'static [(&'static str, &'static str)],
    /// The tensors have the other names that the architecture knows, not those of its rules.
    pub renames: bool,
    /// Sets what follows from several keys, or from none.
    pub own: fn(&Gguf<'_>, &mut Settings) -> Result<(), RestoreError>,
    /// Settings of which the file says nothing: named in a note.
    pub assumed: &'static [&'static str],
}

/// What a row does not say.
pub(super) const USUAL: Family = Family {
    architecture: "",
    when: |_| true,
    config_name: "",
    model_type: "",
    activation: ("hidden_act", "silu"),
    keys: &[],
    without: &[],
    flags: &[],
    renames: false,
    own: |_, _| Ok(()),
    assumed: &[],
};
