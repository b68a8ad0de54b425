//! The loop that joins log, fold and store (DESIGN.md section 5).
//!
//! ```text
//! intake thread:    poll ─> decode ─> fold ─> flush in the making ──(queue of one)──> effects thread:
//!    ^   │                                                                            rows, ledger last;
//!    │   └─ rebalance ─> hydration thread: committed offsets, rows ─> state           then one commit
//!    └────────────────────────────── answers <────────────────────────────────────────────┘
//! ```
//!
//! A process runs `worker.threads` such pipelines; they share nothing but metrics and the wish to stop.

mod clock;
mod effects;
mod eraser;
mod error;
mod flush;
mod hydration;
mod intake;
mod janitor;
mod metrics;
mod ownership;
mod pipeline;
mod replay;
mod stop;
mod unassigned;

pub use clock::{Clock, SystemClock};
pub use effects::{Effects, FlushAnswer};
pub use error::{Recovery, WorkerError};
pub use flush::{Flush, FlushBuilder, FlushedPartition, Tallies};
pub use hydration::{HydrationAnswer, HydrationJob, HydrationSettings, Hydrator, ReadyPartition, Shortfall};
pub use intake::{Intake, IntakeLimits, IntakeQueues};
pub use metrics::{OutcomeTally, WorkerMetrics};
pub use ownership::{CleaningDuty, Ownership};
pub use pipeline::{Connect, Pipeline, PipelineSettings};
pub use replay::{LogRange, Replay};
pub use stop::StopSignal;
pub use unassigned::RejoinSignal;

use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::config::{Config, Delivery, KafkaConfig};
use crate::event::{Epoch, Offset, PartitionId};
use crate::log::{
    CommitError, Committer, KafkaGroup, KafkaLogReader, KafkaSource, LogReader, PartitionEffects, PlainCommitter,
    RecordBatch, SourceError, TransactionalCommitter, instance_id, topics,
};
use crate::observe::{Telemetry, serve_in_background};
use crate::store::{ClickHouseStore, Eraser, Janitor, TopicIdentity, check_schema, connect, watch_clickhouse};

/// Runs a worker in the foreground until a signal: SIGTERM and SIGINT finish the flush and keep the membership, unless
/// `leave` is set; SIGUSR1 leaves the group.
///
/// # Errors
/// What somebody must act on, with what to do next.
pub fn run(config: &Config, leave: bool, options: StartOptions) -> Result<(), WorkerError> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

    let telemetry = Telemetry::default();
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGUSR1])
        .map_err(|error| WorkerError::Setup { doing: "listening for signals", reason: error.to_string() })?;
    let server = serve_in_background(config.metrics.listen, telemetry.clone())
        .map_err(|error| WorkerError::Setup { doing: "serving metrics", reason: error.to_string() })?;
    tracing::info!(address = %server.address(), "metrics and health");
    let worker = Worker::start_with(config, &telemetry, options)?;
    let stop = worker.stop_signal();
    let listening = signals.handle();
    let listener = thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in &mut signals {
                tracing::info!(signal, "stopping");
                stop.request(leave || signal == SIGUSR1);
            }
        })
        .map_err(|error| WorkerError::Setup { doing: "starting a thread", reason: error.to_string() })?;
    let result = worker.join();
    listening.close();
    let _ = listener.join();
    result
}

/// What a worker is told at one start and at no other; everything lasting is configuration.
#[derive(Clone, Copy, Debug, Default)]
pub struct StartOptions {
    /// Go on from commits of another fold version.
    pub accept_fold_version: bool,
}

/// The pipelines of one process.
pub struct Worker {
    stop: StopSignal,
    pipelines: Vec<JoinHandle<Result<(), WorkerError>>>,
    /// Serves the store's connections; ends after the pipelines.
    runtime: tokio::runtime::Runtime,
}

impl Worker {
    /// Prepares the topics and starts `worker.threads` pipelines. Returns before they have joined the group;
    /// `telemetry` tells when they are ready. Not to be called within an asynchronous runtime.
    ///
    /// # Errors
    /// What the broker said about the topics, or what the system refused.
    pub fn start(config: &Config, telemetry: &Telemetry) -> Result<Self, WorkerError> {
        Self::start_with(config, telemetry, StartOptions::default())
    }

    /// The same, with options of this one start.
    ///
    /// # Errors
    /// As [`Worker::start`].
    pub fn start_with(config: &Config, telemetry: &Telemetry, options: StartOptions) -> Result<Self, WorkerError> {
        let metrics = WorkerMetrics::register(&telemetry.registry)
            .map_err(|error| WorkerError::Setup { doing: "registering metrics", reason: error.to_string() })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("clickhouse")
            .enable_all()
            .build()
            .map_err(|error| WorkerError::Setup { doing: "making a runtime", reason: error.to_string() })?;
        // Missing or foreign tables are somebody's to act on; a server that is down is waited for later on.
        match runtime.block_on(check_schema(&config.clickhouse, &connect(&config.clickhouse))) {
            Err(error) if !error.is_retryable() => return Err(error.into()),
            _ => {}
        }
        let (clickhouse, readiness) = (config.clickhouse.clone(), telemetry.readiness.clone());
        runtime.spawn(async move { watch_clickhouse(&clickhouse, &readiness).await });
        let topics = topics::prepare(&config.kafka)?;
        let topic = TopicIdentity {
            topic: config.kafka.topics.events.clone(),
            epoch: Epoch::new(config.kafka.epoch),
            partitions: topics.event_partitions,
        };
        let stop = StopSignal::default();
        let clock = SystemClock::start();
        let duty = CleaningDuty::default();
        let janitor = Janitor::new(config, topic.clone());
        runtime.spawn(janitor::keep_clean(janitor, duty.clone(), metrics.clone()));
        let erasures = eraser::ErasureLog {
            kafka: config.kafka.clone(),
            topic: topic.clone(),
            interval: Duration::from_millis(config.worker.erasure_interval_ms),
        };
        let eraser = Eraser::new(&config.clickhouse);
        runtime.spawn(eraser::keep_erased(eraser, erasures, duty.clone(), metrics.clone()));
        let mut pipelines = Vec::new();
        let threads = config.worker.threads.max(1);
        let rejoin: Vec<RejoinSignal> = (0..threads).map(|_| RejoinSignal::default()).collect();
        runtime.spawn(unassigned::watch(config.clone(), topic.partitions, rejoin.clone(), clock));
        for (thread, rejoin) in (0..threads).zip(rejoin) {
            // One of them waiting is a worker that waits.
            let condition = if threads == 1 { "kafka_assigned".to_owned() } else { format!("kafka_assigned_{thread}") };
            let mut pipeline = Pipeline {
                connect: KafkaAndClickHouse { config: config.clone(), thread, runtime: runtime.handle().clone() },
                clock,
                settings: PipelineSettings { options, ..PipelineSettings::of(config, &topic, thread) },
                stop: stop.clone(),
                rejoin,
                metrics: metrics.clone(),
                duty: duty.clone(),
                assigned: telemetry.readiness.condition(condition),
            };
            let stop_others = stop.clone();
            let handle = thread::Builder::new().name(format!("intake-{thread}")).spawn(move || {
                let result = pipeline::guarded(|| pipeline.run());
                if let Err(error) = &result {
                    tracing::error!(%error, thread, "a pipeline cannot go on: the worker stops");
                    stop_others.request(false);
                }
                result
            });
            match handle {
                Ok(handle) => pipelines.push(handle),
                Err(error) => {
                    stop.request(false);
                    return Err(WorkerError::Setup { doing: "starting a pipeline", reason: error.to_string() });
                }
            }
        }
        Ok(Self { stop, pipelines, runtime })
    }

    /// To ask it to stop with, from anywhere.
    pub fn stop_signal(&self) -> StopSignal {
        self.stop.clone()
    }

    /// Waits until all pipelines have ended.
    ///
    /// # Errors
    /// The first that ended with what somebody must act on.
    pub fn join(self) -> Result<(), WorkerError> {
        let mut first = Ok(());
        for pipeline in self.pipelines {
            // A panic ended the process before.
            let result = pipeline.join().unwrap_or(Ok(()));
            if first.is_ok() {
                first = result;
            }
        }
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        first
    }
}

/// The real parts.
struct KafkaAndClickHouse {
    config: Config,
    thread: u16,
    runtime: tokio::runtime::Handle,
}

impl Connect for KafkaAndClickHouse {
    type Source = KafkaSource;
    type Committer = KafkaCommitter;
    type Store = ClickHouseStore;
    type LogReader = LogReaderOnDemand;

    fn source(&mut self) -> Result<KafkaSource, WorkerError> {
        Ok(KafkaSource::create(&self.config, &instance_id(&self.config, self.thread))?)
    }

    fn committer(&mut self, group: KafkaGroup) -> Result<KafkaCommitter, WorkerError> {
        Ok(match self.config.worker.delivery {
            Delivery::ExactlyOnce => {
                KafkaCommitter::Transactional(TransactionalCommitter::create(&self.config, self.thread, group)?)
            }
            Delivery::AtLeastOnce => KafkaCommitter::Plain(PlainCommitter::create(&self.config, group)?),
        })
    }

    fn store(&mut self, ownership: &Ownership) -> ClickHouseStore {
        let ownership = ownership.clone();
        ClickHouseStore::new(self.config.clickhouse.clone(), self.runtime.clone())
            .while_wanted(move || !ownership.is_abandoned())
    }

    fn log_reader(&mut self) -> LogReaderOnDemand {
        LogReaderOnDemand { kafka: self.config.kafka.clone(), reader: None }
    }
}

/// A client of its own while the log is read outside of the group, which is seldom.
struct LogReaderOnDemand {
    kafka: KafkaConfig,
    reader: Option<KafkaLogReader>,
}

impl LogReaderOnDemand {
    fn reader(&mut self) -> Result<&mut KafkaLogReader, SourceError> {
        match &mut self.reader {
            Some(reader) => Ok(reader),
            none => Ok(none.insert(KafkaLogReader::new(&self.kafka)?)),
        }
    }
}

impl LogReader for LogReaderOnDemand {
    fn log_range(&mut self, partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        self.reader()?.log_range(partition)
    }

    fn begin(&mut self, partition: PartitionId, from: Offset) -> Result<(), SourceError> {
        self.reader()?.begin(partition, from)
    }

    fn read(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<Offset, SourceError> {
        self.reader()?.read(until, batch)
    }

    fn end(&mut self) {
        self.reader = None;
    }
}

/// The committer of the configured delivery.
enum KafkaCommitter {
    Transactional(TransactionalCommitter),
    Plain(PlainCommitter),
}

impl Committer for KafkaCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        match self {
            Self::Transactional(committer) => committer.commit(effects, is_owned),
            Self::Plain(committer) => committer.commit(effects, is_owned),
        }
    }

    fn is_name_taken(&mut self) -> bool {
        match self {
            Self::Transactional(committer) => committer.is_name_taken(),
            Self::Plain(committer) => committer.is_name_taken(),
        }
    }
}
