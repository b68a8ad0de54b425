//! A batch of consumed records in one arena.

use std::ops::Range;

use bumpalo::Bump;
use rdkafka::message::{Headers, Message};

use crate::event::{CONTROL_HEADER, Offset, PartitionId, Record, RecordTime, decode_record};

/// Consumed records, payloads copied once into one arena that is reused from batch to batch.
#[derive(Debug, Default)]
pub struct RecordBatch {
    arena: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    partition: PartitionId,
    offset: Offset,
    time: RecordTime,
    key: Option<Range<usize>>,
    value: Range<usize>,
    control_header: Option<Range<usize>>,
}

/// One record of a batch, borrowed from its arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumedRecord<'a> {
    /// Which partition it stands in.
    pub partition: PartitionId,
    /// Where it stands there.
    pub offset: Offset,
    /// The broker's time; negative where the record has none.
    pub time: RecordTime,
    /// The key; `None` is another thing than an empty one.
    pub key: Option<&'a [u8]>,
    /// The value; empty for a tombstone.
    pub value: &'a [u8],
    /// Value of the header [`crate::event::CONTROL_HEADER`], where there is one.
    pub control_header: Option<&'a [u8]>,
}

impl<'a> ConsumedRecord<'a> {
    /// What it says, as the fold takes it; lists in it live in `arena`.
    pub fn decode(&self, arena: &'a Bump) -> Record<'a> {
        Record {
            offset: self.offset,
            time: self.time,
            key: self.key,
            value: self.value,
            input: decode_record(self.value, self.control_header, arena),
        }
    }
}

impl RecordBatch {
    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
    }

    /// Copies a record in.
    pub fn push(&mut self, record: &ConsumedRecord<'_>) {
        let key = record.key.map(|key| self.copy(key));
        let value = self.copy(record.value);
        let control_header = record.control_header.map(|header| self.copy(header));
        self.entries.push(Entry {
            partition: record.partition,
            offset: record.offset,
            time: record.time,
            key,
            value,
            control_header,
        });
    }

    /// Copies a record in as Kafka's client gave it.
    pub(super) fn push_message(&mut self, message: &impl Message) {
        let (Ok(partition), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
            debug_assert!(false, "consumed records have a partition and an offset");
            return;
        };
        let control_header = message.headers().and_then(|headers| {
            headers.iter().find(|header| header.key == CONTROL_HEADER).map(|header| header.value.unwrap_or_default())
        });
        self.push(&ConsumedRecord {
            partition: PartitionId::new(partition),
            offset: Offset::new(offset),
            time: RecordTime::from_millis(message.timestamp().to_millis().unwrap_or(-1)),
            key: message.key(),
            value: message.payload().unwrap_or_default(),
            control_header,
        });
    }

    fn copy(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.arena.len();
        self.arena.extend_from_slice(bytes);
        start..self.arena.len()
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of keys, values and headers.
    pub fn bytes(&self) -> usize {
        self.arena.len()
    }

    /// The records in the order they came: log order within a partition.
    pub fn iter(&self) -> impl Iterator<Item = ConsumedRecord<'_>> {
        self.entries.iter().map(|entry| ConsumedRecord {
            partition: entry.partition,
            offset: entry.offset,
            time: entry.time,
            key: entry.key.clone().map(|range| self.slice(range)),
            value: self.slice(entry.value.clone()),
            control_header: entry.control_header.clone().map(|range| self.slice(range)),
        })
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        debug_assert!(range.end <= self.arena.len(), "ranges are made by `copy`");
        self.arena.get(range).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn records_come_back_as_they_went_in_and_clearing_forgets_them() {
        let with_all = ConsumedRecord {
            partition: PartitionId::new(3),
            offset: Offset::new(7),
            time: RecordTime::from_millis(11),
            key: Some(b"key"),
            value: b"value",
            control_header: Some(b"policy"),
        };
        let bare = ConsumedRecord { key: None, value: b"", control_header: None, offset: Offset::new(8), ..with_all };
        let empty_key = ConsumedRecord { key: Some(b""), offset: Offset::new(9), ..bare };

        let mut batch = RecordBatch::default();
        for record in [&with_all, &bare, &empty_key] {
            batch.push(record);
        }
        assert_eq!(batch.iter().collect::<Vec<_>>(), [with_all, bare, empty_key]);
        assert_eq!(batch.bytes(), b"keyvaluepolicy".len());

        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(batch.bytes(), 0);
    }
}
