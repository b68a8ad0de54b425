//! The source on Kafka: one consumer, polled by one thread, whose rebalances are only noted.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use super::client;
use super::group::{KafkaGroup, Names};
use super::noting::{NotingContext, lock, unassign_taken};
use super::positions::{kafka_number, kafka_offset, list_of};
use super::{AssignmentChange, RebalanceNote, RecordBatch, Source, SourceError};
use crate::config::Config;
use crate::event::{Offset, PartitionId};

/// The most records and bytes that one poll hands on: a rebalance is never behind more work than that.
pub(super) const MAX_BATCH_RECORDS: usize = 10_000;
pub(super) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How long leaving the group may take: the revocation of what is assigned, and the request itself.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(3);

/// How often it is looked at whether the group has put this member out, while it owes librdkafka an answer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One consumer of the events topic. No split partition queues (they lose wake-ups): batches are handed on instead.
pub struct KafkaSource {
    consumer: Arc<BaseConsumer<NotingContext>>,
    names: Arc<Names>,
    /// Taken and not yet answered. librdkafka waits for the answer for ever, also where the consumer is to be closed.
    unanswered: VecDeque<RebalanceNote>,
    /// Positions of an earlier assignment that librdkafka still told when a partition came back. It forgets them on a
    /// thread of its own, a little after the partition was given up; committed, they would skip records.
    stale_positions: HashMap<PartitionId, Offset>,
    /// When it was looked at last whether this is still the member that holds what is read.
    looked_at: Instant,
}

/// The name under which a pipeline of a worker is a static member.
pub(crate) fn instance_id(config: &Config, thread: u16) -> String {
    format!("{}-{thread}", config.worker.instance)
}

impl KafkaSource {
    /// A consumer that is to join the group as `instance`.
    pub fn create(config: &Config, instance: &str) -> Result<Self, SourceError> {
        let settings = client::consumer(config, instance);
        let consumer = BaseConsumer::from_config_and_context(&settings, NotingContext::default())
            .map_err(|error| SourceError::of("making a consumer", error))?;
        let names = Names {
            topic: config.kafka.topics.events.clone(),
            group: config.kafka.group.clone(),
            instance: instance.to_owned(),
            since: Mutex::default(),
        };
        Ok(Self {
            consumer: Arc::new(consumer),
            names: Arc::new(names),
            unanswered: VecDeque::new(),
            stale_positions: HashMap::new(),
            looked_at: Instant::now(),
        })
    }

    /// Whether the group has put this member out, and librdkafka has not lost what it holds. Every joining ends with a
    /// note, if only of no partition. While a note is unanswered, librdkafka may not say what it has lost at all.
    fn is_put_out(&mut self) -> bool {
        let context = self.consumer.context();
        let has_notes = context.has_notes();
        let is_lost = |note: &RebalanceNote| note.change == AssignmentChange::Lost;
        if self.unanswered.iter().chain(&lock(&context.notes).waiting).any(is_lost) {
            return false;
        }
        if !has_notes && (self.unanswered.is_empty() || self.looked_at.elapsed() < LOOK_INTERVAL) {
            return false;
        }
        self.looked_at = Instant::now();
        !context.is_holder(&self.consumer)
    }

    fn poll_error(&self, error: KafkaError) -> Result<(), SourceError> {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::FencedInstanceId | RDKafkaErrorCode::Fenced) => {
                Err(SourceError::Fenced { group: self.names.group.clone(), instance: self.names.instance.clone() })
            }
            // The rebalance that follows says which partitions are lost.
            Some(RDKafkaErrorCode::PollExceeded) => Ok(()),
            _ => check_poll_error(&self.names.topic, error),
        }
    }

    /// What librdkafka tells of the partitions assigned. It moves on as polling takes records and markers from its
    /// queue, which markers stand in as well, at their places.
    fn told_positions(&self) -> Vec<(PartitionId, Offset)> {
        let told = match self.consumer.position() {
            Ok(told) => told,
            // The next poll says what is wrong.
            Err(error) => {
                tracing::debug!(%error, "asking how far partitions are read");
                return Vec::new();
            }
        };
        let known = told.elements().into_iter().filter_map(|element| {
            let KafkaOffset::Offset(offset) = element.offset() else { return None };
            let partition = PartitionId::new(u32::try_from(element.partition()).ok()?);
            Some((partition, Offset::new(u64::try_from(offset).ok()?)))
        });
        known.collect()
    }

    /// Answers what is noted, and from here on each rebalance at once: notes that nobody will answer any more would hold the
    /// consumer's close up for ever.
    fn answer_for_the_last_time(&mut self) {
        self.consumer.context().closing.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut lock(&self.consumer.context().notes).waiting);
        for note in std::mem::take(&mut self.unanswered).iter().chain(&waiting) {
            let answer = match note.change {
                AssignmentChange::Assigned => self.consumer.incremental_assign(&TopicPartitionList::new()),
                AssignmentChange::Revoked | AssignmentChange::Lost => {
                    unassign_taken(&self.consumer, &self.list(&note.partitions))
                }
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "rebalance while closing");
            }
        }
    }

    fn list<'a>(&self, partitions: impl IntoIterator<Item = &'a PartitionId>) -> TopicPartitionList {
        list_of(&self.names.topic, partitions)
    }
}

impl Drop for KafkaSource {
    /// The last handle's drop closes the consumer, polling until that is done: it is only where every note is answered.
    fn drop(&mut self) {
        self.answer_for_the_last_time();
    }
}

/// Sorts what a poll of `topic` said into what ends the reading and what librdkafka mends by itself.
pub(super) fn check_poll_error(topic: &str, error: KafkaError) -> Result<(), SourceError> {
    if let Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) = error.rdkafka_error_code() {
        return Err(SourceError::OutOfRange { topic: topic.to_owned() });
    }
    match SourceError::of(format!("reading topic {topic}"), error.clone()) {
        // librdkafka reconnects and goes on by itself.
        transient @ SourceError::Unavailable { .. } if !matches!(error, KafkaError::MessageConsumptionFatal(_)) => {
            tracing::warn!(error = %transient, "reading goes on");
            Ok(())
        }
        refused => Err(refused),
    }
}

impl Source for KafkaSource {
    type Group = KafkaGroup;

    fn group(&self) -> KafkaGroup {
        KafkaGroup { consumer: Arc::clone(&self.consumer), names: Arc::clone(&self.names) }
    }

    fn join(&mut self) -> Result<(), SourceError> {
        let Names { topic, group, instance, .. } = &*self.names;
        self.consumer
            .subscribe(&[topic])
            .map_err(|error| SourceError::of(format!("joining group {group} as {instance}"), error))
    }

    fn poll(&mut self, wait: Duration, batch: &mut RecordBatch) -> Result<(), SourceError> {
        batch.clear();
        // Told at once, and not behind what was fetched before.
        if let Some((code, _)) = self.consumer.client().fatal_error() {
            self.poll_error(KafkaError::MessageConsumptionFatal(code))?;
        }
        let mut wait = wait;
        // A rebalance stands before records that came after it, so it ends the batch.
        while batch.len() < MAX_BATCH_RECORDS && batch.bytes() < MAX_BATCH_BYTES && !self.consumer.context().has_notes()
        {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => batch.push_message(&message),
                Some(Err(error)) => self.poll_error(error)?,
                None => break,
            }
            wait = Duration::ZERO;
        }
        if self.is_put_out() {
            return Err(self.names.session_ended());
        }
        Ok(())
    }

    fn take_note(&mut self) -> Option<RebalanceNote> {
        let note = lock(&self.consumer.context().notes).waiting.pop_front();
        self.unanswered.extend(note.clone());
        note
    }

    fn assign(&mut self, starts: &[(PartitionId, Offset)]) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in starts {
            list.add_partition_offset(&self.names.topic, kafka_number(*partition), kafka_offset(*offset))
                .map_err(|error| SourceError::of("naming a start offset", error))?;
        }
        // The assignment is answered long after its callback. librdkafka allows that: the member waits for the call,
        // its heartbeats go on, and partitions it kept are read meanwhile.
        self.unanswered.retain(|note| note.change != AssignmentChange::Assigned);
        lock(&self.consumer.context().notes).is_assigning = false;
        self.consumer.incremental_assign(&list).map_err(|error| SourceError::of("taking partitions over", error))?;
        // Nothing was polled since: what is told of these partitions is of the time before.
        let is_new = |partition: PartitionId| starts.iter().any(|(started, _)| *started == partition);
        let told = self.told_positions().into_iter().filter(|(partition, _)| is_new(*partition));
        self.stale_positions.extend(told);
        Ok(())
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        let mut ends = lock(&self.consumer.context().ends);
        for partition in partitions {
            ends.remove(partition);
            self.stale_positions.remove(partition);
        }
        drop(ends);
        self.unanswered.retain(|note| note.change == AssignmentChange::Assigned);
        self.consumer
            .incremental_unassign(&self.list(partitions))
            .map_err(|error| SourceError::of("giving partitions up", error))
    }

    fn pause(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.consumer.pause(&self.list(partitions)).map_err(|error| SourceError::of("pausing", error))
    }

    fn resume(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.consumer.resume(&self.list(partitions)).map_err(|error| SourceError::of("resuming", error))
    }

    fn end_offset(&self, partition: PartitionId) -> Option<Offset> {
        // As of the last statistics, a second old.
        lock(&self.consumer.context().ends).get(&partition).copied()
    }

    fn positions(&mut self) -> Vec<(PartitionId, Offset)> {
        let mut positions = self.told_positions();
        // Once another one is told, or none, the old one is forgotten, and reading may well come to it again.
        self.stale_positions.retain(|partition, stale| positions.contains(&(*partition, *stale)));
        positions.retain(|(partition, _)| !self.stale_positions.contains_key(partition));
        positions
    }

    fn close(mut self, leave: bool) {
        self.answer_for_the_last_time();
        if leave {
            // Closing a static member does not leave the group; giving up the subscription before it does.
            self.consumer.unsubscribe();
            let deadline = Instant::now() + LEAVE_TIMEOUT;
            while Instant::now() < deadline {
                let _ = self.consumer.poll(Duration::from_millis(50));
                let is_unassigned = self.consumer.assignment().is_ok_and(|list| list.count() == 0);
                // The request leaves from librdkafka's own thread, after the last partition was given up; its member id
                // is empty from then on.
                if is_unassigned && deadline - Instant::now() < LEAVE_TIMEOUT - Duration::from_millis(500) {
                    break;
                }
            }
        }
    }
}
