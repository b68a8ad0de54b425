//! How a group has shared the events topic out, as its coordinator tells whoever asks.

use std::collections::BTreeSet;

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};

use super::SourceError;
use super::client::{self, REQUEST_TIMEOUT};
use super::source::instance_id;
use crate::config::Config;
use crate::event::PartitionId;

/// Characters of the UUID behind a static member's name in its id.
const UUID_LENGTH: usize = 36;

/// A group that has shared out what there is, and waits for nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sharing {
    /// The smallest of the members' ids: one of them that all agree on.
    pub first_member: String,
    /// Partitions of the topic that are no member's.
    pub unassigned: BTreeSet<PartitionId>,
}

/// Asks how the workers' group has shared its topic out.
pub struct SharingInquiry {
    consumer: BaseConsumer<DefaultConsumerContext>,
    group: String,
    topic: String,
}

impl SharingInquiry {
    /// Connects when it asks.
    ///
    /// # Errors
    /// Where librdkafka refuses a setting.
    pub fn new(config: &Config) -> Result<Self, SourceError> {
        let kafka = &config.kafka;
        let consumer = BaseConsumer::from_config_and_context(&client::log_reader(kafka), DefaultConsumerContext)
            .map_err(|error| SourceError::of("making a client that asks for the group", error))?;
        Ok(Self { consumer, group: kafka.group.clone(), topic: kafka.topics.events.clone() })
    }

    /// How a topic of so many partitions is shared out; `None` while the group has no members or waits for some.
    ///
    /// # Errors
    /// Where the broker does not answer or refuses.
    pub fn ask(&self, partitions: u32) -> Result<Option<Sharing>, SourceError> {
        let list = self.consumer.fetch_group_list(Some(&self.group), REQUEST_TIMEOUT).map_err(|error| {
            SourceError::of(format!("asking how group {} has shared its topic out", self.group), error)
        })?;
        let groups = list.groups().iter().find(|group| group.name() == self.group);
        let Some(group) = groups.filter(|group| group.state() == "Stable") else { return Ok(None) };
        let mut unassigned: BTreeSet<PartitionId> = (0..partitions).map(PartitionId::new).collect();
        let mut first_member: Option<&str> = None;
        for member in group.members() {
            let Some(assigned) = assigned_partitions(member.assignment().unwrap_or_default(), &self.topic) else {
                // Nobody knows what it has.
                return Ok(None);
            };
            assigned.iter().for_each(|partition| {
                unassigned.remove(partition);
            });
            first_member = Some(first_member.map_or(member.id(), |first| first.min(member.id())));
        }
        Ok(first_member.map(|first| Sharing { first_member: first.to_owned(), unassigned }))
    }
}

impl Sharing {
    /// Whether the first member is pipeline `thread` of this worker: a broker makes a static member's id of its name and a
    /// UUID.
    pub fn begins_with(&self, config: &Config, thread: u16) -> bool {
        let rest = self.first_member.strip_prefix(&instance_id(config, thread)).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|uuid| uuid.len() == UUID_LENGTH)
    }
}

/// The partitions of `topic` in a member's assignment (Kafka's `ConsumerProtocolAssignment`, of which all versions begin
/// alike); `None` where it is not one.
fn assigned_partitions(mut bytes: &[u8], topic: &str) -> Option<BTreeSet<PartitionId>> {
    let mut assigned = BTreeSet::new();
    if bytes.is_empty() {
        // Of a member that was given nothing.
        return Some(assigned);
    }
    let bytes = &mut bytes;
    let _version = u16::from_be_bytes(take(bytes)?);
    for _ in 0..u32::from_be_bytes(take(bytes)?) {
        let length = usize::from(u16::from_be_bytes(take(bytes)?));
        let (name, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        for _ in 0..u32::from_be_bytes(take(bytes)?) {
            let partition = u32::from_be_bytes(take(bytes)?);
            if name == topic.as_bytes() {
                assigned.insert(PartitionId::new(partition));
            }
        }
    }
    Some(assigned)
}

/// The first bytes, which are taken off.
fn take<const LENGTH: usize>(bytes: &mut &[u8]) -> Option<[u8; LENGTH]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(partitions: &[u32]) -> BTreeSet<PartitionId> {
        partitions.iter().copied().map(PartitionId::new).collect()
    }

    #[test]
    fn an_assignment_is_read_by_topic() {
        let bytes =
            b"\0\x01\0\0\0\x02\0\x01t\0\0\0\x02\0\0\0\x07\0\0\0\x02\0\x02tt\0\0\0\x01\0\0\0\x03\xff\xff\xff\xff";
        assert_eq!(assigned_partitions(bytes, "t"), Some(sorted(&[2, 7])));
        assert_eq!(assigned_partitions(bytes, "tt"), Some(sorted(&[3])));
        assert_eq!(assigned_partitions(bytes, "other"), Some(sorted(&[])));
        assert_eq!(assigned_partitions(b"", "t"), Some(sorted(&[])));
        for length in 1..bytes.len() - 4 {
            assert_eq!(assigned_partitions(&bytes[..length], "t"), None, "cut at {length}");
        }
    }

    #[test]
    fn a_worker_knows_its_own_pipelines_by_their_names() {
        let mut config = Config::default();
        config.worker.instance = "worker-1".to_owned();
        let sharing = |id: &str| Sharing { first_member: id.to_owned(), ..Sharing::default() };
        let uuid = "0a9d8085-2e72-4dfe-a53a-18ce4f0fd6f1";
        assert!(sharing(&format!("worker-1-0-{uuid}")).begins_with(&config, 0));
        assert!(!sharing(&format!("worker-1-0-{uuid}")).begins_with(&config, 1));
        assert!(!sharing(&format!("worker-1-0-3-{uuid}")).begins_with(&config, 0), "of a worker named worker-1-0");
        assert!(!sharing(uuid).begins_with(&config, 0));
    }
}
