//! Why a worker stops, or starts a pipeline again.

use super::hydration::Shortfall;
use crate::log::{CommitError, SourceError};
use crate::store::StoreError;

/// What ended a pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The log or the group.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka's side of a flush.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The ledger knows the partition, the group does not: going on from the start would count everything again.
    #[error(
        "group {group} has no commit for partition {partition} of {topic}, but the ledger reaches to offset {frontier}. \
         If the topic was made anew (its commits went with it), raise kafka.epoch; if the group was deleted or \
         kafka.group changed, set its offset by hand to a ledger boundary"
    )]
    MissingCommit {
        /// The consumer group.
        group: String,
        /// The events topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// How far its ledger reaches.
        frontier: u64,
    },
    /// What is to be read next is not in the log.
    #[error(
        "partition {partition} of {topic} holds offsets {low} to {high}, but {committed} is to be read next: events were \
         removed before they were counted, or the topic was made anew (that needs a higher kafka.epoch)"
    )]
    CommitOutOfRange {
        /// The events topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset of the log.
        low: u64,
        /// The one after its last record.
        high: u64,
        /// What is committed.
        committed: u64,
    },
    /// The state was made by other rules.
    #[error(
        "partition {partition} was committed under fold version {found}, this seenby has {known}: use the seenby that \
         wrote it, or stop all workers and start this one with --accept-fold-version (docs/operations.md, Upgrading)"
    )]
    FoldVersion {
        /// The partition.
        partition: u32,
        /// In the commit.
        found: u32,
        /// Of this build.
        known: u32,
    },
    /// The tables do not hold what was there when the offset was committed, and the log does not reach back far enough to
    /// fold it again.
    #[error(
        "partition {partition}: offset {committed} is committed, but {shortfall}; the log can be folded again from offset \
         {foldable_from} on, and the tables are complete as of no flush from there on that it could be folded from. \
         Restore the tables from a later backup"
    )]
    RowsMissing {
        /// The partition.
        partition: u32,
        /// What is committed.
        committed: u64,
        /// What is missing.
        shortfall: Shortfall,
        /// The first offset that the log holds and that these rules have folded.
        foldable_from: u64,
    },
    /// The tables do not hold what other rules wrote, and these cannot fold it again.
    #[error(
        "partition {partition}: offset {committed} was committed under another fold version, and {shortfall}: run the \
         seenby of that version once, which folds the log again, before --accept-fold-version"
    )]
    RowsMissingOfOtherRules {
        /// The partition.
        partition: u32,
        /// What is committed.
        committed: u64,
        /// What is missing.
        shortfall: Shortfall,
    },
    /// Partitions were added to a topic whose count is fixed for its life.
    #[error(
        "topic {topic} got a partition {partition} beyond the {partitions} it began with: conversations move between \
         partitions then. Make a new topic with more partitions and a higher kafka.epoch"
    )]
    PartitionAdded {
        /// The events topic.
        topic: String,
        /// The new partition.
        partition: u32,
        /// How many there were at the start.
        partitions: u32,
    },
    /// The effects of a flush failed for longer than `worker.max_poll_interval_ms`.
    #[error("a flush was given up after {seconds} s of retries; last: {last}")]
    FlushGivenUp {
        /// How long it was tried.
        seconds: u64,
        /// The last failure.
        last: Box<WorkerError>,
    },
    /// Partitions are nobody's, and this member is the one to make the group share out anew.
    #[error("group {group} has given partitions to nobody: this member leaves, and joins again")]
    Unassigned {
        /// The consumer group.
        group: String,
    },
    /// The process could not be set up.
    #[error("{doing}: {reason}")]
    Setup {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        reason: String,
    },
}

/// What is done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Drop the state, connect anew, hydrate, go on from what is committed.
    Rebuild,
    /// The same, and let other workers have the partitions meanwhile.
    LeaveAndRebuild,
    /// Stop: somebody must act.
    Stop,
}

impl WorkerError {
    /// What is done about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            Self::Source(error) if error.is_transient() => Recovery::Rebuild,
            Self::Store(error) if error.is_retryable() => Recovery::Rebuild,
            Self::Commit(CommitError::Aborted { .. } | CommitError::Unknown { .. }) => Recovery::Rebuild,
            Self::Unassigned { .. } => Recovery::LeaveAndRebuild,
            Self::FlushGivenUp { last, .. } if last.recovery() != Recovery::Stop => Recovery::LeaveAndRebuild,
            _ => Recovery::Stop,
        }
    }
}
