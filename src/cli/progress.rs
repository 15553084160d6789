//! How far a run is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use weightmill::pipeline::Progress;

use super::message::say;

/// Time between two lines where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress goes.
pub(super) enum Display {
    /// Nowhere.
    Quiet,
    /// A bar that is drawn over and over.
    Bar(ProgressBar),
    /// Lines on standard error.
    Lines { start: Instant, last: Mutex<Instant> },
}

impl Display {
    /// A bar on a terminal, lines elsewhere.
    pub fn new(quiet: bool) -> Display {
        if quiet {
            return Display::Quiet;
        }
        if !std::io::stderr().is_terminal() {
            let now = Instant::now();
            return Display::Lines { start: now, last: Mutex::new(now) };
        }
        let style = "{percent:>3}% {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(style).expect("a valid template");
        Display::Bar(ProgressBar::new(0).with_style(style))
    }

    /// Shows how far the run is. Called from any thread.
    pub fn show(&self, progress: Progress) {
        let Progress { done, total } = progress;
        match self {
            Display::Quiet => {}
            Display::Bar(bar) => {
                bar.set_length(total);
                bar.set_position(done);
            }
            Display::Lines { start, last } => {
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    let seconds = start.elapsed().as_secs_f64();
                    let speed = done as f64 / seconds;
                    let left = (total - done) as f64 / speed;
                    let percent = 100.0 * done as f64 / total as f64;
                    say(format_args!("{percent:.0}% done, {:.0} MB/s, {left:.0} s left", speed / 1e6));
                }
            }
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Display::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// How many layers are done.
pub(super) struct Layers {
    display: Display,
    /// When the first layer began, for lines.
    start: Instant,
}

impl Layers {
    /// A bar on a terminal, lines elsewhere.
    pub fn new(quiet: bool) -> Layers {
        let display = Display::new(quiet);
        if let Display::Bar(bar) = &display {
            let style = "{percent:>3}% {wide_bar} layer {pos} of {len}, {eta} left";
            bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        }
        Layers { display, start: Instant::now() }
    }

    /// Shows that `done` of `total` layers are done.
    pub fn show(&self, done: usize, total: usize) {
        match &self.display {
            Display::Lines { last, .. } => {
                let Ok(mut last) = last.try_lock() else { return };
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    let seconds = self.start.elapsed().as_secs_f64();
                    let left = seconds / done.max(1) as f64 * (total - done) as f64;
                    say(format_args!("layer {done} of {total}, {left:.0} s left"));
                }
            }
            display => display.show(Progress { done: done as u64, total: total as u64 }),
        }
    }

    /// Says something beside the bar.
    pub fn note(&self, text: &str) {
        match &self.display {
            Display::Quiet => {}
            Display::Bar(bar) => bar.suspend(|| say(format_args!("{text}"))),
            Display::Lines { .. } => say(format_args!("{text}")),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.display.finish();
    }
}
