//! What librdkafka tells inside a poll, noted for whoever polls.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::member::member_id;
use super::{AssignmentChange, RebalanceNote};
use crate::event::{Offset, PartitionId};

/// Takes what happens inside a poll. It runs on the polling thread and does no I/O: whoever polls serves the notes.
#[derive(Default)]
pub(super) struct NotingContext {
    pub(super) notes: Mutex<Notes>,
    /// From here on nobody serves notes: closing needs its revocation answered at once, or it never ends.
    pub(super) closing: AtomicBool,
    /// What the statistics say about the end of each partition's log.
    pub(super) ends: Mutex<HashMap<PartitionId, Offset>>,
    /// The member that was given what is assigned; `None` where its session had ended before that was taken.
    holder: Mutex<Option<String>>,
}

/// What nobody has taken yet.
#[derive(Default)]
pub(super) struct Notes {
    last_number: u64,
    /// Whether [`Source::assign`] has an assignment to answer: what it is about is held, though nothing is assigned yet.
    pub(super) is_assigning: bool,
    pub(super) waiting: VecDeque<RebalanceNote>,
}

/// A panic elsewhere ends the process anyway, so what a poisoned lock guards is still whole enough to read.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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
    /// Whether a rebalance was noted that nobody has taken.
    pub(super) fn has_notes(&self) -> bool {
        !lock(&self.notes).waiting.is_empty()
    }

    /// Whether `consumer` is still the member that it holds its partitions as.
    pub(super) fn is_holder(&self, consumer: &BaseConsumer<Self>) -> bool {
        let member = member_id(consumer);
        member.is_some() && member == *lock(&self.holder)
    }
}

/// Gives up those of `partitions` that were ever taken: of the others (given, and never assigned because the consumer
/// closes) librdkafka knows nothing, refuses the whole call because of them, and waits for the right one for ever.
pub(super) fn unassign_taken(
    consumer: &BaseConsumer<NotingContext>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    let assigned = consumer.assignment()?;
    let mut taken = TopicPartitionList::new();
    for element in partitions.elements() {
        if assigned.find_partition(element.topic(), element.partition()).is_some() {
            taken.add_partition(element.topic(), element.partition());
        }
    }
    consumer.incremental_unassign(&taken)
}
