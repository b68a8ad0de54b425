//! The intake: polls, decodes and folds, hands flushes over, and answers rebalances. One thread, or a simulation, calls
//! [`Intake::step`] over and over; everything that may block for long happens elsewhere.

mod rebalance;

use std::collections::BTreeMap;
use std::time::Duration;

use bumpalo::Bump;
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use rebalance::Revocation;

use super::clock::Clock;
use super::effects::FlushAnswer;
use super::error::{Recovery, WorkerError};
use super::flush::{Flush, FlushBuilder, FlushedPartition};
use super::hydration::{HydrationAnswer, HydrationJob};
use super::metrics::WorkerMetrics;
use super::ownership::Ownership;
use crate::event::{Offset, PartitionId, RecordTime};
use crate::fold::Partition;
use crate::log::{RecordBatch, Source, SourceError};
use crate::store::TopicIdentity;

/// How long one poll waits for records; a stop is noticed after that.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// How often state is measured and lag is published.
const MEASURE_INTERVAL: Duration = Duration::from_millis(250);

/// What bounds a flush and the memory of a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct IntakeLimits {
    /// The longest time between two flushes.
    pub flush_interval: Duration,
    /// The most records in one flush.
    pub flush_records: u64,
    /// The most bytes of rows and records in one flush.
    pub flush_bytes: usize,
    /// Bytes of state and unflushed rows at which the input pauses.
    pub memory_bytes: usize,
    /// How long a full flush waits for the one before it without polling. Pausing throws away what was fetched ahead, so
    /// a short wait is cheaper; a rebalance waits as long. Zero in a simulation.
    pub stall_wait: Duration,
    /// How long partitions that are to be given up are waited for before their last flush is left to the next owner.
    pub revoke_timeout: Duration,
}

/// The ends of the queues that an intake holds.
pub struct IntakeQueues {
    /// To the effects; a queue of one.
    pub flushes: Sender<Flush>,
    /// From the effects.
    pub flush_answers: Receiver<FlushAnswer>,
    /// To the hydration.
    pub hydrations: Sender<HydrationJob>,
    /// From the hydration.
    pub hydration_answers: Receiver<HydrationAnswer>,
}

/// Reads the partitions of one pipeline.
pub struct Intake<S, K> {
    source: S,
    clock: K,
    limits: IntakeLimits,
    queues: IntakeQueues,
    ownership: Ownership,
    topic: TopicIdentity,
    metrics: WorkerMetrics,
    thread: String,

    batch: RecordBatch,
    arena: Bump,
    building: FlushBuilder,
    owned: BTreeMap<PartitionId, OwnedPartition>,
    /// Partitions given and not yet read back, by rebalance.
    hydrating: BTreeMap<u64, Vec<PartitionId>>,
    revocation: Option<Revocation>,
    /// Flushes handed over, counted upwards; the effects answer them in that order.
    flushes_begun: u64,
    flushes_answered: u64,
    bytes_in_flight: usize,
    state_bytes: usize,
    measured_at: Duration,
    warned_of_memory_at: Option<Duration>,
    has_joined: bool,
    is_paused: bool,
    is_stopping: bool,
}

struct OwnedPartition {
    state: Partition,
    rebalance: u64,
    /// Records below are folded; one that comes again is a defect of the source and is not folded twice. Moves on behind
    /// markers of transactions too, which the state hears of at the end of a flush.
    next_offset: Offset,
    /// Of the record folded last; after a takeover about that, until one is folded.
    last_record_time: RecordTime,
    /// To be given up: nothing is folded any more.
    is_revoked: bool,
}

impl<S: Source, K: Clock> Intake<S, K> {
    /// An intake without partitions; the group gives them.
    #[expect(clippy::too_many_arguments, reason = "the parts of a pipeline meet here, once")]
    pub fn new(
        source: S,
        clock: K,
        limits: IntakeLimits,
        queues: IntakeQueues,
        ownership: Ownership,
        topic: TopicIdentity,
        metrics: WorkerMetrics,
        thread: String,
    ) -> Self {
        let building = FlushBuilder::new(topic.clone(), metrics.clone());
        Self {
            source,
            clock,
            limits,
            queues,
            ownership,
            topic,
            metrics,
            thread,
            batch: RecordBatch::default(),
            arena: Bump::new(),
            building,
            owned: BTreeMap::new(),
            hydrating: BTreeMap::new(),
            revocation: None,
            flushes_begun: 0,
            flushes_answered: 0,
            bytes_in_flight: 0,
            state_bytes: 0,
            measured_at: Duration::ZERO,
            warned_of_memory_at: None,
            has_joined: false,
            is_paused: false,
            is_stopping: false,
        }
    }

    /// One turn: answers, rebalances, a flush where one is due, and a batch of records. Blocks for 50 ms where
    /// there is nothing to do, a little longer where the effects are behind.
    ///
    /// # Errors
    /// Whatever ends the pipeline: its own errors, and those that the effects and the hydration answered.
    pub fn step(&mut self) -> Result<(), WorkerError> {
        self.turn().map_err(|error| self.name_taken(error))
    }

    /// What ends the pipeline. One that starts anew joins by its name again and would end the worker that has taken it
    /// meanwhile: the group is asked before.
    fn name_taken(&mut self, error: WorkerError) -> WorkerError {
        if error.recovery() == Recovery::Stop {
            return error;
        }
        match self.source.poll(Duration::ZERO, &mut self.batch) {
            Err(fenced @ SourceError::Fenced { .. }) => fenced.into(),
            _ => error,
        }
    }

    fn turn(&mut self) -> Result<(), WorkerError> {
        self.take_answers()?;
        while let Some(note) = self.source.take_note() {
            self.serve(note)?;
        }
        self.hand_over_flush();
        self.give_up_revoked()?;
        self.measure();
        self.wait_for_effects()?;
        self.pause_or_resume()?;
        // The source is polled whatever happens: that keeps the membership.
        self.source.poll(POLL_WAIT, &mut self.batch)?;
        self.fold_batch();
        Ok(())
    }

    /// No record is folded from here on; what was is still flushed.
    pub fn begin_stop(&mut self) {
        self.pass_markers();
        self.is_stopping = true;
    }

    /// Whether everything folded is flushed and answered.
    pub fn is_drained(&self) -> bool {
        self.building.is_empty() && self.flushes_answered == self.flushes_begun
    }

    /// Whether the group gave it its partitions, be they none, and all of them are read.
    pub fn is_assigned(&self) -> bool {
        self.has_joined && self.hydrating.is_empty()
    }

    /// The states of the partitions that are read at the moment, in ascending order.
    pub fn states(&self) -> impl Iterator<Item = &Partition> {
        self.owned.values().map(|owned| &owned.state)
    }

    /// Ends it and gives the source back to be closed.
    pub fn into_source(mut self) -> S {
        // The next one counts from nothing.
        self.drop_states(|_, _| true);
        self.metrics.state_bytes.with_label_values(&[&self.thread]).set(0);
        self.metrics.intake_paused.with_label_values(&[&self.thread]).set(0);
        self.source
    }

    fn take_answers(&mut self) -> Result<(), WorkerError> {
        while let Ok(answer) = self.queues.flush_answers.try_recv() {
            self.take_flush_answer(answer)?;
        }
        loop {
            match self.queues.hydration_answers.try_recv() {
                Ok(answer) => self.take_hydration_answer(answer)?,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(()),
            }
        }
    }

    fn take_flush_answer(&mut self, answer: FlushAnswer) -> Result<(), WorkerError> {
        self.flushes_answered += 1;
        self.bytes_in_flight = self.bytes_in_flight.saturating_sub(answer.bytes);
        answer.result
    }

    fn is_flush_due(&self) -> bool {
        let Some(begun) = self.building.begun() else { return false };
        self.is_stopping
            || self.revocation.as_ref().is_some_and(|revocation| revocation.last_flush.is_none())
            || self.is_flush_full()
            || self.is_over_memory()
            || self.clock.now().saturating_sub(begun) >= self.limits.flush_interval
    }

    fn is_flush_full(&self) -> bool {
        self.building.records() >= self.limits.flush_records || self.building.bytes() >= self.limits.flush_bytes
    }

    fn memory_bytes(&self) -> usize {
        self.state_bytes + self.bytes_in_flight + self.building.bytes()
    }

    fn is_over_memory(&self) -> bool {
        // A paused input goes on a little below the limit, or it would flap.
        let limit = if self.is_paused { self.limits.memory_bytes / 10 * 9 } else { self.limits.memory_bytes };
        self.memory_bytes() > limit
    }

    fn hand_over_flush(&mut self) {
        if !self.is_flush_due() || self.queues.flushes.is_full() {
            return;
        }
        self.pass_markers();
        let owned = self.owned.iter_mut().map(|(partition, owned)| FlushedPartition {
            partition: *partition,
            state: &mut owned.state,
            next_offset: owned.next_offset,
            rebalance: owned.rebalance,
        });
        let flush = self.building.finish(owned, self.clock.now());
        let bytes = flush.bytes();
        // Only this thread sends, so the queue has room; a closed one means that the pipeline ends.
        if self.queues.flushes.try_send(flush).is_ok() {
            self.flushes_begun += 1;
            self.bytes_in_flight += bytes;
            if let Some(revocation) = &mut self.revocation {
                revocation.last_flush.get_or_insert(self.flushes_begun);
            }
        }
    }

    /// Moves on behind markers of transactions, and brings partitions into the flush that nothing else brings there: an
    /// idle one would stay committed in front of its last markers, and once retention has removed them, in front of its
    /// log. To be called where everything that was polled is folded: not from the middle of a batch.
    fn pass_markers(&mut self) {
        if self.is_stopping {
            return;
        }
        let now = self.clock.now();
        for (partition, position) in self.source.positions() {
            let Some(owned) = self.owned.get_mut(&partition) else { continue };
            // What is polled of a revoked partition is not folded.
            if !owned.is_revoked && owned.next_offset < position {
                owned.next_offset = position;
                self.building.pass(partition, now);
            }
        }
    }

    fn measure(&mut self) {
        let now = self.clock.now();
        if now.saturating_sub(self.measured_at) < MEASURE_INTERVAL {
            return;
        }
        self.measured_at = now;
        self.pass_markers();
        self.state_bytes = self.owned.values().map(|owned| owned.state.state_bytes()).sum();
        let state_bytes = i64::try_from(self.state_bytes).unwrap_or(i64::MAX);
        self.metrics.state_bytes.with_label_values(&[&self.thread]).set(state_bytes);
        let unix_millis = self.clock.unix_millis();
        for (partition, owned) in &self.owned {
            let Some(end) = self.source.end_offset(*partition) else { continue };
            let lag = end.get().saturating_sub(owned.next_offset.get());
            let is_behind = lag > 0 && owned.last_record_time.millis() >= 0;
            let age = if is_behind { (unix_millis - owned.last_record_time.millis()).max(0) / 1000 } else { 0 };
            let label = partition.get().to_string();
            self.metrics.lag_records.with_label_values(&[&label]).set(i64::try_from(lag).unwrap_or(i64::MAX));
            self.metrics.lag_seconds.with_label_values(&[&label]).set(age);
        }
        self.warn_of_memory(now);
    }

    /// State alone beyond the limit does not shrink by flushing: somebody must give it room.
    fn warn_of_memory(&mut self, now: Duration) {
        let is_due = self.warned_of_memory_at.is_none_or(|at| now.saturating_sub(at) >= Duration::from_secs(30));
        if self.state_bytes > self.limits.memory_bytes && is_due {
            self.warned_of_memory_at = Some(now);
            tracing::error!(
                state_bytes = self.state_bytes,
                limit_bytes = self.limits.memory_bytes,
                "the state does not fit its memory and the input stands still: raise worker.memory_limit_bytes or add \
                 workers"
            );
        }
    }

    /// A full flush behind a busy one waits a little before the input is paused.
    fn wait_for_effects(&mut self) -> Result<(), WorkerError> {
        if self.is_paused || !self.is_flush_full() || !self.queues.flushes.is_full() {
            return Ok(());
        }
        if let Ok(answer) = self.queues.flush_answers.recv_timeout(self.limits.stall_wait) {
            self.take_flush_answer(answer)?;
        }
        self.hand_over_flush();
        Ok(())
    }

    fn pause_or_resume(&mut self) -> Result<(), WorkerError> {
        let is_held = self.is_flush_full() || self.is_over_memory() || self.is_stopping;
        if is_held == self.is_paused {
            return Ok(());
        }
        let partitions: Vec<PartitionId> = self.owned.keys().copied().collect();
        if is_held {
            self.source.pause(&partitions)?;
        } else {
            self.source.resume(&partitions)?;
        }
        self.is_paused = is_held;
        self.metrics.intake_paused.with_label_values(&[&self.thread]).set(i64::from(is_held));
        Ok(())
    }

    fn fold_batch(&mut self) {
        if self.is_stopping {
            return;
        }
        let now = self.clock.now();
        for consumed in self.batch.iter() {
            // Records of partitions that are not, or no longer, this pipeline's are somebody else's to fold.
            let Some(owned) = self.owned.get_mut(&consumed.partition) else { continue };
            if owned.is_revoked || consumed.offset < owned.next_offset {
                continue;
            }
            let record = consumed.decode(&self.arena);
            self.building.fold(consumed.partition, &mut owned.state, &record, now);
            owned.next_offset = consumed.offset.next();
            owned.last_record_time = consumed.time;
        }
        self.arena.reset();
    }
}

#[cfg(test)]
mod tests;
