//! Partitions and offsets as librdkafka takes them, and what it is asked about them.

use std::collections::HashMap;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList};

use super::client::REQUEST_TIMEOUT;
use super::{CommittedPosition, SourceError};
use crate::event::{Offset, PartitionId};

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

/// Partitions of `topic` as librdkafka takes them.
pub(super) fn list_of<'a>(topic: &str, partitions: impl IntoIterator<Item = &'a PartitionId>) -> TopicPartitionList {
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
