//! The effects of a flush: rows first, then Kafka's commit, each repeated as long as that may help.

use std::time::Duration;

use super::clock::Clock;
use super::error::WorkerError;
use super::flush::Flush;
use super::metrics::WorkerMetrics;
use super::ownership::Ownership;
use crate::log::{CommitError, Committer};
use crate::store::Store;

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
    /// How long a flush is tried in all.
    deadline: Duration,
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
        Self { store, committer, clock, ownership, metrics, thread, deadline }
    }

    /// Writes one flush. Blocks until it is done or given up.
    pub fn write(&mut self, flush: &Flush) -> FlushAnswer {
        let result = self.insert(flush).and_then(|()| self.commit(flush));
        match &result {
            Ok(()) => {
                flush.tallies.publish(&self.metrics);
                self.metrics.flush_records.observe(flush.records as f64);
                self.metrics.flush_bytes.observe(flush.rows.bytes() as f64);
                self.observe("total", flush.begun);
            }
            Err(_) => flush.tallies.discard(),
        }
        self.metrics.flush_refused.with_label_values(&[&self.thread]).set(0);
        FlushAnswer { result, bytes: flush.bytes() }
    }

    fn insert(&mut self, flush: &Flush) -> Result<(), WorkerError> {
        let begun = self.clock.now();
        let mut pause = FIRST_PAUSE;
        loop {
            if self.ownership.is_abandoned() {
                // Rows of a flush that will not be committed count as not yet seen: they need not be written.
                return Ok(());
            }
            match self.store.write(&flush.rows) {
                Ok(()) => break,
                Err(error) => self.hold("insert", begun, &mut pause, error.into())?,
            }
        }
        self.observe("insert", begun);
        Ok(())
    }

    fn commit(&mut self, flush: &Flush) -> Result<(), WorkerError> {
        let begun = self.clock.now();
        let mut pause = FIRST_PAUSE;
        loop {
            let ownership = self.ownership.clone();
            let is_owned = |partition| {
                flush
                    .rebalances
                    .iter()
                    .any(|(member, rebalance)| *member == partition && ownership.holds(partition, *rebalance))
            };
            if !flush.effects.iter().any(|effects| is_owned(effects.partition)) {
                // All of it went to other owners, which fold it again.
                return Ok(());
            }
            match self.committer.commit(&flush.effects, &is_owned) {
                Ok(()) => break,
                Err(error @ (CommitError::Unknown { .. } | CommitError::Fenced { .. })) => return Err(error.into()),
                // A member joining the group fails commits for partitions that stay as well; the next try takes the
                // member's new identity.
                Err(error) => self.hold("commit", begun, &mut pause, error.into())?,
            }
        }
        self.observe("commit", begun);
        Ok(())
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
        begun: Duration,
        pause: &mut Duration,
        error: WorkerError,
    ) -> Result<(), WorkerError> {
        let elapsed = self.clock.now().saturating_sub(begun);
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
