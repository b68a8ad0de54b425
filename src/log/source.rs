//! The source on Kafka: one consumer, polled by one thread, whose rebalances are only noted.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::client::{self, REQUEST_TIMEOUT};
use super::member::member_id;
use super::{
    AssignmentChange, CommitMetadata, CommittedPosition, Group, RebalanceNote, RecordBatch, Source, SourceError,
};
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

/// The handle on the same consumer for other threads.
#[derive(Clone)]
pub struct KafkaGroup {
    consumer: Arc<BaseConsumer<NotingContext>>,
    names: Arc<Names>,
}

struct Names {
    topic: String,
    group: String,
    instance: String,
    /// [`CommitMetadata::since`] of the partitions that have one.
    since: Mutex<HashMap<PartitionId, Offset>>,
}

impl Names {
    fn session_ended(&self) -> SourceError {
        SourceError::SessionEnded { group: self.group.clone(), instance: self.instance.clone() }
    }
}

/// Takes what happens inside a poll. It runs on the polling thread and does no I/O: whoever polls serves the notes.
#[derive(Default)]
struct NotingContext {
    notes: Mutex<Notes>,
    /// From here on nobody serves notes: closing needs its revocation answered at once, or it never ends.
    closing: AtomicBool,
    /// What the statistics say about the end of each partition's log.
    ends: Mutex<HashMap<PartitionId, Offset>>,
    /// The member that was given what is assigned; `None` where its session had ended before that was taken.
    holder: Mutex<Option<String>>,
}

#[derive(Default)]
struct Notes {
    last_number: u64,
    /// Whether [`Source::assign`] has an assignment to answer: what it is about is held, though nothing is assigned yet.
    is_assigning: bool,
    waiting: VecDeque<RebalanceNote>,
}

/// A panic elsewhere ends the process anyway, so what a poisoned lock guards is still whole enough to read.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ClientContext for NotingContext {
    fn stats(&self, statistics: Statistics) {
        let mut ends = lock(&self.ends);
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            // ls_offset is where read_committed ends; the in-process broker knows none and leaves it at -1.
            let end = if partition.ls_offset >= 0 { partition.ls_offset } else { partition.hi_offset };
            if let (Ok(number), Ok(end)) = (u32::try_from(partition.partition), u64::try_from(end)) {
                ends.insert(PartitionId::new(number), Offset::new(end));
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // librdkafka reconnects by itself; what does not heal comes back from `poll` as an error.
        tracing::warn!(%error, reason, "Kafka client");
    }
}

impl ConsumerContext for NotingContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_assignment = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer = if is_assignment {
                consumer.incremental_assign(&TopicPartitionList::new())
            } else {
                unassign_taken(consumer, partitions)
            };
            if let Err(error) = answer {
                tracing::debug!(%error, "rebalance while closing");
            }
            return;
        }
        let change = match (is_assignment, consumer.assignment_lost()) {
            (true, _) => AssignmentChange::Assigned,
            (false, true) => AssignmentChange::Lost,
            (false, false) => AssignmentChange::Revoked,
        };
        let holds_nothing =
            !lock(&self.notes).is_assigning && consumer.assignment().is_ok_and(|assigned| assigned.count() == 0);
        if is_assignment && holds_nothing {
            *lock(&self.holder) = member_id(consumer);
        }
        let partitions = partitions
            .elements()
            .iter()
            .filter_map(|element| u32::try_from(element.partition()).ok())
            .map(PartitionId::new)
            .collect();
        let mut notes = lock(&self.notes);
        notes.last_number += 1;
        notes.is_assigning |= is_assignment;
        let number = notes.last_number;
        notes.waiting.push_back(RebalanceNote { number, change, partitions });
    }
}

impl NotingContext {
    fn has_notes(&self) -> bool {
        !lock(&self.notes).waiting.is_empty()
    }

    /// Whether `consumer` is still the member that it holds its partitions as.
    fn is_holder(&self, consumer: &BaseConsumer<Self>) -> bool {
        let member = member_id(consumer);
        member.is_some() && member == *lock(&self.holder)
    }
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

/// Gives up those of `partitions` that were ever taken: of the others (given, and never assigned because the consumer
/// closes) librdkafka knows nothing, refuses the whole call because of them, and waits for the right one for ever.
fn unassign_taken(consumer: &BaseConsumer<NotingContext>, partitions: &TopicPartitionList) -> KafkaResult<()> {
    let assigned = consumer.assignment()?;
    let mut taken = TopicPartitionList::new();
    for element in partitions.elements() {
        if assigned.find_partition(element.topic(), element.partition()).is_some() {
            taken.add_partition(element.topic(), element.partition());
        }
    }
    consumer.incremental_unassign(&taken)
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

/// First offset of a partition's log, and the one after its last committed record.
pub(super) fn log_range<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: PartitionId,
) -> Result<(Offset, Offset), SourceError> {
    let (low, high) = consumer.fetch_watermarks(topic, kafka_number(partition), REQUEST_TIMEOUT).map_err(|error| {
        SourceError::of(format!("asking the range of partition {} of {topic}", partition.get()), error)
    })?;
    let offset = |number: i64| Offset::new(u64::try_from(number).unwrap_or_default());
    Ok((offset(low), offset(high)))
}

/// What `group`, which is the consumer's, has committed for partitions of `topic`, in the same order.
pub(super) fn committed<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    group: &str,
    partitions: &[PartitionId],
) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
    let doing = || format!("asking what group {group} has committed");
    // A read_committed consumer waits for transactions that hold offsets of these partitions to end.
    let answer = consumer
        .committed_offsets(list_of(topic, partitions), REQUEST_TIMEOUT)
        .map_err(|error| SourceError::of(doing(), error))?;
    let mut found = HashMap::new();
    for element in answer.elements() {
        element.error().map_err(|error| SourceError::of(doing(), error))?;
        let KafkaOffset::Offset(offset) = element.offset() else { continue };
        let (Ok(partition), Ok(offset)) = (u32::try_from(element.partition()), u64::try_from(offset)) else {
            continue;
        };
        let metadata = match element.metadata() {
            "" => None,
            text => Some(serde_json::from_str(text).map_err(|_| SourceError::ForeignCommit {
                group: group.to_owned(),
                partition,
                metadata: text.to_owned(),
            })?),
        };
        found.insert(PartitionId::new(partition), CommittedPosition { next_offset: Offset::new(offset), metadata });
    }
    Ok(partitions.iter().map(|partition| found.remove(partition)).collect())
}

fn list_of<'a>(topic: &str, partitions: impl IntoIterator<Item = &'a PartitionId>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, kafka_number(*partition));
    }
    list
}

/// Kafka's signed number of a partition.
pub(super) fn kafka_number(partition: PartitionId) -> i32 {
    i32::try_from(partition.get()).unwrap_or(i32::MAX)
}

/// Kafka's signed number of an offset.
pub(super) fn kafka_offset(offset: Offset) -> KafkaOffset {
    KafkaOffset::Offset(i64::try_from(offset.get()).unwrap_or(i64::MAX))
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

impl KafkaGroup {
    /// Who this member is, for a transaction's offsets; `None` where it is in no group, or not as whom its partitions were
    /// given to.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        let metadata = self.consumer.group_metadata()?;
        // Ids do not come back: a member that is the holder after the metadata was made was so before.
        self.is_holder().then_some(metadata)
    }

    /// Who this member was last, be it in the group or not.
    pub(super) fn last_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.consumer.group_metadata()
    }

    /// Whether this is the member that its partitions were given to.
    pub(super) fn is_holder(&self) -> bool {
        self.consumer.context().is_holder(&self.consumer)
    }

    /// The events topic.
    pub(super) fn topic(&self) -> &str {
        &self.names.topic
    }

    /// What a transaction or a commit takes.
    pub(super) fn positions(
        &self,
        positions: impl Iterator<Item = (PartitionId, Offset, CommitMetadata)>,
    ) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::new();
        for (partition, offset, metadata) in positions {
            let mut element = list.add_partition(self.topic(), kafka_number(partition));
            element.set_offset(kafka_offset(offset))?;
            let known = self.since().get(&partition).copied();
            element.set_metadata(metadata.since(metadata.since.map(Offset::new).or(known)).to_json());
        }
        Ok(list)
    }

    fn since(&self) -> MutexGuard<'_, HashMap<PartitionId, Offset>> {
        self.names.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes from where on the rules of what is committed hold.
    fn note_since(&self, partition: PartitionId, metadata: Option<CommitMetadata>) {
        match metadata.and_then(|metadata| metadata.since) {
            Some(since) => self.since().insert(partition, Offset::new(since)),
            None => self.since().remove(&partition),
        };
    }
}

impl Group for KafkaGroup {
    fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
        let found = committed(&self.consumer, &self.names.topic, &self.names.group, partitions)?;
        for (partition, position) in partitions.iter().zip(&found) {
            self.note_since(*partition, position.as_ref().and_then(|position| position.metadata));
        }
        Ok(found)
    }

    fn log_range(&self, partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        log_range(&self.consumer, &self.names.topic, partition)
    }

    fn commit(&self, positions: &[(PartitionId, Offset, CommitMetadata)]) -> Result<(), SourceError> {
        let doing = || format!("committing offsets of group {}", self.names.group);
        if !self.is_holder() {
            return Err(self.names.session_ended());
        }
        let list = self.positions(positions.iter().copied()).map_err(|error| SourceError::of(doing(), error))?;
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| SourceError::of(doing(), error))?;
        for (partition, _, metadata) in positions {
            if metadata.since.is_some() {
                self.note_since(*partition, Some(*metadata));
            }
        }
        Ok(())
    }
}
