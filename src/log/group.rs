//! What any thread may ask of a consumer's group, and commit as its member.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionList;

use super::noting::{NotingContext, lock};
use super::positions::{committed, kafka_number, kafka_offset, log_range};
use super::{CommitMetadata, CommittedPosition, Group, SourceError};
use crate::event::{Offset, PartitionId};

/// The handle on the same consumer for other threads.
#[derive(Clone)]
pub struct KafkaGroup {
    pub(super) consumer: Arc<BaseConsumer<NotingContext>>,
    pub(super) names: Arc<Names>,
}

/// What a consumer and its group are called.
pub(super) struct Names {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) instance: String,
    /// [`CommitMetadata::since`] of the partitions that have one.
    pub(super) since: Mutex<HashMap<PartitionId, Offset>>,
}

impl Names {
    pub(super) fn session_ended(&self) -> SourceError {
        SourceError::SessionEnded { group: self.group.clone(), instance: self.instance.clone() }
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
        lock(&self.names.since)
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
