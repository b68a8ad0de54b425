//! Taking partitions over: what the group has committed, the state as of it, and whether the two fit.

mod catch_up;
mod origin;

pub use origin::Shortfall;

use std::ops::ControlFlow;
use std::time::Duration;

use self::origin::{Origin, check_still_there};
use super::clock::Clock;
use super::error::{Recovery, WorkerError};
use super::metrics::WorkerMetrics;
use super::ownership::Ownership;
use crate::config::RecoveryMode;
use crate::event::{Offset, PartitionId};
use crate::fold::{FOLD_VERSION, Partition};
use crate::log::{CommitMetadata, CommittedPosition, Group, LogReader, SourceError};
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

/// What a hydrator is told once.
#[derive(Clone, Debug)]
pub struct HydrationSettings {
    /// The events topic.
    pub topic: TopicIdentity,
    /// Name of the consumer group, for explanations.
    pub group: String,
    /// Whether states are read from the tables as far as those reach, or folded from the log.
    pub recovery: RecoveryMode,
    /// Records after which a flush ends while the log is folded again.
    pub flush_records: u64,
    /// Bytes of rows after which it ends.
    pub flush_bytes: usize,
    /// Whether commits of another fold version are gone on from, and replaced by this one's.
    pub accepts_fold_version: bool,
}

/// Hydrates, off the polling thread: the group's liveness must not wait for ClickHouse.
pub struct Hydrator<S, G, R, K> {
    store: S,
    group: G,
    reader: R,
    settings: HydrationSettings,
    clock: K,
    ownership: Ownership,
    metrics: WorkerMetrics,
}

/// A partition and what it is committed at.
#[derive(Clone, Copy, Debug)]
struct Start {
    partition: PartitionId,
    /// The first offset to be read on.
    next_offset: Offset,
    /// The first offset that the log holds.
    log_begin: Offset,
    commit: Commit,
}

impl Start {
    /// The first offset that can be folded again: the log has it, and it was folded by these rules.
    fn foldable_from(&self) -> Offset {
        match self.commit {
            Commit::Flush(CommitMetadata { since: Some(since), .. }) => self.log_begin.max(Offset::new(since)),
            _ => self.log_begin,
        }
    }

    /// Whether what is committed was folded by another version's rules.
    fn is_of_other_rules(&self) -> bool {
        matches!(self.commit, Commit::Flush(metadata) if metadata.fold_version != FOLD_VERSION)
    }
}

/// Who committed.
#[derive(Clone, Copy, Debug)]
enum Commit {
    /// Nobody yet.
    None,
    /// Somebody, who set the position by hand.
    ByHand,
    /// A flush of seenby's, or the commit before the first.
    Flush(CommitMetadata),
}

impl<S: Store, G: Group, R: LogReader, K: Clock> Hydrator<S, G, R, K> {
    /// For the partitions that `group` gives; `reader` reads the log where the tables lag behind it.
    pub fn new(
        store: S,
        group: G,
        reader: R,
        settings: HydrationSettings,
        clock: K,
        ownership: Ownership,
        metrics: WorkerMetrics,
    ) -> Self {
        Self { store, group, reader, settings, clock, ownership, metrics }
    }

    /// Takes partitions over. Blocks; a failure that may pass is tried a few times.
    pub fn hydrate(&mut self, job: &HydrationJob) -> HydrationAnswer {
        let begun = self.clock.now();
        let count = i64::try_from(job.partitions.len()).unwrap_or(i64::MAX);
        self.metrics.hydrating_partitions.add(count);
        let mut pause = Duration::from_millis(200);
        let mut attempt = 1;
        let result = loop {
            match self.hydrate_once(&job.partitions) {
                // A session that ended stays so.
                Err(error @ WorkerError::Source(SourceError::SessionEnded { .. })) => break Err(error),
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
        self.metrics.hydrating_partitions.sub(count);
        let elapsed = self.clock.now().saturating_sub(begun);
        self.metrics.hydration_seconds.observe(elapsed.as_secs_f64());
        HydrationAnswer { rebalance: job.rebalance, result }
    }

    fn hydrate_once(&mut self, partitions: &[PartitionId]) -> Result<Vec<ReadyPartition>, WorkerError> {
        reach(FailPoint::HydrationBegin);
        let frontiers = self.store.frontiers(&self.settings.topic)?;
        let committed = self.group.committed(partitions)?;
        let mut starts = Vec::with_capacity(partitions.len());
        for (partition, position) in partitions.iter().zip(&committed) {
            let frontier = frontiers.iter().find(|frontier| frontier.partition == *partition);
            starts.push(self.start(*partition, position.as_ref(), frontier)?);
        }

        let origins = self.origins(&starts)?;
        let hydrated = self.read_back(&starts, &origins)?;
        let mut ready = Vec::with_capacity(starts.len());
        let mut caught_up = Vec::new();
        for ((start, origin), hydrated) in starts.iter().zip(&origins).zip(hydrated) {
            let HydratedPartition { mut state, boundary, .. } = hydrated;
            if origin.offset < start.next_offset {
                check_still_there(start, origin, boundary)?;
                state = self.catch_up(start, origin, state)?;
                caught_up.push(*start);
            }
            ready.push(ReadyPartition { partition: start.partition, state, next_offset: start.next_offset });
        }
        self.check_caught_up(&caught_up)?;

        reach(FailPoint::HydrationRead);
        // A partition's first commit comes before its first rows: from then on "rows, but no commit" means that the
        // commit was lost, and not that a worker died between the rows and the commit of its first flush. Rules that
        // were accepted stand in a commit at once, too: an idle partition would ask for the acceptance at every start.
        let commits: Vec<_> = starts
            .iter()
            .zip(&ready)
            .filter(|(start, _)| matches!(start.commit, Commit::None) || start.is_of_other_rules())
            .map(|(start, ready)| {
                let accepted_at = start.is_of_other_rules().then_some(start.next_offset);
                (start.partition, start.next_offset, CommitMetadata::of(ready.state.watermark()).since(accepted_at))
            })
            .collect();
        if !commits.is_empty() {
            self.group.commit(&commits)?;
            reach(FailPoint::HydrationFirstCommit);
        }
        Ok(ready)
    }

    /// Reads states back from the tables, and says how far it is while it does.
    fn read_back(&mut self, starts: &[Start], origins: &[Origin]) -> Result<Vec<HydratedPartition>, WorkerError> {
        let Self { store, settings, clock, ownership, metrics, .. } = self;
        let request = |(start, origin): (&Start, &Origin)| HydrationRequest {
            partition: start.partition,
            committed: origin.offset,
        };
        let requests: Vec<HydrationRequest> = starts.iter().zip(origins).map(request).collect();
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
        let hydrated = store.hydrate(&settings.topic, &requests, &mut progress)?;
        let seconds = clock.now().saturating_sub(begun).as_secs_f64();
        tracing::info!(partitions = requests.len(), rows, seconds, "partitions read back");
        Ok(hydrated)
    }

    /// Where a partition is read on.
    fn start(
        &self,
        partition: PartitionId,
        position: Option<&CommittedPosition>,
        frontier: Option<&LedgerFrontier>,
    ) -> Result<Start, WorkerError> {
        let topic = &self.settings.topic;
        let (low, high) = self.group.log_range(partition)?;
        let Some(position) = position else {
            return match frontier {
                None => Ok(Start { partition, next_offset: low, log_begin: low, commit: Commit::None }),
                Some(frontier) => Err(WorkerError::MissingCommit {
                    group: self.settings.group.clone(),
                    topic: topic.topic.clone(),
                    partition: partition.get(),
                    frontier: frontier.next_offset.get(),
                }),
            };
        };
        let commit = match position.metadata {
            Some(metadata) if metadata.fold_version == FOLD_VERSION => Commit::Flush(metadata),
            Some(metadata) if self.settings.accepts_fold_version => {
                tracing::warn!(
                    partition = partition.get(),
                    found = metadata.fold_version,
                    known = FOLD_VERSION,
                    "state of another fold version is gone on from, as was asked for: what is counted stays as it is"
                );
                Commit::Flush(metadata)
            }
            Some(metadata) => {
                return Err(WorkerError::FoldVersion {
                    partition: partition.get(),
                    found: metadata.fold_version,
                    known: FOLD_VERSION,
                });
            }
            None => {
                tracing::warn!(
                    partition = partition.get(),
                    offset = position.next_offset.get(),
                    "the commit was not written by seenby (set by hand?); going on from it"
                );
                Commit::ByHand
            }
        };
        if position.next_offset < low || position.next_offset > high {
            return Err(WorkerError::CommitOutOfRange {
                topic: topic.topic.clone(),
                partition: partition.get(),
                low: low.get(),
                high: high.get(),
                committed: position.next_offset.get(),
            });
        }
        Ok(Start { partition, next_offset: position.next_offset, log_begin: low, commit })
    }
}
