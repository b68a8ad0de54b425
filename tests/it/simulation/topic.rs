//! The events topic in memory, and the source that reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt as _;
use seenby::event::{Offset, PartitionId, RecordTime, partition_of};
use seenby::log::{AssignmentChange, ConsumedRecord, RebalanceNote, RecordBatch, Source, SourceError};

use super::group::ClientId;
use super::group_handle::MemoryGroup;
use super::world::{Event, PARTITIONS, World, partitions};
use crate::support::random_log::TimedRecord;

/// The most records that one poll hands on.
const MAX_BATCH_RECORDS: usize = 6;

/// What stands at an offset.
pub enum Entry {
    Record(TimedRecord),
    /// The end of a producer's transaction, which readers are not shown.
    Marker,
}

pub struct Topic {
    partitions: BTreeMap<PartitionId, Vec<Entry>>,
}

impl Topic {
    pub fn new() -> Self {
        Self { partitions: partitions().map(|partition| (partition, Vec::new())).collect() }
    }

    pub fn entries(&self, partition: PartitionId) -> &[Entry] {
        &self.partitions[&partition]
    }

    pub fn end(&self, partition: PartitionId) -> Offset {
        Offset::new(self.entries(partition).len() as u64)
    }

    /// The offset after the last record; markers may follow.
    pub fn end_of_records(&self, partition: PartitionId) -> Offset {
        let last = self.entries(partition).iter().rposition(|entry| matches!(entry, Entry::Record(_)));
        Offset::new(last.map_or(0, |last| last as u64 + 1))
    }

    /// Appends a record where its key belongs; control records stand in every partition and end a transaction there.
    pub fn append(&mut self, record: &TimedRecord) {
        let home = record.record.key.as_deref().map(|key| partition_of(key, PARTITIONS));
        for (partition, entries) in &mut self.partitions {
            let is_control = record.record.control.is_some();
            if !is_control && home.unwrap_or_default() != *partition {
                continue;
            }
            entries.push(Entry::Record(record.clone()));
            if is_control {
                entries.push(Entry::Marker);
            }
        }
    }

    /// Appends the end of a transaction.
    pub fn append_marker(&mut self, partition: PartitionId) {
        self.partitions.entry(partition).or_default().push(Entry::Marker);
    }
}

/// One consumer in one worker.
pub struct MemorySource {
    world: World,
    instance: usize,
    client: ClientId,
    positions: BTreeMap<PartitionId, Offset>,
    paused: BTreeSet<PartitionId>,
}

impl MemorySource {
    /// A worker's consumer.
    pub fn create(world: &World, instance: usize) -> Self {
        let client = world.with(|shared| shared.group.new_client());
        Self { world: world.clone(), instance, client, positions: BTreeMap::new(), paused: BTreeSet::new() }
    }

    pub fn client(&self) -> ClientId {
        self.client
    }
}

impl Source for MemorySource {
    type Group = MemoryGroup;

    fn group(&self) -> MemoryGroup {
        MemoryGroup::new(&self.world, self.client)
    }

    fn join(&mut self) -> Result<(), SourceError> {
        self.world.with(|shared| shared.group.join(self.client, self.instance));
        Ok(())
    }

    fn poll(&mut self, _wait: Duration, batch: &mut RecordBatch) -> Result<(), SourceError> {
        batch.clear();
        let Self { world, client, positions, paused, .. } = self;
        world.with(|shared| {
            shared.group.background(*client);
            if shared.group.knows_of_fence(*client) {
                return Err(SourceError::Fenced { group: "seenby".to_owned(), instance: format!("{client:?}") });
            }
            // A rebalance stands before records that came after it.
            if shared.group.has_notes(*client) {
                return Ok(());
            }
            let mut room = shared.random.random_range(0..=MAX_BATCH_RECORDS);
            for (partition, position) in positions.iter_mut().filter(|(partition, _)| !paused.contains(partition)) {
                for entry in &shared.topic.entries(*partition)[position.get() as usize..] {
                    if let Entry::Record(TimedRecord { record, time }) = entry {
                        if room == 0 {
                            break;
                        }
                        room -= 1;
                        batch.push(&ConsumedRecord {
                            partition: *partition,
                            offset: *position,
                            time: RecordTime::from_millis(*time),
                            key: record.key.as_deref(),
                            value: &record.value,
                            control_header: record.control.as_deref().map(str::as_bytes),
                        });
                    }
                    *position = position.next();
                }
            }
            Ok(())
        })
    }

    fn take_note(&mut self) -> Option<RebalanceNote> {
        self.world.with(|shared| {
            let note = shared.group.take_note(self.client)?;
            shared.trace(|| format!("{:?} is told {note:?}", self.client));
            match note.change {
                AssignmentChange::Lost => shared.meet(Event::SessionLost),
                AssignmentChange::Revoked => shared.meet(Event::RevokedAndReassigned),
                AssignmentChange::Assigned => {}
            }
            Some(note)
        })
    }

    fn assign(&mut self, starts: &[(PartitionId, Offset)]) -> Result<(), SourceError> {
        self.positions.extend(starts.iter().copied());
        self.world.with(|shared| shared.group.answer_assignment(self.client));
        Ok(())
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.positions.retain(|partition, _| !partitions.contains(partition));
        self.paused.retain(|partition| !partitions.contains(partition));
        self.world.with(|shared| shared.group.answer_revocation(self.client));
        Ok(())
    }

    fn pause(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.paused.extend(partitions);
        Ok(())
    }

    fn resume(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn end_offset(&self, partition: PartitionId) -> Option<Offset> {
        Some(self.world.with(|shared| shared.topic.end(partition)))
    }

    fn positions(&mut self) -> Vec<(PartitionId, Offset)> {
        self.positions.iter().map(|(partition, position)| (*partition, *position)).collect()
    }

    fn close(self, leave: bool) {
        self.world.with(|shared| shared.group.close(self.client, leave));
    }
}
