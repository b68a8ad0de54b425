//! One pipeline: an intake, its effects and its hydration on a thread each, made anew after every failure that may pass.
//!
//! Starting anew is the one way of recovery: whatever was uncertain (a commit whose end is not known, a connection, a
//! state ahead of a flush that failed) is forgotten with it. A new transactional producer settles its predecessor's
//! transaction, the group then says what is committed, and hydration builds the state as of that.

use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};

use super::StartOptions;
use super::clock::Clock;
use super::effects::Effects;
use super::error::{Recovery, WorkerError};
use super::hydration::{HydrationSettings, Hydrator};
use super::intake::{Intake, IntakeLimits, IntakeQueues};
use super::metrics::WorkerMetrics;
use super::ownership::{CleaningDuty, Ownership};
use super::stop::StopSignal;
use super::unassigned::RejoinSignal;
use crate::config::{Config, RecoveryMode};
use crate::log::{Committer, LogReader, Source};
use crate::observe::{Condition, FailPoint, reach};
use crate::store::{Store, TopicIdentity};

/// How long a stop waits for the flushes on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// The first pause before a pipeline starts again, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A pipeline that ran for this long starts again without the pauses of earlier failures.
const STEADY_AFTER: Duration = Duration::from_secs(60);

/// Makes the parts of a pipeline, each time it starts. Blocks.
pub trait Connect: Send {
    /// Where records come from.
    type Source: Source;
    /// How effects become visible.
    type Committer: Committer;
    /// Where rows go.
    type Store: Store;
    /// What reads the log outside of the group.
    type LogReader: LogReader + Send;

    /// A new source, which has not joined the group yet.
    ///
    /// # Errors
    /// What the broker said.
    fn source(&mut self) -> Result<Self::Source, WorkerError>;

    /// A new committer for that source's group. When it is made, no commit of an earlier one can end any more. It takes the
    /// worker's name before the source joins by it: so a worker that the group has fenced can tell who did that.
    ///
    /// # Errors
    /// What the broker said.
    fn committer(&mut self, group: <Self::Source as Source>::Group) -> Result<Self::Committer, WorkerError>;

    /// A new store; it connects when it is used. What it does ends soon once `ownership` is abandoned, however long
    /// ClickHouse may take: the pipeline waits for it.
    fn store(&mut self, ownership: &Ownership) -> Self::Store;

    /// A new reader of the log; it connects when it is used.
    fn log_reader(&mut self) -> Self::LogReader;
}

/// What a pipeline is told once.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    /// The events topic.
    pub topic: TopicIdentity,
    /// Name of the consumer group.
    pub group: String,
    /// Number of the pipeline in its process, as metrics and threads are named by it.
    pub thread: String,
    /// Bounds of a flush and of memory.
    pub limits: IntakeLimits,
    /// How long a flush is tried.
    pub flush_deadline: Duration,
    /// How states are recovered.
    pub recovery: RecoveryMode,
    /// Of this start.
    pub options: StartOptions,
}

impl PipelineSettings {
    /// What the configuration says for one pipeline of a process.
    pub fn of(config: &Config, topic: &TopicIdentity, thread: u16) -> Self {
        let worker = &config.worker;
        let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let max_poll_interval = Duration::from_millis(u64::from(worker.max_poll_interval_ms));
        Self {
            topic: topic.clone(),
            group: config.kafka.group.clone(),
            thread: thread.to_string(),
            limits: IntakeLimits {
                flush_interval: Duration::from_millis(worker.flush_interval_ms),
                flush_records: worker.flush_records,
                flush_bytes: bytes(worker.flush_bytes),
                memory_bytes: bytes(worker.memory_limit_bytes) / usize::from(worker.threads.max(1)),
                stall_wait: Duration::from_millis(500).min(max_poll_interval / 10),
                revoke_timeout: revoke_timeout(config),
            },
            flush_deadline: max_poll_interval,
            recovery: worker.recovery,
            options: StartOptions::default(),
        }
    }
}

/// How long partitions that are to be given up are waited for. The group waits as long as the poll interval.
pub(super) fn revoke_timeout(config: &Config) -> Duration {
    Duration::from_secs(15).min(Duration::from_millis(u64::from(config.worker.max_poll_interval_ms)) / 2)
}

/// A pipeline ready to run.
pub struct Pipeline<C, K> {
    /// Makes its parts.
    pub connect: C,
    /// Time.
    pub clock: K,
    /// What it is told once.
    pub settings: PipelineSettings,
    /// Asked to end through this.
    pub stop: StopSignal,
    /// Asked to leave the group and join it again through this.
    pub rejoin: RejoinSignal,
    /// What it tells Prometheus.
    pub metrics: WorkerMetrics,
    /// Told whether partition 0 is this process's.
    pub duty: CleaningDuty,
    /// Met while all partitions that the group gave are read.
    pub assigned: Condition,
}

impl<C: Connect, K: Clock> Pipeline<C, K> {
    /// Runs until it is asked to end.
    ///
    /// # Errors
    /// What somebody must act on; everything else is recovered from.
    pub fn run(&mut self) -> Result<(), WorkerError> {
        let mut pause = FIRST_PAUSE;
        while !self.stop.is_requested() {
            let begun = self.clock.now();
            let Err(error) = self.run_once() else { return Ok(()) };
            self.assigned.unmet(error.to_string());
            if error.recovery() == Recovery::Stop {
                return Err(error);
            }
            if self.clock.now().saturating_sub(begun) >= STEADY_AFTER {
                pause = FIRST_PAUSE;
            }
            self.metrics.restarts.inc();
            tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "the pipeline starts again");
            let wake = self.clock.now() + pause;
            while self.clock.now() < wake && !self.stop.is_requested() {
                self.clock.sleep(Duration::from_millis(50));
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    fn run_once(&mut self) -> Result<(), WorkerError> {
        let mut source = self.connect.source()?;
        let committer = self.connect.committer(source.group()).and_then(|committer| {
            reach(FailPoint::JoinBegin);
            source.join()?;
            Ok(committer)
        });
        let committer = match committer {
            Ok(committer) => committer,
            Err(error) => {
                source.close(false);
                return Err(error);
            }
        };
        let (result, source) = self.run_threads(source, committer);
        // The other threads have ended, and the source's handles with them.
        let leaves = match &result {
            Ok(()) => self.stop.is_leaving(),
            Err(error) => error.recovery() == Recovery::LeaveAndRebuild,
        };
        source.close(leaves);
        result
    }

    fn run_threads(&mut self, source: C::Source, committer: C::Committer) -> (Result<(), WorkerError>, C::Source) {
        let PipelineSettings { topic, group, thread, limits, flush_deadline, recovery, options } =
            self.settings.clone();
        let ownership = Ownership::with_duty(self.duty.clone());
        let mut effects = Effects::new(
            self.connect.store(&ownership),
            committer,
            self.clock.clone(),
            ownership.clone(),
            self.metrics.clone(),
            thread.clone(),
            flush_deadline,
        );
        let mut hydrator = Hydrator::new(
            self.connect.store(&ownership),
            source.group(),
            self.connect.log_reader(),
            HydrationSettings {
                topic: topic.clone(),
                group,
                recovery,
                flush_records: limits.flush_records,
                flush_bytes: limits.flush_bytes,
                accepts_fold_version: options.accept_fold_version,
            },
            self.clock.clone(),
            ownership.clone(),
            self.metrics.clone(),
        );
        let (flush_sender, flush_receiver) = bounded(1);
        let (flush_answer_sender, flush_answer_receiver) = unbounded();
        let (hydration_sender, hydration_receiver) = unbounded();
        let (hydration_answer_sender, hydration_answer_receiver) = unbounded();
        let queues = IntakeQueues {
            flushes: flush_sender,
            flush_answers: flush_answer_receiver,
            hydrations: hydration_sender,
            hydration_answers: hydration_answer_receiver,
        };
        let mut intake = Intake::new(
            source,
            self.clock.clone(),
            limits,
            queues,
            ownership.clone(),
            topic,
            self.metrics.clone(),
            thread.clone(),
        );
        thread::scope(|scope| {
            let effects = spawn(scope, format!("effects-{thread}"), move || {
                for mut flush in flush_receiver {
                    let answer = effects.write(&mut flush);
                    let is_over = answer.result.is_err();
                    // After a failure the flushes behind it are built on a state that never came to be.
                    if flush_answer_sender.send(answer).is_err() || is_over {
                        break;
                    }
                }
                effects
            });
            let hydration = spawn(scope, format!("hydration-{thread}"), move || {
                for job in hydration_receiver {
                    if hydration_answer_sender.send(hydrator.hydrate(&job)).is_err() {
                        return;
                    }
                }
            });
            let result = match effects.as_ref().err().or(hydration.as_ref().err()) {
                None => self.drive(&mut intake, &ownership),
                Some(error) => {
                    Err(WorkerError::Setup { doing: "starting a thread of a pipeline", reason: error.to_string() })
                }
            };
            // What is still on its way counts as not seen; the threads end when their queues do.
            ownership.abandon();
            let source = intake.into_source();
            let effects = effects.ok().and_then(|effects| effects.join().ok());
            let result = result.map_err(|error| match effects {
                // Whoever is to stop does not wait for the answer.
                Some(effects) if !self.stop.is_requested() => effects.verdict(error),
                _ => error,
            });
            (result, source)
        })
    }

    fn drive(&self, intake: &mut Intake<C::Source, K>, ownership: &Ownership) -> Result<(), WorkerError> {
        let mut stop_deadline = None;
        let mut was_assigned = false;
        loop {
            if self.stop.is_requested() && stop_deadline.is_none() {
                stop_deadline = Some(self.clock.now() + STOP_TIMEOUT);
                intake.begin_stop();
            }
            if let Some(deadline) = stop_deadline {
                if intake.is_drained() {
                    return Ok(());
                }
                if self.clock.now() >= deadline {
                    tracing::warn!("stopping without the last flush: the next owner folds it again");
                    ownership.abandon();
                    return Ok(());
                }
            }
            if self.rejoin.take() {
                return Err(WorkerError::Unassigned { group: self.settings.group.clone() });
            }
            intake.step()?;
            let is_assigned = intake.is_assigned();
            if is_assigned && !was_assigned {
                self.assigned.met();
            } else if was_assigned && !is_assigned {
                self.assigned.unmet("waiting for the group, or partitions are being read back");
            }
            was_assigned = is_assigned;
        }
    }
}

/// Ends the process if its thread panics: the other threads would wait for it quietly for ever.
struct PanicGuard;

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("a thread of the worker panicked: the process ends");
            std::process::abort();
        }
    }
}

/// Runs `work`, ending the process if it panics.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> T {
    let _guard = PanicGuard;
    work()
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: String,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new().name(name).spawn_scoped(scope, || guarded(work))
}
