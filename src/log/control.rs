//! Control records: one copy in every partition of the events topic (DESIGN.md section 2).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, ClientKind, REQUEST_TIMEOUT};
use super::{SourceError, topics};
use crate::config::{Delivery, KafkaConfig};
use crate::event::{CONTROL_HEADER, EventType};

/// How long writing one record to every partition may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The version of the next control record: this machine's clock in ms, or the one after the version written last where
/// that is later.
pub fn next_version(last: u64) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX).max(last.saturating_add(1))
}

/// Remembers which partitions have acknowledged.
#[derive(Default)]
struct Acknowledgements {
    partitions: std::sync::Mutex<Vec<i32>>,
}

impl rdkafka::ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                use rdkafka::Message;
                self.partitions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message.partition());
            }
            Err((error, _)) => tracing::warn!(%error, "a control record was not delivered"),
        }
    }
}

/// A control record to be written.
#[derive(Clone, Copy, Debug)]
pub struct ControlRecord<'a> {
    /// What its header says.
    pub kind: EventType,
    /// Its version: the writer's clock in ms.
    pub version: u64,
    /// Its JSON.
    pub value: &'a [u8],
}

/// Why a control record was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Kafka did not take it.
    #[error(transparent)]
    Log(#[from] SourceError),
    /// Another writer was first.
    #[error("version {last} was written meanwhile; nothing was written")]
    Overtaken {
        /// The version written last.
        last: u64,
    },
}

/// Writes control records, one writer at a time. Beside the records themselves it keeps, as a committed offset of the
/// group `{kafka.group}.control`, the version that was written last, of whatever app: the log is long, and whoever reads
/// the tables does not know yet what workers have still to meet.
pub struct ControlWriter<'a> {
    kafka: &'a KafkaConfig,
    delivery: Delivery,
    group: ControlGroup,
    partitions: u32,
}

impl<'a> ControlWriter<'a> {
    /// Connects, and asks how many partitions there are.
    ///
    /// # Errors
    /// Where the broker does not answer, refuses, or has no such topic.
    pub fn connect(kafka: &'a KafkaConfig, delivery: Delivery) -> Result<Self, SourceError> {
        let mut client = client::base(kafka, ClientKind::Consumer);
        client
            .set("group.id", format!("{}.control", kafka.group))
            .set("enable.auto.commit", "false")
            // A version that is being written is waited for.
            .set("isolation.level", "read_committed");
        let group: ControlGroup =
            BaseConsumer::from_config(&client).map_err(|error| SourceError::of("making a client", error))?;
        let partitions = topics::partition_count(&group, &kafka.topics.events)?;
        if partitions == 0 {
            let source = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
            return Err(SourceError::Refused { doing: format!("looking for topic {}", kafka.topics.events), source });
        }
        Ok(Self { kafka, delivery, group, partitions })
    }

    /// How many partitions get a copy.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The version that was written last, of whatever app; 0 where that is longer ago than the broker keeps it.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses.
    pub fn last_version(&self) -> Result<u64, SourceError> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.kafka.topics.events, 0);
        let answer = self
            .group
            .committed_offsets(asked, REQUEST_TIMEOUT)
            .map_err(|error| SourceError::of("asking for the version written last", error))?;
        let offset = answer.elements().first().and_then(|element| element.offset().to_raw());
        Ok(offset.and_then(|version| u64::try_from(version).ok()).unwrap_or_default())
    }

    /// Writes a record to every partition of the events topic, unless a version behind `expected` was written.
    ///
    /// With transactions it becomes visible everywhere at once, or nowhere. Without, it is repeated until every
    /// partition has it; partitions may then hold copies, which the fold counts as duplicates, and two writers at the
    /// same moment may both succeed.
    ///
    /// # Errors
    /// [`ControlError::Overtaken`]. [`SourceError::Unavailable`] where the broker does not answer in time: whether the
    /// transaction was committed may not be known then, and without transactions some partitions may have it. Writing the
    /// same bytes again is safe either way.
    pub fn write(&self, record: &ControlRecord<'_>, expected: u64) -> Result<(), ControlError> {
        match self.delivery {
            Delivery::ExactlyOnce => self.write_in_transaction(record, expected),
            Delivery::AtLeastOnce => {
                self.check_last(expected)?;
                self.write_until_everywhere(record)?;
                let position = self.position(record.version).map_err(refused)?;
                Ok(self.group.commit(&position, CommitMode::Sync).map_err(refused)?)
            }
        }
    }

    fn check_last(&self, expected: u64) -> Result<(), ControlError> {
        let last = self.last_version()?;
        if last > expected { Err(ControlError::Overtaken { last }) } else { Ok(()) }
    }

    /// The version written last, as the group commits it.
    fn position(&self, version: u64) -> Result<TopicPartitionList, KafkaError> {
        let version = KafkaOffset::Offset(i64::try_from(version).unwrap_or(i64::MAX));
        let mut position = TopicPartitionList::new();
        position.add_partition_offset(&self.kafka.topics.events, 0, version)?;
        Ok(position)
    }

    fn write_in_transaction(&self, record: &ControlRecord<'_>, expected: u64) -> Result<(), ControlError> {
        let transactional_id = format!("{}.control", self.kafka.group);
        let doing = || format!("writing a control record as {transactional_id}");
        let producer = producer(self.kafka, Some(&transactional_id))?;
        // From here on another writer is fenced: what was written last stays so.
        producer.init_transactions(WRITE_TIMEOUT).map_err(|error| SourceError::of(doing(), error))?;
        self.check_last(expected)?;
        let write = || -> Result<(), KafkaError> {
            producer.begin_transaction()?;
            for partition in 0..self.partitions {
                send(&producer, &self.kafka.topics.events, partition, record)?;
            }
            let member = self.group.group_metadata().ok_or(KafkaError::Canceled)?;
            producer.send_offsets_to_transaction(&self.position(record.version)?, &member, REQUEST_TIMEOUT)?;
            // A record that failed fails the commit.
            producer.commit_transaction(WRITE_TIMEOUT)
        };
        write().map_err(|error| {
            let _ = producer.abort_transaction(REQUEST_TIMEOUT);
            SourceError::of(doing(), error).into()
        })
    }

    fn write_until_everywhere(&self, record: &ControlRecord<'_>) -> Result<(), SourceError> {
        let doing = || "writing a control record to every partition".to_owned();
        let producer = producer(self.kafka, None)?;
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let mut missing: Vec<u32> = (0..self.partitions).collect();
        while !missing.is_empty() {
            for partition in &missing {
                send(&producer, &self.kafka.topics.events, *partition, record)
                    .map_err(|error| SourceError::of(doing(), error))?;
            }
            let flushed = producer.flush(WRITE_TIMEOUT);
            let acknowledged =
                producer.context().partitions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            missing.retain(|partition| !acknowledged.iter().any(|known| u32::try_from(*known) == Ok(*partition)));
            if !missing.is_empty() && Instant::now() >= deadline {
                let timed_out = KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut);
                return Err(SourceError::of(doing(), flushed.err().unwrap_or(timed_out)));
            }
        }
        Ok(())
    }
}

fn refused(error: KafkaError) -> SourceError {
    SourceError::of("noting the version written last", error)
}

/// Only asks and commits; it is never a member.
type ControlGroup = BaseConsumer;

type ControlProducer = rdkafka::producer::BaseProducer<Acknowledgements>;

fn producer(kafka: &KafkaConfig, transactional_id: Option<&str>) -> Result<ControlProducer, SourceError> {
    use rdkafka::config::FromClientConfigAndContext;
    ControlProducer::from_config_and_context(&client::producer(kafka, transactional_id), Acknowledgements::default())
        .map_err(|error| SourceError::of("making a producer", error))
}

fn send(producer: &ControlProducer, topic: &str, partition: u32, record: &ControlRecord<'_>) -> Result<(), KafkaError> {
    let headers = OwnedHeaders::new().insert(Header { key: CONTROL_HEADER, value: Some(record.kind.name()) });
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(record.value).headers(headers);
    producer.send(record).map_err(|(error, _)| error)
}
