//! One partition: folded forward chunk by chunk, each chunk compared with all tables before the next.

use std::sync::atomic::{AtomicBool, Ordering};

use super::checkpoint::Checkpoint;
use super::difference::ColumnDifference;
use super::range::FlushEnds;
use super::report::Findings;
use super::tables::Tables;
use super::{ChunkLimits, VerifyError};
use crate::event::{Offset, PartitionId};
use crate::fold::Partition;
use crate::log::{KafkaLogReader, LogReader as _};
use crate::observe::Progress;
use crate::store::{OffsetRange, RowBatch, TopicIdentity};
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
        let counted_before = self.tables.records_counted(partition, from)?;
        let folded = self.compare_chunks(range, stop)?;
        let verified = OffsetRange { until: folded.until, ..range };
        if folded.until == range.until {
            let counted = self.tables.records_counted(partition, range.until)?.saturating_sub(counted_before);
            if counted != folded.records {
                self.differs("ledger", range, "sum of outcomes", folded.records.to_string(), counted.to_string());
            }
            if range.until >= self.tables.erased_until(partition)? {
                self.compare_state(range, &folded.state)?;
            }
            self.compare_behind(partition)?;
        }
        self.findings.verified(verified);
        Ok(())
    }

    /// Folds the range and compares it piece by piece.
    fn compare_chunks(&mut self, range: OffsetRange, stop: &AtomicBool) -> Result<Folded, VerifyError> {
        let OffsetRange { partition, from, .. } = range;
        let state = self.tables.hydrate(partition, from)?;
        let (_, log_end) = self.log.log_range(partition)?;
        let behind = Offset::new(from.get().saturating_sub(self.limits.records));
        let mut totals = self.tables.totals(OffsetRange { from: behind, until: from, ..range })?;
        let found_before = self.findings.differences.total();

        let mut chunks = Chunks::begin(Replay::begin(&mut self.log, state, range.until)?, range, &self.tables.topic);
        while !chunks.replay.is_done() && !stop.load(Ordering::Relaxed) {
            let (chunk, records) = chunks.fold_next(&self.tables, self.limits)?;
            self.tables.compare_facts(chunk, &chunks.facts, &mut self.findings)?;
            self.findings.records += records;
            self.progress.add(records, &format!("partition {}", partition.get()));
            let Some(flushes) = chunks.next_flushes(self.limits) else { continue };
            self.tables.compare_totals(flushes, log_end, &chunks.totals, &mut totals, &mut self.findings)?;
            chunks.totals.clear();
            // What differs is looked at again by the next run.
            let is_clean = self.findings.differences.total() == found_before;
            if let Some(checkpoint) = self.checkpoint.as_mut().filter(|_| is_clean) {
                checkpoint.note(OffsetRange { until: flushes.until, ..range })?;
            }
        }
        let (until, records) = (chunks.compared_until, chunks.replay.records());
        Ok(Folded { until, records, state: chunks.replay.into_state() })
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

    /// Rows of records that the log has not got.
    fn compare_behind(&mut self, partition: PartitionId) -> Result<(), VerifyError> {
        // Asked for now: workers may have gone on since.
        let (_, log_end) = self.log.log_range(partition)?;
        Ok(self.tables.compare_behind(partition, log_end, &mut self.findings)?)
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

/// What was folded of a range.
struct Folded {
    /// Up to where everything is compared.
    until: Offset,
    records: u64,
    state: Partition,
}

/// A range of the log on its way through the fold.
struct Chunks<'a> {
    replay: Replay<'a, KafkaLogReader>,
    ends: FlushEnds,
    /// The end of the flush that is folded.
    end: Offset,
    /// The end of the last flush that is folded as a whole.
    ended: Offset,
    /// Where the totals end that were given out to be compared.
    compared_until: Offset,
    /// Facts of the last chunk.
    facts: RowBatch,
    /// Totals and counts of the flushes that ended since they were compared last.
    totals: RowBatch,
    range: OffsetRange,
}

impl<'a> Chunks<'a> {
    fn begin(replay: Replay<'a, KafkaLogReader>, range: OffsetRange, topic: &TopicIdentity) -> Self {
        Self {
            replay,
            ends: FlushEnds::of(range),
            end: range.from,
            ended: range.from,
            compared_until: range.from,
            facts: RowBatch::new(topic.clone()),
            totals: RowBatch::new(topic.clone()),
            range,
        }
    }

    /// Folds until the chunk is full, and returns its offsets and how many records stand there. It may end within a
    /// flush: in a thinned ledger flushes are hours long.
    fn fold_next(&mut self, tables: &Tables, limits: ChunkLimits) -> Result<(OffsetRange, u64), VerifyError> {
        let partition = self.range.partition;
        let (from, folded_before) = (self.replay.position(), self.replay.records());
        self.facts.clear();
        loop {
            if self.ended == self.end {
                self.end = tables.next_end(&mut self.ends)?;
            }
            self.replay.fold_batch(self.end, &mut self.facts.partition(partition))?;
            if self.replay.position() >= self.end {
                self.replay.end_flush(&mut self.totals.partition(partition));
                self.ended = self.end;
            }
            let records = self.replay.records() - folded_before;
            if self.replay.is_done() || records >= limits.records || self.facts.bytes() >= limits.bytes {
                return Ok((OffsetRange { partition, from, until: self.replay.position() }, records));
            }
        }
    }

    /// The flushes that ended since the last ones given out, where they are at least a chunk: no flush of a worker is
    /// longer, on which comparing the ledger stands.
    fn next_flushes(&mut self, limits: ChunkLimits) -> Option<OffsetRange> {
        let flushes = OffsetRange { partition: self.range.partition, from: self.compared_until, until: self.ended };
        let offsets = flushes.until.get() - flushes.from.get();
        let is_due = offsets >= limits.records || self.totals.bytes() >= limits.bytes || self.replay.is_done();
        if !is_due || flushes.from == flushes.until {
            return None;
        }
        self.compared_until = flushes.until;
        Some(flushes)
    }
}
