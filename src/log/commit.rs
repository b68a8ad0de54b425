//! Making the effects of a flush visible together with its offsets.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::{CommitMetadata, Group, KafkaGroup, Outbox, SourceError, client};
use crate::config::{Config, KafkaConfig};
use crate::event::{EventTime, Offset, PartitionId};
use crate::observe::{FailPoint, reach};

/// How long all records of one flush may take to be acknowledged.
pub(super) const PRODUCE_TIMEOUT: Duration = Duration::from_secs(12);

/// Why nothing is told or committed.
pub(super) const NOT_THE_HOLDER: &str =
    "the consumer is not in the group as the member that its partitions were given to";

/// What one partition adds to a commit.
#[derive(Debug)]
pub struct PartitionEffects {
    /// The partition.
    pub partition: PartitionId,
    /// The first offset that is not done.
    pub next_offset: Offset,
    /// The watermark as of that offset.
    pub watermark: EventTime,
    /// Notifications and rejections.
    pub outbox: Outbox,
}

/// Makes effects and offsets visible. One attempt a call; blocks on the network, in bounded time.
pub trait Committer: Send {
    /// Commits the effects of those partitions that `is_owned` at the moment of commit, and leaves the others out. The
    /// member's identity is taken before ownership is asked: a partition lost in between then fails the commit instead
    /// of being committed by somebody who has it no more.
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError>;

    /// Whether a second worker has taken the name of this one, whom the group has fenced: it does so as well where a
    /// member's own request to join had to be made again. Where that cannot be told, one has. May block on the network.
    fn is_name_taken(&mut self) -> bool;
}

/// Why a commit did not happen, or may not have.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Nothing became visible; the same effects can be committed again while their partitions stay owned.
    #[error("{doing}: {reason}; nothing was committed, it is tried again")]
    Aborted {
        /// What was being done.
        doing: &'static str,
        /// The client's answer.
        reason: String,
    },
    /// Nobody knows whether it became visible: forget the state and go on from what the group says is committed.
    #[error("{doing}: {reason}; whether it was committed is not known, the state is built again from what is")]
    Unknown {
        /// What was being done.
        doing: &'static str,
        /// The client's answer.
        reason: String,
    },
    /// A second worker of this name took over.
    #[error("{doing}: {reason}; another worker uses this name: give every running worker a worker.instance of its own")]
    Fenced {
        /// What was being done.
        doing: &'static str,
        /// The client's answer.
        reason: String,
    },
    /// Somebody must act: a right or a topic is missing, a record is refused.
    #[error("{doing}: {reason}; check the output topics, kafka.properties and the broker's access rules")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The client's answer.
        reason: String,
    },
}

/// Counts delivery reports that are failures.
#[derive(Default)]
pub(super) struct DeliveryContext {
    failed: AtomicU64,
    refused: AtomicU64,
}

impl ClientContext for DeliveryContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "Kafka client");
    }
}

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let Err((error, _)) = result else { return };
        self.failed.fetch_add(1, Ordering::Relaxed);
        if matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::MessageSizeTooLarge
                    | RDKafkaErrorCode::InvalidMessageSize
                    | RDKafkaErrorCode::InvalidRecord
            )
        ) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "the broker refuses an output record");
        } else {
            tracing::debug!(%error, "an output record was not delivered");
        }
    }
}

/// How producing a flush ended.
pub(super) enum Produced {
    /// Every record is acknowledged.
    All,
    /// Some are not, and it may be better next time.
    Failed(String),
    /// Some are refused, and will be again.
    Refused(String),
}

/// The producer of notifications and rejections.
pub(super) struct EffectProducer {
    pub(super) client: BaseProducer<DeliveryContext>,
    notifications: String,
    rejections: String,
}

impl EffectProducer {
    pub(super) fn create(kafka: &KafkaConfig, transactional_id: Option<&str>) -> Result<Self, SourceError> {
        let client = BaseProducer::from_config_and_context(
            &client::producer(kafka, transactional_id),
            DeliveryContext::default(),
        )
        .map_err(|error| SourceError::of("making a producer", error))?;
        let topics = &kafka.topics;
        Ok(Self { client, notifications: topics.notifications.clone(), rejections: topics.rejections.clone() })
    }

    /// Sends these partitions' records and waits for their delivery reports. All reports have been polled when it
    /// returns: outstanding ones would fail the commit, and the abort as well.
    pub(super) fn produce<'a>(&self, effects: impl Iterator<Item = &'a PartitionEffects>) -> Produced {
        let context = self.client.context();
        context.failed.store(0, Ordering::Relaxed);
        context.refused.store(0, Ordering::Relaxed);
        let deadline = Instant::now() + PRODUCE_TIMEOUT;

        let mut sent = Ok(());
        for outbox in effects.map(|effects| &effects.outbox) {
            sent = self.send_all(outbox, deadline);
            if sent.is_err() {
                break;
            }
        }
        // message.timeout.ms is below the time-out: every report has come by then.
        let flushed = self.client.flush(PRODUCE_TIMEOUT);
        let refused = context.refused.load(Ordering::Relaxed);
        let failed = context.failed.load(Ordering::Relaxed);
        match (sent, flushed) {
            (Err(error), _) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Produced::Refused(error.to_string())
            }
            _ if refused > 0 => Produced::Refused(format!("{refused} records were refused")),
            (Err(error), _) | (_, Err(error)) => Produced::Failed(error.to_string()),
            _ if failed > 0 => Produced::Failed(format!("{failed} records were not delivered")),
            (Ok(()), Ok(())) => Produced::All,
        }
    }

    fn send_all(&self, outbox: &Outbox, deadline: Instant) -> Result<(), KafkaError> {
        for notification in outbox.notifications() {
            let record = BaseRecord::to(&self.notifications)
                .key(notification.key.as_bytes())
                .payload(notification.value.as_slice());
            self.send(record, deadline)?;
        }
        for rejection in outbox.rejections() {
            let mut headers = OwnedHeaders::new_with_capacity(rejection.headers.len());
            for (name, value) in &rejection.headers {
                headers = headers.insert(Header { key: name, value: Some(value.as_bytes()) });
            }
            let mut record = BaseRecord::to(&self.rejections).payload(rejection.value.as_slice()).headers(headers);
            if let Some(key) = &rejection.key {
                record = record.key(key.as_slice());
            }
            self.send(record, deadline)?;
        }
        Ok(())
    }

    fn send(&self, record: BaseRecord<'_, [u8], [u8]>, deadline: Instant) -> Result<(), KafkaError> {
        let mut record = record;
        loop {
            match self.client.send(record) {
                Ok(()) => return Ok(()),
                Err((error, refused)) => {
                    let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !is_full || Instant::now() >= deadline {
                        return Err(error);
                    }
                    self.client.poll(Duration::from_millis(5));
                    record = refused;
                }
            }
        }
    }
}

/// Effects first, then the group's commit: for brokers without transactions. A crash in between repeats the effects; a
/// commit that is tried again does not.
pub struct PlainCommitter {
    producer: EffectProducer,
    group: KafkaGroup,
    told: Told,
}

/// What of the flush tried last is acknowledged.
#[derive(Default)]
struct Told {
    flush: FlushIdentity,
    partitions: BTreeSet<PartitionId>,
}

/// Each partition of a flush with where it ends and how many bytes it tells: what follows from the log is the same then.
type FlushIdentity = Vec<(PartitionId, Offset, usize)>;

impl PlainCommitter {
    /// For the pipeline whose consumer `group` belongs to.
    pub fn create(config: &Config, group: KafkaGroup) -> Result<Self, SourceError> {
        Ok(Self { producer: EffectProducer::create(&config.kafka, None)?, group, told: Told::default() })
    }

    /// Tells what the partitions owned have to tell and this flush has not told yet.
    fn tell(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        let identity = |effects: &PartitionEffects| (effects.partition, effects.next_offset, effects.outbox.bytes());
        let flush: FlushIdentity = effects.iter().map(identity).collect();
        if self.told.flush != flush {
            self.told = Told { flush, partitions: BTreeSet::new() };
        }
        let is_untold = |effects: &&PartitionEffects| {
            is_owned(effects.partition) && !self.told.partitions.contains(&effects.partition)
        };
        let untold: Vec<&PartitionEffects> = effects.iter().filter(is_untold).collect();
        let doing = "writing notifications and rejections";
        match self.producer.produce(untold.iter().copied()) {
            Produced::All => {
                self.told.partitions.extend(untold.iter().map(|effects| effects.partition));
                Ok(())
            }
            Produced::Failed(reason) => Err(CommitError::Aborted { doing, reason }),
            Produced::Refused(reason) => Err(CommitError::Refused { doing, reason }),
        }
    }
}

impl Committer for PlainCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        reach(FailPoint::PlainProduce);
        if !self.group.is_holder() {
            return Err(CommitError::Aborted {
                doing: "looking who this member is",
                reason: NOT_THE_HOLDER.to_owned(),
            });
        }
        self.tell(effects, is_owned)?;
        let positions: Vec<_> = effects
            .iter()
            .filter(|effects| is_owned(effects.partition))
            .map(|effects| (effects.partition, effects.next_offset, CommitMetadata::of(effects.watermark)))
            .collect();
        if positions.is_empty() {
            return Ok(());
        }
        reach(FailPoint::PlainCommit);
        let doing = "committing offsets";
        self.group.commit(&positions).map_err(|error| match error {
            // Offsets are written whole or not at all, and writing them again changes nothing.
            SourceError::Unavailable { .. } | SourceError::SessionEnded { .. } => {
                CommitError::Aborted { doing, reason: error.to_string() }
            }
            error => CommitError::Refused { doing, reason: error.to_string() },
        })?;
        self.told = Told::default();
        reach(FailPoint::PlainEnd);
        Ok(())
    }

    /// Nobody but the group knows of names here.
    fn is_name_taken(&mut self) -> bool {
        true
    }
}
