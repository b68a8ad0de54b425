//! Kafka: the source of records, the committers of effects, topics and control records (DESIGN.md sections 5 to 7).
//!
//! The worker sees three small interfaces: a [`Source`] that is polled by one thread, a [`Group`] handle that any thread
//! may ask for committed offsets, and a [`Committer`] that makes the effects of a flush and its offsets visible at once.

mod batch;
pub(crate) mod client;
mod commit;
pub mod control;
mod group;
mod member;
mod noting;
mod outbox;
mod positions;
mod producer;
mod reader;
mod sharing;
mod source;
pub mod topics;
mod transaction;

pub use batch::{ConsumedRecord, RecordBatch};
pub use commit::{CommitError, Committer, PartitionEffects, PlainCommitter};
pub use group::KafkaGroup;
pub use outbox::{Notification, Outbox, Rejection};
pub use producer::EventProducer;
pub use reader::{KafkaLogReader, LogReader};
pub use sharing::{Sharing, SharingInquiry};
pub use source::KafkaSource;
pub(crate) use source::instance_id;
pub use transaction::TransactionalCommitter;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{EventTime, Offset, PartitionId};

/// What the group's coordinator told this member; noted while polling and served by the worker afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebalanceNote {
    /// Counts the notes of this source upwards; answers that belong to an older one are thrown away.
    pub number: u64,
    /// What happened.
    pub change: AssignmentChange,
    /// The partitions it is about; may be none, and still needs an answer.
    pub partitions: Vec<PartitionId>,
}

/// What happened to some partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentChange {
    /// They are this member's from now on; answered by [`Source::assign`].
    Assigned,
    /// They are to be given up, and nobody else has them before [`Source::unassign`] is called.
    Revoked,
    /// They are gone and may have another owner already; acknowledged by [`Source::unassign`].
    Lost,
}

/// Records of the events topic in log order per partition, and what the group wants. One thread owns it.
pub trait Source {
    /// The handle for other threads.
    type Group: Group;

    /// A handle for other threads.
    fn group(&self) -> Self::Group;

    /// Joins the group, which fences whoever is in it by the same name: to be called once, after the pipeline's committer
    /// has taken that name.
    fn join(&mut self) -> Result<(), SourceError>;

    /// Refills `batch`: waits up to `wait` for a first record, then takes what is there, up to a bounded batch. Must be
    /// called within the group's poll interval whatever happens; also serves the group's callbacks. Fails with
    /// [`SourceError::SessionEnded`] where the group gave what is read to others for a while.
    fn poll(&mut self, wait: Duration, batch: &mut RecordBatch) -> Result<(), SourceError>;

    /// The oldest rebalance that was noted and not yet taken.
    fn take_note(&mut self) -> Option<RebalanceNote>;

    /// Answers an assignment: start reading each partition at its offset.
    fn assign(&mut self, starts: &[(PartitionId, Offset)]) -> Result<(), SourceError>;

    /// Answers a revocation or a loss: these partitions are read no more.
    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError>;

    /// Stops delivery of these partitions while polling goes on.
    fn pause(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError>;

    /// Ends [`Source::pause`].
    fn resume(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError>;

    /// The end of the partition's log, as far as is known without asking for it.
    fn end_offset(&self, partition: PartitionId) -> Option<Offset>;

    /// How far partitions are read, those of which it is known: every record in front of a position was handed on by
    /// [`Source::poll`], and whatever else stands there is never handed on (markers of transactions, records of aborted
    /// ones). So a position can be committed once everything that was polled is done.
    fn positions(&mut self) -> Vec<(PartitionId, Offset)>;

    /// Ends the membership's process side. Without `leave` a static member stays in the group until its session ends, so
    /// that a restart moves nothing.
    fn close(self, leave: bool);
}

/// What any thread may ask about the group and the log. May block on the network.
pub trait Group: Clone + Send + 'static {
    /// What the group has committed for these partitions, in the same order; `None` where it never has.
    fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError>;

    /// First offset of the log, and the one after its last committed record.
    fn log_range(&self, partition: PartitionId) -> Result<(Offset, Offset), SourceError>;

    /// Commits positions outside of a transaction, as the member that its partitions were given to: refused once its
    /// session has ended, as somebody else may have committed since. The offset that `since` names stands in every later
    /// commit of its partition as well.
    fn commit(&self, positions: &[(PartitionId, Offset, CommitMetadata)]) -> Result<(), SourceError>;
}

/// A position as the group stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPosition {
    /// The first offset that is not done.
    pub next_offset: Offset,
    /// What seenby wrote beside it; `None` where somebody else (a reset by hand) committed without.
    pub metadata: Option<CommitMetadata>,
}

/// What stands beside a committed offset, as JSON: which rules made the state, and how far event time had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitMetadata {
    /// [`crate::fold::FOLD_VERSION`] of the worker that committed.
    pub fold_version: u32,
    /// The partition's watermark, ms since 1970.
    pub watermark: i64,
    /// From which offset on these rules hold, where state of other rules was gone on from: what lies before cannot be
    /// folded again by them. Absent where they have held from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
}

impl CommitMetadata {
    /// For this build's rules.
    pub fn of(watermark: EventTime) -> Self {
        Self { fold_version: crate::fold::FOLD_VERSION, watermark: watermark.millis(), since: None }
    }

    /// The same of a partition whose state of other rules was gone on from at an offset.
    pub fn since(self, accepted_at: Option<Offset>) -> Self {
        Self { since: accepted_at.map(Offset::get), ..self }
    }

    /// The JSON that stands beside the offset.
    pub fn to_json(self) -> String {
        let Self { fold_version, watermark, since } = self;
        match since {
            None => format!(r#"{{"fold_version":{fold_version},"watermark":{watermark}}}"#),
            Some(since) => format!(r#"{{"fold_version":{fold_version},"watermark":{watermark},"since":{since}}}"#),
        }
    }
}

/// Why the log or the group could not be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The group has taken another member of the same name in.
    #[error(
        "another worker joined group {group} as {instance}; this one stops. Give every running worker a worker.instance \
         of its own"
    )]
    Fenced {
        /// The consumer group.
        group: String,
        /// The static member's name.
        instance: String,
    },
    /// The group fenced the member for another one of its name, and nobody else has taken it: a request to join was made
    /// again, and the group took the two for two workers.
    #[error(
        "group {group} took a second request of {instance} to join for another worker's; no other one has its name, and it \
         joins again"
    )]
    JoinedTwice {
        /// The consumer group.
        group: String,
        /// The static member's name.
        instance: String,
    },
    /// The group has put the member out without that it lost what it held, which may have had another owner since.
    #[error("the session of {instance} in group {group} ended: what it has folded since may be somebody else's")]
    SessionEnded {
        /// The consumer group.
        group: String,
        /// The static member's name.
        instance: String,
    },
    /// The position to read from is not in the log any more.
    #[error(
        "the log of topic {topic} does not hold the position to read from (retention, or a topic made anew); nothing is \
         skipped silently. Restore the topic, or set the group's offsets by hand to where counting is to go on"
    )]
    OutOfRange {
        /// The events topic.
        topic: String,
    },
    /// Somebody committed an offset with text beside it that seenby did not write.
    #[error(
        "group {group} has a commit of partition {partition} with unreadable metadata `{metadata}`: does something else \
         use this group? Give seenby a kafka.group of its own"
    )]
    ForeignCommit {
        /// The consumer group.
        group: String,
        /// The partition.
        partition: u32,
        /// What was found.
        metadata: String,
    },
    /// The broker refuses: missing topic, missing right, bad property.
    #[error("{doing}: {source}; check kafka.brokers, kafka.topics, kafka.properties and the broker's access rules")]
    Refused {
        /// What was being done.
        doing: String,
        /// The broker's or the client's answer.
        source: rdkafka::error::KafkaError,
    },
    /// The broker did not answer in time, or the connection broke; trying again may help.
    #[error("{doing}: {source}; is Kafka up and kafka.brokers right?")]
    Unavailable {
        /// What was being done.
        doing: String,
        /// The client's answer.
        source: rdkafka::error::KafkaError,
    },
}

impl SourceError {
    /// Whether trying again, from scratch if need be, may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::SessionEnded { .. } | Self::JoinedTwice { .. })
    }

    /// Sorts a client error into "try again" and "somebody must act".
    pub(crate) fn of(doing: impl Into<String>, source: rdkafka::error::KafkaError) -> Self {
        let doing = doing.into();
        if source.rdkafka_error_code().is_none_or(is_refusal) {
            Self::Refused { doing, source }
        } else {
            Self::Unavailable { doing, source }
        }
    }
}

/// Codes that no repetition cures.
fn is_refusal(code: rdkafka::types::RDKafkaErrorCode) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::InvalidTransactionTimeout
            | Code::InvalidArgument
            | Code::InvalidRequest
            | Code::InvalidConfig
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::UnsupportedForMessageFormat
            | Code::PolicyViolation
    )
}
