//! Which file every type goes to: `-o`, or a name made from the input's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::UsageError;
use weightmill::target::Target;

/// The path of every output.
///
/// For a single checkpoint `-o` is its folder. Otherwise `-o` is a folder if it ends in a separator, is one already, or if
/// there are several types; otherwise a file.
pub(super) fn paths(name: &str, targets: &[Target], output: Option<&Path>) -> Result<Vec<PathBuf>> {
    let folder = match output {
        None => Path::new(""),
        Some(path) if targets.len() == 1 && targets[0].is_folder() => return Ok(vec![path.to_owned()]),
        Some(path) if path.is_dir() || ends_in_separator(path) => path,
        Some(path) if targets.len() == 1 => return Ok(vec![path.to_owned()]),
        Some(path) if path.exists() || path.extension().is_some_and(|extension| extension == "gguf") => {
            let text = format!("--output {}: several types need a folder, not a file", path.display());
            return Err(UsageError(text).into());
        }
        Some(path) => path,
    };
    let path = |target: &Target| match target {
        Target::Gguf(recipe) => folder.join(format!("{name}-{}.gguf", recipe.name)),
        folder_target => folder.join(format!("{name}-{}", folder_target.name())),
    };
    Ok(targets.iter().map(path).collect())
}

fn ends_in_separator(path: &Path) -> bool {
    path.as_os_str().to_string_lossy().ends_with(std::path::is_separator)
}
