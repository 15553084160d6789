//! Two programs that take turns.

use cpu_time::ThreadTime;
use std::time::{Duration, Instant};

/// What the turns took.
pub struct Turns {
    /// Median time of one run.
    pub ours: Duration,
    /// Median time of one run.
    pub theirs: Duration,
    /// Median over the turns of how many times as long theirs takes.
    pub ratio: f64,
}

impl Turns {
    /// Runs both in turns for some seconds, three turns at least.
    pub fn take(seconds: f64, mut ours: impl FnMut(), mut theirs: impl FnMut()) -> Turns {
        // The first runs warm caches and pages.
        time(1, &mut ours);
        let first = [time(1, &mut ours), time(1, &mut theirs)].map(|time| time.as_secs_f64().max(1e-6));
        // Turns are of equal length, and long enough for the clock.
        let turn = first[0].max(first[1]).max(1e-3);
        let runs = first.map(|first| (turn / first).clamp(1.0, 100.0) as u32);
        let (mut of_ours, mut of_theirs) = (Vec::new(), Vec::new());
        let start = Instant::now();
        while of_ours.len() < 3 || start.elapsed().as_secs_f64() < seconds {
            of_ours.push(time(runs[0], &mut ours));
            of_theirs.push(time(runs[1], &mut theirs));
        }
        let ratios = of_ours.iter().zip(&of_theirs).map(|(ours, theirs)| theirs.as_secs_f64() / ours.as_secs_f64());
        Turns {
            ratio: median(ratios.collect(), f64::total_cmp),
            ours: median(of_ours, Duration::cmp),
            theirs: median(of_theirs, Duration::cmp),
        }
    }

    /// The end of a line about so many weights.
    pub fn line(&self, weights: usize, equal: bool) -> String {
        let [ours, theirs] = [self.ours, self.theirs].map(|time| megaweights(weights, time));
        format!("{ours:8.1} {theirs:8.1} {:6.1}x  {}", self.ratio, if equal { "equal" } else { "DIFFER" })
    }
}

/// Million weights per second.
pub fn megaweights(weights: usize, time: Duration) -> f64 {
    weights as f64 / time.as_secs_f64() / 1e6
}

/// The thread's own time for a run.
fn time(runs: u32, run: &mut impl FnMut()) -> Duration {
    let start = ThreadTime::now();
    (0..runs).for_each(|_| run());
    start.elapsed() / runs
}

fn median<T: Copy>(mut values: Vec<T>, order: fn(&T, &T) -> std::cmp::Ordering) -> T {
    values.sort_by(order);
    values[values.len() / 2]
}
