//! `seenby simulate`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};

use super::{FileError, ProduceError, Simulator, SimulatorConfig, produce, write_file};
use crate::config::Config;
use crate::event::EventTime;

/// A day, in ms.
const DAY_MILLIS: u32 = 24 * 60 * 60 * 1_000;

/// What `seenby simulate` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Records a second; 0 for as fast as they are taken (needs --events)
    #[arg(long, default_value_t = 1_000)]
    pub rate: u32,
    /// Records in all, spread over the last days of event time; 0 for an endless stream at the clock's time
    #[arg(long, default_value_t = 0)]
    pub events: u64,
    /// Days over which --events are spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=45))]
    pub days: u32,
    /// Tenants; every fifth keeps group receipts closed
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub apps: u32,
    /// Groups of all tenants
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub groups: u32,
    /// Start of the random numbers: the same seed gives the same traffic
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Write the records to a file, one JSON object a line, instead of the events topic (needs --events)
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Why simulated traffic ended early.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// Neither a rate nor a number of events bounds the stream.
    #[error("simulating without an end as fast as possible or into a file: give --events, or a --rate and no --file")]
    Unbounded,
    /// The random delays could not be set up.
    #[error("setting up the random delays: {0}")]
    Delays(#[from] rand_distr::NormalError),
    /// The file could not be created.
    #[error("creating {}: {source}; choose another --file", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The topic did not take the records.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

/// Runs `seenby simulate`.
///
/// # Errors
/// Arguments without an end, or what stopped the file or the topic.
pub fn run(args: &SimulateArgs, config: &Config) -> Result<(), SimulateError> {
    if args.events == 0 && (args.rate == 0 || args.file.is_some()) {
        return Err(SimulateError::Unbounded);
    }
    let simulator = Simulator::new(args.simulator_config(now()))?;
    if let Some(path) = &args.file {
        let file = File::create(path).map_err(|source| SimulateError::Create { path: path.clone(), source })?;
        let records = write_file(simulator, file)?;
        tracing::info!(records, file = %path.display(), "simulated traffic is written");
        return Ok(());
    }

    let bar = progress_bar(args.events);
    let mut last_line = Instant::now();
    let produced = produce(simulator, &config.kafka, args.rate, |progress| {
        bar.set_position(progress.delivered);
        if bar.is_hidden() && last_line.elapsed() >= Duration::from_secs(5) {
            last_line = Instant::now();
            tracing::info!(sent = progress.sent, delivered = progress.delivered, "simulating");
        }
        true
    })?;
    bar.finish_and_clear();
    tracing::info!(records = produced.records, topic = config.kafka.topics.events, "simulated traffic is delivered");
    Ok(())
}

impl SimulateArgs {
    /// The traffic asked for, as of `now`.
    pub fn simulator_config(&self, now: EventTime) -> SimulatorConfig {
        let config = match self.events {
            0 => SimulatorConfig::live(now, self.rate),
            events => SimulatorConfig::ending_at(now, self.days.saturating_mul(DAY_MILLIS), events),
        };
        SimulatorConfig { apps: self.apps, groups: self.groups, seed: self.seed, ..config }
    }
}

/// A bar on a terminal; hidden elsewhere, where plain lines say how far it is.
fn progress_bar(events: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = if events == 0 { ProgressBar::no_length() } else { ProgressBar::new(events) };
    let template = if events == 0 { "{pos} records, {per_sec}" } else { "{wide_bar} {pos}/{len} records, {per_sec}" };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(since_1970.as_millis() as i64)
}
