//! Messages on standard error.

use std::fmt;
use std::io::{self, Write as _};

/// Prints a message. Where standard error is closed or full it is lost: the run counts, not what is said about it
/// (`eprintln!` would panic).
pub(super) fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(&text.to_string()));
}

/// The text with control characters written out, but for line breaks: what comes from a file must not steer a terminal.
pub(super) fn printable(text: &str) -> String {
    let steers =
        |c: char| c.is_control() && c != '\n' || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match steers(c) {
            true => printable.extend(c.escape_default()),
            false => printable.push(c),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(
            printable("a\x1b[31m\r\u{9b}\u{202e}b\nc \u{e9}\u{1f999}"),
            "a\\u{1b}[31m\\r\\u{9b}\\u{202e}b\nc \u{e9}\u{1f999}"
        );
    }
}
