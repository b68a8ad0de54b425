//! `seenby demo`: broker, ClickHouse engine, worker, API and simulator in one process, and proof that they agree.

mod effects;
mod progress;
mod reconciliation;
mod stack;

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::config::{Config, LogConfig};
use crate::dev::broker::{BrokerError, RETAINED_BYTES};
use crate::dev::clickhouse::ClickHouseError;
use crate::dev::foreground;
use crate::dev::simulator::{ProduceError, Produced, SimulateArgs, Simulator, produce};
use crate::event::EventTime;
use crate::store::StoreError;
use crate::worker::WorkerError;

use self::effects::EffectsReader;
use self::progress::ProgressLine;
use self::reconciliation::Reconciliation;
use self::stack::Stack;

/// Records that may be in the broker and not yet committed by the worker. The broker drops its oldest batches beyond
/// [`RETAINED_BYTES`] a partition without a word, so even if all of them fall on one partition, uncompressed and at
/// 256 bytes each, they have to fit.
const MOST_IN_FLIGHT: u64 = RETAINED_BYTES / 256;

/// How long nothing may move before the demo gives up.
const STALL: Duration = Duration::from_secs(60);

/// How often the main thread looks at the others.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Records committed before there is something worth asking for.
const COMMANDS_AFTER: u64 = 10_000;

/// Rate of the endless demo, in records a second.
const LIVE_RATE: u32 = 2_000;

/// What `seenby demo` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Records to run through; 0 for an endless stream
    #[arg(long, default_value_t = 0)]
    pub events: u64,
    /// End after the reconciliation, successfully only if all adds up (needs --events)
    #[arg(long, requires = "events")]
    pub exit: bool,
    /// Groups of the simulated tenants
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub groups: u32,
    /// Start of the random numbers: the same seed gives the same traffic
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What stopped the demo.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The engine.
    #[error(transparent)]
    ClickHouse(#[from] ClickHouseError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The simulator.
    #[error(transparent)]
    Produce(Box<ProduceError>),
    /// The simulator's random delays.
    #[error("setting up the simulator's random delays: {0}")]
    Delays(#[from] rand_distr::NormalError),
    /// Reading what the worker sent.
    #[error("reading topic {topic} of the demo's broker: {source}")]
    Effects {
        /// The topic.
        topic: String,
        /// What librdkafka said.
        source: rdkafka::error::KafkaError,
    },
    /// The system: threads, folders, sockets, the terminal.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Reading the tables.
    #[error("reading the demo's tables: {0}")]
    Tables(Box<clickhouse::error::Error>),
    /// Asking the API.
    #[error("asking the demo's API for {url}: {reason}")]
    Api {
        /// What was asked.
        url: String,
        /// What came instead of an answer.
        reason: String,
    },
    /// Told to stop before the figures that `--exit` promises were there.
    #[error("interrupted, not reconciled")]
    Interrupted,
    /// The worker stopped, or stands still.
    #[error(
        "the worker committed {committed} of {produced} records and then nothing for {STALL:?}; its log lines say why"
    )]
    Stalled {
        /// Records committed.
        committed: u64,
        /// Records produced.
        produced: u64,
    },
}

impl DemoError {
    fn tables(error: clickhouse::error::Error) -> Self {
        Self::Tables(Box::new(error))
    }

    fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// Leaves the terminal to the demo's own lines: of the log only warnings, unless another level is set.
pub fn quieten(log: &mut LogConfig) {
    if log.filter == LogConfig::default().filter {
        "warn".clone_into(&mut log.filter);
    }
}

/// Runs the demo. `Ok(false)` where the figures do not add up.
///
/// The process must be ended by [`crate::dev::clickhouse::exit`] afterwards, as the engine ran in it.
///
/// # Errors
/// What stopped it, with what to do next.
pub fn run(args: &DemoArgs, config: &Config) -> Result<bool, DemoError> {
    let started = Instant::now();
    let told_to_stop = foreground::watch(false).map_err(DemoError::io("watching for Ctrl-C"))?;
    let stack = Stack::start(config)?;
    let effects = EffectsReader::start(&stack.config.kafka)?;
    say(&stack.introduction())?;

    let mut progress = ProgressLine::new(args.events);
    let outcome = run_through(args, &stack, &mut progress, &told_to_stop).and_then(|end| {
        let End::AllCommitted { produced, committed } = end else {
            return if args.exit { Err(DemoError::Interrupted) } else { Ok(true) };
        };
        let reconciliation = Reconciliation::gather(&stack, &effects, &produced, committed)?;
        say(&reconciliation.to_string())?;
        say(&stack.longest_reader_list()?)?;
        say(&format!("{:.1} s from the start.\n", started.elapsed().as_secs_f64()))?;
        if !args.exit {
            say("Serving until Ctrl-C.\n")?;
            // Ends with a message only: the watchers live as long as the process.
            let _ = told_to_stop.recv();
        }
        Ok(reconciliation.adds_up())
    });
    drop(effects);
    let stopped = stack.stop();
    // What went wrong first says more than how stopping went.
    let adds_up = outcome?;
    stopped?;
    Ok(adds_up)
}

/// How the traffic ended.
enum End {
    /// Somebody pressed Ctrl-C.
    Told,
    /// Everything produced is committed.
    AllCommitted { produced: Produced, committed: u64 },
}

/// Produces the traffic and shows how far the worker is, until all of it is committed.
fn run_through(
    args: &DemoArgs,
    stack: &Stack,
    progress: &mut ProgressLine,
    told_to_stop: &Receiver<()>,
) -> Result<End, DemoError> {
    let producer = Producer::start(args, stack)?;
    let mut is_introduced = false;
    let mut last = Movement { committed: 0, at: Instant::now() };
    loop {
        if told_to_stop.recv_timeout(LOOK_INTERVAL).is_ok() {
            progress.finish();
            return Ok(End::Told);
        }
        let outcomes = stack.outcomes();
        let committed = outcomes.values().sum();
        producer.committed.store(committed, Ordering::Relaxed);
        let sent = producer.sent.load(Ordering::Relaxed);
        progress.show(sent, &outcomes);
        if !is_introduced
            && (committed > COMMANDS_AFTER || producer.has_ended())
            && let Some(commands) = stack.commands()?
        {
            progress.above(&commands);
            is_introduced = true;
        }
        if producer.has_ended() && committed >= producer.sent.load(Ordering::Relaxed) {
            progress.finish();
            return Ok(End::AllCommitted { produced: producer.join()?, committed });
        }
        if committed > last.committed {
            last = Movement { committed, at: Instant::now() };
        } else if last.at.elapsed() > STALL || stack.has_worker_ended() {
            progress.finish();
            return Err(DemoError::Stalled { committed, produced: sent });
        }
    }
}

/// When the worker last got on.
struct Movement {
    committed: u64,
    at: Instant,
}

/// The simulator on a thread of its own.
struct Producer {
    /// Records handed to the broker.
    sent: Arc<AtomicU64>,
    /// Records the worker has committed, told by the main thread.
    committed: Arc<AtomicU64>,
    thread: JoinHandle<Result<Produced, ProduceError>>,
}

impl Producer {
    fn start(args: &DemoArgs, stack: &Stack) -> Result<Self, DemoError> {
        let traffic = SimulateArgs {
            rate: LIVE_RATE,
            events: args.events,
            days: 1,
            apps: stack::APPS,
            groups: args.groups,
            seed: args.seed,
            file: None,
        };
        let simulator = Simulator::new(traffic.simulator_config(now()))?;
        let rate = if args.events > 0 { 0 } else { LIVE_RATE };
        let kafka = stack.config.kafka.clone();
        let (sent, committed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (sent_here, committed_here) = (Arc::clone(&sent), Arc::clone(&committed));
        let thread = thread::Builder::new()
            .name("simulator".to_owned())
            .spawn(move || {
                let produced = produce(simulator, &kafka, rate, |progress| {
                    sent_here.store(progress.sent, Ordering::Relaxed);
                    progress.sent.saturating_sub(committed_here.load(Ordering::Relaxed)) < MOST_IN_FLIGHT
                })?;
                sent_here.store(produced.records, Ordering::Relaxed);
                Ok(produced)
            })
            .map_err(DemoError::io("starting the simulator's thread"))?;
        Ok(Self { sent, committed, thread })
    }

    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    fn join(self) -> Result<Produced, DemoError> {
        match self.thread.join() {
            Ok(produced) => produced.map_err(|error| DemoError::Produce(Box::new(error))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn say(text: &str) -> Result<(), DemoError> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(DemoError::io("writing to the terminal"))
}

fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
