//! Ctrl-C and SIGTERM end a run at its next chunk, so that unfinished files are removed.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context as _, Result};

/// Set once the run should end.
pub(super) static CANCEL: AtomicBool = AtomicBool::new(false);

/// Listens from now on; more than once does nothing.
pub(super) fn listen() -> Result<()> {
    static LISTENS: AtomicBool = AtomicBool::new(false);
    if LISTENS.swap(true, Relaxed) {
        return Ok(());
    }
    ctrlc::set_handler(|| CANCEL.store(true, Relaxed)).context("cannot listen for Ctrl-C")
}
