//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere, both on standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// How far some work has come.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    started: Instant,
    last_plain: Instant,
}

impl Progress {
    /// Of work that is `total` records long.
    pub fn new(total: u64) -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            match ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, {per_sec}, {eta} left") {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        Self { bar, total, done: 0, started: now, last_plain: now }
    }

    /// So many records more are done; `doing` says at what it is.
    pub fn add(&mut self, records: u64, doing: &str) {
        self.done += records;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done);
                bar.set_message(doing.to_owned());
            }
            None if self.last_plain.elapsed() >= PLAIN_INTERVAL => {
                self.last_plain = Instant::now();
                let seconds = self.started.elapsed().as_secs_f64();
                // Nobody is left to tell where standard error is closed.
                let _ = writeln!(io::stderr(), "{seconds:6.1} s  {} of {} records, {doing}", self.done, self.total);
            }
            None => {}
        }
    }

    /// How long it has taken so far.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
