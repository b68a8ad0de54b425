//! The measurement, step by step: real parts, a store loaded by a worker, live traffic, then questions in four phases, and
//! an export. The bench runs it at size, a test at a small one.

mod export;
mod parts;
mod phase;
mod questions;
mod report;
mod usage;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::report::Report;

use self::parts::Parts;
use self::phase::{Kind, Phase};
use self::questions::Questions;
use self::usage::Watch;

/// How much of what.
#[derive(Clone, Debug, clap::Parser)]
pub(crate) struct Settings {
    /// Records that are loaded: simulated traffic, through Kafka and a worker
    #[arg(long, env = "LOAD_EVENTS", default_value_t = 8_300_000)]
    pub(crate) events: u64,
    /// Days over which they are spread
    #[arg(long, default_value_t = 30)]
    pub(crate) days: u32,
    /// Groups of the loaded traffic: the fewer, the larger
    #[arg(long, default_value_t = 36)]
    pub(crate) groups: u32,
    /// Records a second that the worker takes in meanwhile; 0 for none
    #[arg(long, default_value_t = 20_000)]
    pub(crate) live_rate: u32,
    /// Groups of the live traffic
    #[arg(long, default_value_t = 2_000)]
    pub(crate) live_groups: u32,
    /// Reader lists a second in the phases of an open loop
    #[arg(long, default_value_t = 50.0)]
    pub(crate) rate: f64,
    /// Batches a second beside them, in the second phase
    #[arg(long, default_value_t = 1.0)]
    pub(crate) batch_rate: f64,
    /// Niceness of broker, worker and traffic, which share the processors with the questions here alone
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=19))]
    pub(crate) niceness: u8,
    /// Messages in a batch
    #[arg(long, default_value_t = 100)]
    pub(crate) batch_items: usize,
    /// Connections of the closed loops
    #[arg(long, default_value_t = 4)]
    pub(crate) connections: usize,
    /// Seconds of each phase
    #[arg(long, env = "LOAD_SECONDS", default_value_t = 60)]
    pub(crate) seconds: u64,
    /// Seconds of live traffic and questions before the first phase
    #[arg(long, default_value_t = 15)]
    pub(crate) warm_up: u64,
    /// Formats of the exports; none where empty
    #[arg(long, value_delimiter = ',', default_value = "ndjson,csv")]
    pub(crate) export: Vec<String>,
    /// Rows of a slice of an export
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) export_slice: u64,
    /// Start of the random numbers, of traffic and questions
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Folder for the parts' data: it stays, and where it is loaded already it is taken as it is
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Another binary of seenby, to be compared with
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
    /// What `cargo bench` says to every bench
    #[arg(long, hide = true)]
    pub(crate) bench: bool,
}

/// Measures with the parts of `program`, or of the one that the settings name.
///
/// # Panics
/// Where a part does not start, or something else than an answer to a question fails: a measurement has nothing to go on
/// with.
pub(crate) fn run(settings: &Settings, program: &Path) -> Report {
    let mut parts = Parts::start(settings, settings.program.as_deref().unwrap_or(program));
    if parts.is_new {
        progress("loading");
        parts.simulate_history(settings);
    }
    parts.wait_until_drained();
    let mut report = Report::new(settings, parts.loaded());

    progress("warming up");
    let phases = settings.phases();
    let measured_seconds: u64 = phases.iter().map(|phase| phase.duration.as_secs()).sum();
    let live = parts.simulate_live(settings, measured_seconds);
    std::thread::sleep(Duration::from_secs(settings.warm_up));
    let mut questions = Questions::gather(&parts, settings);
    Phase::closed("warm-up", Duration::from_secs(settings.warm_up), Kind::List, 1).run(&parts, &mut questions);
    for phase in phases {
        progress(phase.name);
        let watch = Watch::begin(&parts, live.as_ref());
        let measured = phase.run(&parts, &mut questions);
        report.add_phase(phase.name, measured, watch.end());
    }

    drop(live);
    parts.wait_until_drained();
    for format in settings.export.iter().filter(|format| !format.is_empty()) {
        progress(format);
        report.add_export(export::run(&parts, format, settings.export_slice));
    }
    parts.stop();
    report
}

impl Settings {
    fn phases(&self) -> Vec<Phase> {
        let duration = Duration::from_secs(self.seconds);
        let open = |name, rates: &[(Kind, f64)]| Phase::open(name, duration, rates);
        let closed = |name, kind| Phase::closed(name, duration, kind, self.connections);
        vec![
            open("open loop, lists", &[(Kind::List, self.rate)]),
            open("open loop, lists and batches", &[(Kind::List, self.rate), (Kind::Batch, self.batch_rate)]),
            closed("closed loop, lists", Kind::List),
            closed("closed loop, batches", Kind::Batch),
        ]
    }
}

/// Says on standard error where the measurement is.
fn progress(step: &str) {
    use std::io::Write as _;
    // Nobody is told where standard error is closed.
    let _ = writeln!(std::io::stderr(), "queries under load: {step}");
}
