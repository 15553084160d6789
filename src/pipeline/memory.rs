//! What the system says of this process's memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Time between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(50);

/// The largest of the samples taken.
#[derive(Default)]
pub(super) struct Peak {
    bytes: AtomicU64,
    last: Mutex<Option<Instant>>,
}

impl Peak {
    /// Takes a sample, unless the last one is recent or another thread is about it.
    pub fn sample(&self) {
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            *last = Some(Instant::now());
            self.bytes.fetch_max(anonymous_bytes().unwrap_or(0), Relaxed);
        }
    }

    /// The largest sample, if the system tells.
    pub fn bytes(&self) -> Option<u64> {
        Some(self.bytes.load(Relaxed)).filter(|&bytes| bytes > 0)
    }
}

/// `RssAnon`: resident memory that is not a map of a file. The mapped model does not count, for its pages can be
/// dropped at any time.
#[cfg(target_os = "linux")]
fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(not(target_os = "linux"))]
fn anonymous_bytes() -> Option<u64> {
    None
}

/// Times that this thread had to wait for a page from the disk because it was not in memory.
// Field 12 of the thread's stat, majflt; the program's name before it is in parentheses and may hold anything.
#[cfg(target_os = "linux")]
pub(super) fn faults_from_disk() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(9)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn faults_from_disk() -> Option<u64> {
    None
}
