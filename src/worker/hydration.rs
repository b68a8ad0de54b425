//! Taking partitions over: what the group has committed, the state as of it, and whether the two fit.

use std::ops::ControlFlow;
use std::time::Duration;

use super::clock::Clock;
use super::error::{Recovery, WorkerError};
use super::metrics::WorkerMetrics;
use super::ownership::Ownership;
use crate::event::{EventTime, Offset, PartitionId};
use crate::fold::{FOLD_VERSION, Partition};
use crate::log::{CommitMetadata, CommittedPosition, Group};
use crate::observe::{FailPoint, reach};
use crate::store::{HydratedPartition, HydrationRequest, LedgerFrontier, Store, TopicIdentity};

/// How often a hydration is tried before the pipeline starts anew.
const ATTEMPTS: u32 = 5;

/// How often a long reading says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(3);

/// Partitions to take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HydrationJob {
    /// The rebalance that gave them.
    pub rebalance: u64,
    /// Which.
    pub partitions: Vec<PartitionId>,
}

/// The answer to a job.
#[derive(Debug)]
pub struct HydrationAnswer {
    /// Of the job.
    pub rebalance: u64,
    /// The states, each to be continued at its `next_offset`.
    pub result: Result<Vec<ReadyPartition>, WorkerError>,
}

/// A partition that can be read on.
#[derive(Debug)]
pub struct ReadyPartition {
    /// Which.
    pub partition: PartitionId,
    /// Its state as of `next_offset`.
    pub state: Partition,
    /// Where to read on.
    pub next_offset: Offset,
}

/// Hydrates, off the polling thread: the group's liveness must not wait for ClickHouse.
pub struct Hydrator<S, G, K> {
    store: S,
    group: G,
    /// Name of the consumer group, for explanations.
    group_name: String,
    topic: TopicIdentity,
    clock: K,
    ownership: Ownership,
    metrics: WorkerMetrics,
    accepts_fold_version: bool,
}

impl<S: Store, G: Group, K: Clock> Hydrator<S, G, K> {
    /// For the events topic `topic` as the group `group_name` reads it.
    pub fn new(
        store: S,
        group: G,
        group_name: String,
        topic: TopicIdentity,
        clock: K,
        ownership: Ownership,
        metrics: WorkerMetrics,
    ) -> Self {
        Self { store, group, group_name, topic, clock, ownership, metrics, accepts_fold_version: false }
    }

    /// Whether commits of another fold version are gone on from, and replaced by this one's.
    pub fn accept_fold_version(&mut self, accepts: bool) {
        self.accepts_fold_version = accepts;
    }

    /// Takes partitions over. Blocks; a failure that may pass is tried a few times.
    pub fn hydrate(&mut self, job: &HydrationJob) -> HydrationAnswer {
        let begun = self.clock.now();
        let mut pause = Duration::from_millis(200);
        let mut attempt = 1;
        let result = loop {
            match self.hydrate_once(&job.partitions) {
                Err(error)
                    if attempt < ATTEMPTS
                        && error.recovery() == Recovery::Rebuild
                        && !self.ownership.is_abandoned() =>
                {
                    tracing::warn!(%error, attempt, "reading partitions back again");
                    self.metrics.retries.with_label_values(&["hydrate"]).inc();
                    self.clock.sleep(pause);
                    pause *= 2;
                    attempt += 1;
                }
                result => break result,
            }
        };
        let elapsed = self.clock.now().saturating_sub(begun);
        self.metrics.hydration_seconds.observe(elapsed.as_secs_f64());
        HydrationAnswer { rebalance: job.rebalance, result }
    }

    fn hydrate_once(&mut self, partitions: &[PartitionId]) -> Result<Vec<ReadyPartition>, WorkerError> {
        reach(FailPoint::HydrationBegin);
        let frontiers = self.store.frontiers(&self.topic)?;
        let committed = self.group.committed(partitions)?;

        let mut requests = Vec::with_capacity(partitions.len());
        let mut log_starts = Vec::with_capacity(partitions.len());
        let mut commits = Vec::new();
        for (partition, position) in partitions.iter().zip(&committed) {
            let frontier = frontiers.iter().find(|frontier| frontier.partition == *partition);
            let start = self.start(*partition, position.as_ref(), frontier)?;
            requests.push(HydrationRequest { partition: *partition, committed: start.next_offset });
            log_starts.push(start.log_start);
            let is_other_version = position
                .as_ref()
                .and_then(|position| position.metadata)
                .is_some_and(|metadata| metadata.fold_version != FOLD_VERSION);
            if position.is_none() || is_other_version {
                commits.push(*partition);
            }
        }

        let hydrated = self.read_back(&requests)?;
        let mut ready = Vec::with_capacity(hydrated.len());
        for (((request, log_start), position), hydrated) in
            requests.iter().zip(log_starts).zip(&committed).zip(hydrated)
        {
            let metadata = position.as_ref().and_then(|position| position.metadata);
            if let Some(metadata) = metadata {
                check_rows(request, log_start, metadata, hydrated.boundary, hydrated.watermark)?;
            }
            ready.push(ReadyPartition {
                partition: request.partition,
                state: hydrated.state,
                next_offset: request.committed,
            });
        }

        reach(FailPoint::HydrationRead);
        // A partition's first commit comes before its first rows: from then on "rows, but no commit" means that the
        // commit was lost, and not that a worker died between the rows and the commit of its first flush. Rules that
        // were accepted stand in a commit at once, too: an idle partition would ask for the acceptance at every start.
        let positions: Vec<_> = ready
            .iter()
            .filter(|ready| commits.contains(&ready.partition))
            .map(|ready| (ready.partition, ready.next_offset, CommitMetadata::of(ready.state.watermark())))
            .collect();
        if !positions.is_empty() {
            self.group.commit(&positions)?;
            reach(FailPoint::HydrationFirstCommit);
        }
        Ok(ready)
    }

    /// Reads states back from the tables, and says how far it is while it does.
    fn read_back(&mut self, requests: &[HydrationRequest]) -> Result<Vec<HydratedPartition>, WorkerError> {
        let Self { store, topic, clock, ownership, metrics, .. } = self;
        let begun = clock.now();
        let mut told = begun;
        let mut rows = 0;
        let mut progress = |table: &'static str, more: u64| {
            rows += more;
            metrics.hydration_rows.inc_by(more);
            let now = clock.now();
            if now.saturating_sub(told) >= PROGRESS_INTERVAL {
                told = now;
                tracing::info!(table, rows, partitions = requests.len(), "reading partitions back");
            }
            // Nobody waits for it any more.
            if ownership.is_abandoned() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let hydrated = store.hydrate(topic, requests, &mut progress)?;
        let seconds = clock.now().saturating_sub(begun).as_secs_f64();
        tracing::info!(partitions = requests.len(), rows, seconds, "partitions read back");
        Ok(hydrated)
    }

    /// Where a partition is read from.
    fn start(
        &self,
        partition: PartitionId,
        position: Option<&CommittedPosition>,
        frontier: Option<&LedgerFrontier>,
    ) -> Result<Start, WorkerError> {
        let (low, high) = self.group.log_range(partition)?;
        let Some(position) = position else {
            return match frontier {
                None => Ok(Start { next_offset: low, log_start: low }),
                Some(frontier) => Err(WorkerError::MissingCommit {
                    group: self.group_name.clone(),
                    topic: self.topic.topic.clone(),
                    partition: partition.get(),
                    frontier: frontier.next_offset.get(),
                }),
            };
        };
        match position.metadata {
            Some(metadata) if metadata.fold_version != FOLD_VERSION && self.accepts_fold_version => tracing::warn!(
                partition = partition.get(),
                found = metadata.fold_version,
                known = FOLD_VERSION,
                "state of another fold version is gone on from, as was asked for: what is counted stays as it is"
            ),
            Some(metadata) if metadata.fold_version != FOLD_VERSION => {
                return Err(WorkerError::FoldVersion {
                    partition: partition.get(),
                    found: metadata.fold_version,
                    known: FOLD_VERSION,
                });
            }
            Some(_) => {}
            None => tracing::warn!(
                partition = partition.get(),
                offset = position.next_offset.get(),
                "the commit was not written by seenby (set by hand?); going on from it"
            ),
        }
        if position.next_offset < low || position.next_offset > high {
            return Err(WorkerError::CommitOutOfRange {
                topic: self.topic.topic.clone(),
                partition: partition.get(),
                low: low.get(),
                high: high.get(),
                committed: position.next_offset.get(),
            });
        }
        Ok(Start { next_offset: position.next_offset, log_start: low })
    }
}

/// Where a partition is read from, and where its log starts.
struct Start {
    next_offset: Offset,
    log_start: Offset,
}

/// Whether the tables reach to what seenby committed. Every commit of a flush is a boundary in the ledger; only the first
/// commit of a partition comes before its first rows, and says what an empty ledger says. It was made at the log's start,
/// and that has not moved past it, or the commit would be out of range.
fn check_rows(
    request: &HydrationRequest,
    log_start: Offset,
    metadata: CommitMetadata,
    boundary: Option<Offset>,
    watermark: EventTime,
) -> Result<(), WorkerError> {
    let is_boundary = boundary.unwrap_or(log_start) == request.committed;
    if is_boundary && metadata.watermark == watermark.millis() {
        return Ok(());
    }
    Err(WorkerError::RowsMissing {
        partition: request.partition.get(),
        committed: request.committed.get(),
        boundary: boundary.unwrap_or_default().get(),
        expected: metadata.watermark,
        found: watermark.millis(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(boundary: Option<u64>, watermark: i64) -> Result<(), String> {
        checked_from(70, boundary, watermark)
    }

    fn checked_from(log_start: u64, boundary: Option<u64>, watermark: i64) -> Result<(), String> {
        let request = HydrationRequest { partition: PartitionId::new(3), committed: Offset::new(70) };
        let committed = CommitMetadata::of(EventTime::from_millis(5));
        check_rows(
            &request,
            Offset::new(log_start),
            committed,
            boundary.map(Offset::new),
            EventTime::from_millis(watermark),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn a_commit_is_a_boundary_of_the_ledger_or_comes_before_its_first_row() {
        assert_eq!(checked(Some(70), 5), Ok(()));
        assert_eq!(checked(None, 5), Ok(()));
    }

    #[test]
    fn missing_rows_are_told_by_the_boundary_also_where_the_watermark_stood_still() {
        let error = checked(Some(60), 5).expect_err("ten records' rows are missing");
        for named in ["partition 3", "offset 70", "offset 60"] {
            assert!(error.contains(named), "{named}: {error}");
        }
        assert!(checked(Some(70), 4).is_err());
        assert!(checked(None, 0).is_err());
        assert!(checked_from(60, None, 5).is_err(), "it is no first commit: the log has records before it");
        assert_eq!(checked_from(60, Some(70), 5), Ok(()));
    }
}
