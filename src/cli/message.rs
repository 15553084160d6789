//! Messages on standard error.

use std::fmt;
use std::io::{self, Write as _};

/// Prints a line. Where standard error is closed or full the line is lost: the run counts, not what is said about it
/// (`eprintln!` would panic).
pub(super) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
