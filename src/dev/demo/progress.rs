//! The demo's live line.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is written where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

/// Outcomes on the line; the rest is summed up.
const MOST_OUTCOMES: usize = 5;

/// Events, rate, lag and outcomes: one line that changes on a terminal, plain lines elsewhere.
pub(super) struct ProgressLine {
    bar: Option<ProgressBar>,
    started: Instant,
    last_plain: Instant,
    /// Committed and time at the last rate.
    mark: (u64, Instant),
    rate: f64,
}

impl ProgressLine {
    /// A line for that many events; 0 for no end.
    pub(super) fn new(events: u64) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let bar = if events == 0 { ProgressBar::no_length() } else { ProgressBar::new(events) };
            let template = if events == 0 { "{msg}" } else { "{bar:24} {msg}" };
            match ProgressStyle::with_template(template) {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        let now = Instant::now();
        Self { bar, started: now, last_plain: now, mark: (0, now), rate: 0.0 }
    }

    /// Shows how far it is: records sent, and committed by outcome.
    pub(super) fn show(&mut self, sent: u64, outcomes: &BTreeMap<String, u64>) {
        let committed: u64 = outcomes.values().sum();
        let since_mark = self.mark.1.elapsed();
        if since_mark >= Duration::from_millis(500) {
            self.rate = committed.saturating_sub(self.mark.0) as f64 / since_mark.as_secs_f64();
            self.mark = (committed, Instant::now());
        }
        match &self.bar {
            Some(bar) => {
                bar.set_position(committed);
                bar.set_message(line(committed, self.rate, sent.saturating_sub(committed), outcomes));
            }
            None if self.last_plain.elapsed() >= PLAIN_INTERVAL => {
                self.last_plain = Instant::now();
                let text = line(committed, self.rate, sent.saturating_sub(committed), outcomes);
                // A closed standard output is met by the next line that matters.
                let _ = writeln!(io::stdout(), "{:5.1} s  {text}", self.started.elapsed().as_secs_f64());
            }
            None => {}
        }
    }

    /// Writes text that stays, above the line.
    pub(super) fn above(&self, text: &str) {
        let write = || {
            let mut out = io::stdout();
            // As in `show`.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        };
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Ends the line.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(committed: u64, rate: f64, lag: u64, outcomes: &BTreeMap<String, u64>) -> String {
    let mut by_size: Vec<(&String, &u64)> = outcomes.iter().collect();
    by_size.sort_by(|a, b| b.1.cmp(a.1));
    let mut parts: Vec<String> =
        by_size.iter().take(MOST_OUTCOMES).map(|(outcome, count)| format!("{outcome} {count}")).collect();
    let rest: u64 = by_size.iter().skip(MOST_OUTCOMES).map(|(_, count)| **count).sum();
    if rest > 0 {
        parts.push(format!("others {rest}"));
    }
    format!("{committed} events, {rate:.0}/s, lag {lag}: {}", parts.join(", "))
}
