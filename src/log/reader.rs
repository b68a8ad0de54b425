//! Reading a range of the log outside of the group: for replay and verification.

use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, REQUEST_TIMEOUT};
use super::positions::{committed, kafka_number, kafka_offset, log_range};
use super::source::{MAX_BATCH_BYTES, MAX_BATCH_RECORDS, check_poll_error};
use super::{CommittedPosition, RecordBatch, SourceError, topics};
use crate::config::KafkaConfig;
use crate::event::{Offset, PartitionId, RecordTime};

/// How long the log may give nothing although the range is not at its end.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One wait for records; the position is looked at after it.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// Reads a range of one partition's log outside of any group: no membership, no commits, committed records only.
///
/// One thread owns it and reads one partition at a time.
pub trait LogReader {
    /// First offset of the log, and the one after its last committed record.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses.
    fn log_range(&mut self, partition: PartitionId) -> Result<(Offset, Offset), SourceError>;

    /// Begins reading `partition` at `from`; what was being read is left.
    ///
    /// # Errors
    /// Where the client refuses. Whether the log holds `from` shows when it is read.
    fn begin(&mut self, partition: PartitionId, from: Offset) -> Result<(), SourceError>;

    /// Refills `batch` with the next records below `until`, waiting for them where need be, and returns the offset before
    /// which everything has been handed on, markers of transactions included: the range is read when that is `until` or
    /// more. A later call may ask for more of the log.
    ///
    /// # Errors
    /// [`SourceError::OutOfRange`] where the log does not hold the records; [`SourceError::Unavailable`] where it gave
    /// nothing for a bounded time, as it does where `until` is beyond its end.
    fn read(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<Offset, SourceError>;

    /// Leaves what is being read: nothing more is fetched.
    fn end(&mut self) {}
}

/// A consumer with a manual assignment.
pub struct KafkaLogReader {
    consumer: BaseConsumer<QuietContext>,
    topic: String,
    group: String,
    /// The partition that is read, and where reading it began.
    begun: Option<(PartitionId, Offset)>,
    /// Was polled and is not below the `until` of that time.
    held: Option<OwnedMessage>,
}

/// Logs what heals by itself.
struct QuietContext;

impl ClientContext for QuietContext {
    fn error(&self, error: KafkaError, reason: &str) {
        // Told as an error, too, and expected at the end of every range.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        tracing::warn!(%error, reason, "Kafka client");
    }
}

impl ConsumerContext for QuietContext {}

impl KafkaLogReader {
    /// A reader of the events topic. Connects when it is asked something.
    ///
    /// # Errors
    /// Where librdkafka refuses a setting.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, SourceError> {
        let consumer = BaseConsumer::from_config_and_context(&client::log_reader(kafka), QuietContext)
            .map_err(|error| SourceError::of("making a reader of the log", error))?;
        let (topic, group) = (kafka.topics.events.clone(), kafka.group.clone());
        Ok(Self { consumer, topic, group, begun: None, held: None })
    }

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`SourceError::Refused`] where it is not there; where the broker does not answer or refuses.
    pub fn partition_count(&self) -> Result<u32, SourceError> {
        match topics::partition_count(&self.consumer, &self.topic)? {
            0 => Err(SourceError::Refused {
                doing: format!("looking for topic {}", self.topic),
                source: KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition),
            }),
            count => Ok(count),
        }
    }

    /// What the workers' group has committed for these partitions, in the same order; `None` where it never has.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses, and [`SourceError::ForeignCommit`].
    pub fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
        committed(&self.consumer, &self.topic, &self.group, partitions)
    }

    /// The offset of the first record whose time is `time` or later; the end of the log where there is none.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses.
    pub fn offset_at(&mut self, partition: PartitionId, time: RecordTime) -> Result<Offset, SourceError> {
        let ask = || -> KafkaResult<KafkaOffset> {
            let mut asked = TopicPartitionList::new();
            let time = KafkaOffset::Offset(time.millis());
            asked.add_partition_offset(&self.topic, kafka_number(partition), time)?;
            let answer = self.consumer.offsets_for_times(asked, REQUEST_TIMEOUT)?;
            let found = answer.find_partition(&self.topic, kafka_number(partition));
            let found = found.ok_or(KafkaError::OffsetFetch(RDKafkaErrorCode::UnknownPartition))?;
            found.error()?;
            Ok(found.offset())
        };
        let doing = || format!("asking partition {} of {} for a time", partition.get(), self.topic);
        match ask().map_err(|error| SourceError::of(doing(), error))? {
            KafkaOffset::Offset(offset) => Ok(Offset::new(u64::try_from(offset).unwrap_or_default())),
            _ => Ok(log_range(&self.consumer, &self.topic, partition)?.1),
        }
    }

    /// Before which offset everything was polled. Unlike the offset of the last record it moves past markers of
    /// transactions, which are never handed on.
    fn position(&self) -> Result<Offset, SourceError> {
        let (_, from) = self.begun.unwrap_or_default();
        let position = self.consumer.position().map_err(|error| SourceError::of("asking for the position", error))?;
        match position.elements().first().map(|element| element.offset()) {
            Some(KafkaOffset::Offset(offset)) => Ok(Offset::new(u64::try_from(offset).unwrap_or_default()).max(from)),
            // Nothing was polled yet.
            _ => Ok(from),
        }
    }

    /// Polls what is there, up to a bounded batch or the end of the range.
    fn fill(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<(), SourceError> {
        let mut wait = POLL_WAIT;
        while batch.len() < MAX_BATCH_RECORDS && batch.bytes() < MAX_BATCH_BYTES {
            match self.consumer.poll(wait) {
                Some(Ok(message)) if offset_of(&message) >= until => {
                    self.held = Some(message.detach());
                    return Ok(());
                }
                Some(Ok(message)) => batch.push_message(&message),
                // Everything that there is was polled, markers too.
                Some(Err(KafkaError::PartitionEOF(_))) | None => return Ok(()),
                Some(Err(error)) => check_poll_error(&self.topic, error)?,
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }
}

impl LogReader for KafkaLogReader {
    fn log_range(&mut self, partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        log_range(&self.consumer, &self.topic, partition)
    }

    fn begin(&mut self, partition: PartitionId, from: Offset) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, kafka_number(partition), kafka_offset(from))
            .and_then(|()| self.consumer.assign(&list))
            .map_err(|error| SourceError::of(format!("reading partition {}", partition.get()), error))?;
        self.begun = Some((partition, from));
        self.held = None;
        Ok(())
    }

    fn end(&mut self) {
        if let Err(error) = self.consumer.unassign() {
            tracing::debug!(%error, "leaving a partition");
        }
        self.begun = None;
        self.held = None;
    }

    fn read(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<Offset, SourceError> {
        batch.clear();
        if let Some(message) = self.held.take_if(|message| offset_of(message) < until) {
            batch.push_message(&message);
        }
        let mut passed = self.position()?;
        let mut give_up_at = Instant::now() + STALL_TIMEOUT;
        loop {
            if self.held.is_none() && passed < until {
                self.fill(until, batch)?;
            }
            if let Some(held) = &self.held {
                return Ok(offset_of(held));
            }
            let position = self.position()?;
            if !batch.is_empty() || position >= until {
                return Ok(position);
            }
            if position > passed {
                passed = position;
                give_up_at = Instant::now() + STALL_TIMEOUT;
            } else if Instant::now() >= give_up_at {
                let (partition, _) = self.begun.unwrap_or_default();
                let doing = format!(
                    "reading partition {} of {} from offset {} to {}",
                    partition.get(),
                    self.topic,
                    passed.get(),
                    until.get()
                );
                return Err(SourceError::of(
                    doing,
                    KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
                ));
            }
        }
    }
}

fn offset_of(message: &impl Message) -> Offset {
    Offset::new(u64::try_from(message.offset()).unwrap_or_default())
}
