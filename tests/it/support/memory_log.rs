//! One partition's log in memory, with gaps where markers of transactions stand.

use seenby::event::{Offset, PartitionId, RecordTime};
use seenby::log::{ConsumedRecord, LogReader, RecordBatch, SourceError};

use super::random_log::TimedRecord;

/// Reads records that ascend by offset, at most three at a time.
pub struct MemoryLog {
    records: Vec<(u64, TimedRecord)>,
    /// Offset behind the last record or marker.
    end: u64,
    position: u64,
}

const MAX_BATCH_RECORDS: usize = 3;

impl MemoryLog {
    /// `is_before_marker` says after which records a marker stands.
    pub fn new(records: &[TimedRecord], is_before_marker: impl Fn(usize) -> bool) -> Self {
        let mut end = 0;
        let mut placed = Vec::with_capacity(records.len());
        for (number, record) in records.iter().enumerate() {
            placed.push((end, record.clone()));
            end += 1 + u64::from(is_before_marker(number));
        }
        Self { records: placed, end, position: 0 }
    }

    /// Offset behind the last record or marker.
    pub fn end(&self) -> u64 {
        self.end
    }
}

impl LogReader for MemoryLog {
    fn log_range(&mut self, _partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        Ok((Offset::new(0), Offset::new(self.end)))
    }

    fn begin(&mut self, _partition: PartitionId, from: Offset) -> Result<(), SourceError> {
        self.position = from.get();
        Ok(())
    }

    fn read(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<Offset, SourceError> {
        batch.clear();
        assert!(until.get() <= self.end, "the log does not hold it");
        let start = self.records.partition_point(|(offset, _)| *offset < self.position);
        let mut passed = self.end;
        for (offset, TimedRecord { record, time }) in &self.records[start..] {
            if *offset >= until.get() || batch.len() == MAX_BATCH_RECORDS {
                passed = *offset;
                break;
            }
            batch.push(&ConsumedRecord {
                partition: PartitionId::new(0),
                offset: Offset::new(*offset),
                time: RecordTime::from_millis(*time),
                key: record.key.as_deref(),
                value: &record.value,
                control_header: record.control.as_deref().map(str::as_bytes),
            });
        }
        self.position = passed;
        Ok(Offset::new(passed))
    }
}
