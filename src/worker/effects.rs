//! The effects of a flush: rows first, then Kafka's commit, each repeated as long as that may help.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::clock::Clock;
use super::error::WorkerError;
use super::flush::Flush;
use super::metrics::WorkerMetrics;
use super::ownership::Ownership;
use crate::event::PartitionId;
use crate::log::{CommitError, Committer, SourceError};
use crate::observe::{FailPoint, reach};
use crate::store::{Store, StoreError};

/// The first pause before a repetition, doubled from one to the next.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause before a repetition.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a flush ended.
#[derive(Debug)]
pub struct FlushAnswer {
    /// `Ok` once rows and commit are done for all partitions still owned.
    pub result: Result<(), WorkerError>,
    /// Bytes that are free again.
    pub bytes: usize,
}

/// Writes flushes, one after the other. Owned by one thread, or called by a simulation.
pub struct Effects<S, C, K> {
    store: S,
    committer: C,
    clock: K,
    ownership: Ownership,
    metrics: WorkerMetrics,
    /// Label of this pipeline's metrics.
    thread: String,
    /// How long a flush is tried in all, its rows and its commit together.
    deadline: Duration,
    /// Partitions of which a flush was passed over, with the rebalance since which they were owned. A flush says which
    /// totals changed since the one before it: without that, those of the next would stand in the ledger for an offset as
    /// of which others are missing.
    passed_over: BTreeMap<PartitionId, u64>,
}

impl<S: Store, C: Committer, K: Clock> Effects<S, C, K> {
    /// `deadline` is how long a flush is tried before it is given up.
    pub fn new(
        store: S,
        committer: C,
        clock: K,
        ownership: Ownership,
        metrics: WorkerMetrics,
        thread: String,
        deadline: Duration,
    ) -> Self {
        Self { store, committer, clock, ownership, metrics, thread, deadline, passed_over: BTreeMap::new() }
    }

    /// Writes one flush. Blocks until it is done or given up.
    pub fn write(&mut self, flush: &mut Flush) -> FlushAnswer {
        let begun = self.clock.now();
        let bytes = flush.bytes();
        self.leave_out_broken_totals(flush);
        reach(FailPoint::RowsBegin);
        let result = self.insert(flush, begun).and_then(|()| {
            reach(FailPoint::RowsEnd);
            self.commit(flush, begun)
        });
        let committed: &[PartitionId] = result.as_deref().unwrap_or_default();
        for (effects, tallies) in flush.effects.iter().zip(&flush.tallies) {
            if committed.contains(&effects.partition) {
                tallies.publish(&self.metrics);
            } else {
                tallies.discard();
            }
        }
        if !committed.is_empty() {
            self.metrics.flush_records.observe(flush.records as f64);
            self.metrics.flush_bytes.observe(flush.rows.bytes() as f64);
            self.observe("total", flush.begun);
        }
        self.metrics.flush_refused.with_label_values(&[&self.thread]).set(0);
        FlushAnswer { result: result.map(|_| ()), bytes }
    }

    /// What ended the pipeline: where the group says that its name was taken, the committer is asked whether it was.
    pub fn verdict(mut self, error: WorkerError) -> WorkerError {
        match error {
            WorkerError::Source(SourceError::Fenced { group, instance }) if !self.committer.is_name_taken() => {
                SourceError::JoinedTwice { group, instance }.into()
            }
            error => error,
        }
    }

    /// Leaves out the totals of partitions whose last flush was passed over. They are no longer owned, and nothing of them
    /// is committed; as their facts may have the others' for company, those are written all the same.
    fn leave_out_broken_totals(&self, flush: &mut Flush) {
        for (partition, rebalance) in &flush.rebalances {
            if self.passed_over.get(partition) == Some(rebalance) {
                flush.rows.drop_totals(*partition);
            }
        }
    }

    /// Whether any partition of it is still this pipeline's. The rows of others need not be written: their next owners
    /// fold the records again.
    fn is_any_owned(&self, flush: &Flush) -> bool {
        flush.rebalances.iter().any(|(partition, rebalance)| self.ownership.holds(*partition, *rebalance))
    }

    fn insert(&mut self, flush: &Flush, tried_since: Duration) -> Result<(), WorkerError> {
        let begun = self.clock.now();
        let mut pause = FIRST_PAUSE;
        // Giving everything up leaves nothing owned, too.
        while self.is_any_owned(flush) {
            match self.store.write(&flush.rows) {
                Ok(()) => {
                    self.observe("insert", begun);
                    return Ok(());
                }
                Err(StoreError::Stopped) => break,
                Err(error) => self.hold("insert", tried_since, &mut pause, error.into())?,
            }
        }
        self.passed_over.extend(flush.rebalances.iter().copied());
        Ok(())
    }

    /// Commits what is still owned, and returns which partitions that was.
    fn commit(&mut self, flush: &Flush, tried_since: Duration) -> Result<Vec<PartitionId>, WorkerError> {
        let begun = self.clock.now();
        let mut pause = FIRST_PAUSE;
        // What the committer was told last is what it committed.
        let committed = RefCell::new(BTreeSet::new());
        let ownership = self.ownership.clone();
        let is_owned = |partition| {
            let is_owned = flush
                .rebalances
                .iter()
                .any(|(member, rebalance)| *member == partition && ownership.holds(partition, *rebalance));
            if is_owned {
                committed.borrow_mut().insert(partition);
            } else {
                committed.borrow_mut().remove(&partition);
            }
            is_owned
        };
        loop {
            if !self.is_any_owned(flush) {
                return Ok(Vec::new());
            }
            match self.committer.commit(&flush.effects, &is_owned) {
                Ok(()) => break,
                Err(error @ (CommitError::Unknown { .. } | CommitError::Fenced { .. })) => return Err(error.into()),
                // A member joining the group fails commits for partitions that stay as well; the next try takes the
                // member's new identity.
                Err(error) => self.hold("commit", tried_since, &mut pause, error.into())?,
            }
        }
        self.observe("commit", begun);
        Ok(committed.take().into_iter().collect())
    }

    fn observe(&self, stage: &str, begun: Duration) {
        let elapsed = self.clock.now().saturating_sub(begun);
        self.metrics.flush_seconds.with_label_values(&[stage]).observe(elapsed.as_secs_f64());
    }

    /// Waits before the next try, or gives up. A refusal is tried again as well, since whoever was paged repairs it
    /// while this waits; nothing is skipped.
    fn hold(
        &self,
        stage: &'static str,
        tried_since: Duration,
        pause: &mut Duration,
        error: WorkerError,
    ) -> Result<(), WorkerError> {
        let elapsed = self.clock.now().saturating_sub(tried_since);
        if elapsed >= self.deadline {
            return Err(WorkerError::FlushGivenUp { seconds: elapsed.as_secs(), last: Box::new(error) });
        }
        self.metrics.retries.with_label_values(&[stage]).inc();
        let is_refused = match &error {
            WorkerError::Store(error) => !error.is_retryable(),
            WorkerError::Commit(error) => matches!(error, CommitError::Refused { .. }),
            _ => false,
        };
        self.metrics.flush_refused.with_label_values(&[&self.thread]).set(i64::from(is_refused));
        if is_refused {
            *pause = LONGEST_PAUSE;
            tracing::error!(stage, %error, "a flush is refused: somebody must act; input stops meanwhile");
        } else {
            tracing::warn!(stage, %error, pause_ms = pause.as_millis() as u64, "trying a flush again");
        }
        // In small steps, so that giving everything up is heard.
        let wake = self.clock.now() + *pause;
        while self.clock.now() < wake && !self.ownership.is_abandoned() {
            self.clock.sleep(FIRST_PAUSE.min(wake.saturating_sub(self.clock.now())));
        }
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
