//! One partition: folded forward chunk by chunk, each chunk compared with all tables before the next.

use std::sync::atomic::{AtomicBool, Ordering};

use super::checkpoint::Checkpoint;
use super::difference::ColumnDifference;
use super::range::FlushEnds;
use super::report::Findings;
use super::tables::Tables;
use super::{ChunkLimits, VerifyError};
use crate::event::Offset;
use crate::fold::Partition;
use crate::log::KafkaLogReader;
use crate::observe::Progress;
use crate::store::{OffsetRange, RowBatch};
use crate::worker::Replay;

/// What a verification works with.
pub(super) struct Verification {
    pub(super) log: KafkaLogReader,
    pub(super) tables: Tables,
    pub(super) limits: ChunkLimits,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) findings: Findings,
    pub(super) progress: Progress,
}

impl Verification {
    /// Verifies a range between ends of flushes. Stops between chunks where it is told to.
    ///
    /// What lies before the range is taken as right: the fold goes on from the state that is read back there.
    pub(super) fn verify(&mut self, range: OffsetRange, stop: &AtomicBool) -> Result<(), VerifyError> {
        let OffsetRange { partition, from, .. } = range;
        let state = self.tables.hydrate(partition, from)?;
        let counted_before = self.tables.records_counted(partition, from)?;
        let behind = Offset::new(from.get().saturating_sub(self.limits.records));
        let mut totals = self.tables.totals(OffsetRange { from: behind, until: from, ..range })?;
        let found_before = self.findings.differences.total();

        let mut chunks = Chunks {
            replay: Replay::begin(&mut self.log, state, range.until)?,
            ends: FlushEnds::of(range),
            rows: RowBatch::new(self.tables.topic.clone()),
            range,
        };
        while !chunks.replay.is_done() && !stop.load(Ordering::Relaxed) {
            let (chunk, records) = chunks.fold_next(&self.tables, self.limits)?;
            self.tables.compare(chunk, &chunks.rows, &mut totals, &mut self.findings)?;
            self.findings.records += records;
            self.progress.add(records, &format!("partition {}", partition.get()));
            // What differs is looked at again by the next run.
            let is_clean = self.findings.differences.total() == found_before;
            if let Some(checkpoint) = self.checkpoint.as_mut().filter(|_| is_clean) {
                checkpoint.note(OffsetRange { until: chunk.until, ..range })?;
            }
        }

        let until = chunks.replay.position();
        let (is_done, records) = (chunks.replay.is_done(), chunks.replay.records());
        let state = chunks.replay.into_state();
        let verified = OffsetRange { until, ..range };
        let counted = self.tables.records_counted(partition, until)?.saturating_sub(counted_before);
        if counted != records {
            self.differs("ledger", verified, "sum of outcomes", records.to_string(), counted.to_string());
        }
        if is_done {
            self.compare_state(verified, &state)?;
        }
        self.findings.verified(verified);
        Ok(())
    }

    /// What all rows together say must be the state that the log makes: quotas, members, readers, waits and totals.
    fn compare_state(&mut self, range: OffsetRange, folded: &Partition) -> Result<(), VerifyError> {
        let expected = hexadecimal(folded.digest());
        let stored = match self.tables.hydrate(range.partition, range.until) {
            Ok(read_back) => hexadecimal(read_back.digest()),
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(error) => error.to_string(),
        };
        if stored != expected {
            self.differs("state", range, "digest", expected, stored);
        }
        Ok(())
    }

    fn differs(
        &mut self,
        what: &'static str,
        range: OffsetRange,
        column: &'static str,
        expected: String,
        stored: String,
    ) {
        let difference = ColumnDifference { column, expected, stored };
        self.findings.differences.of_partition(what, range, difference);
    }
}

fn hexadecimal([one, other]: [u64; 2]) -> String {
    format!("{one:016x}{other:016x}")
}

/// A range of the log on its way through the fold.
struct Chunks<'a> {
    replay: Replay<'a, KafkaLogReader>,
    ends: FlushEnds,
    /// Rows of the last chunk.
    rows: RowBatch,
    range: OffsetRange,
}

impl Chunks<'_> {
    /// Folds whole flushes until the chunk is full, and returns its offsets and how many records stand there.
    fn fold_next(&mut self, tables: &Tables, limits: ChunkLimits) -> Result<(OffsetRange, u64), VerifyError> {
        let partition = self.range.partition;
        let (from, folded_before) = (self.replay.position(), self.replay.records());
        self.rows.clear();
        loop {
            let end = tables.next_end(&mut self.ends)?;
            while self.replay.position() < end {
                self.replay.fold_batch(end, &mut self.rows.partition(partition))?;
            }
            self.replay.end_flush(&mut self.rows.partition(partition));
            let records = self.replay.records() - folded_before;
            if self.replay.is_done() || records >= limits.records || self.rows.bytes() >= limits.bytes {
                return Ok((OffsetRange { partition, from, until: self.replay.position() }, records));
            }
        }
    }
}
