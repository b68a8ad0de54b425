//! The tables of ClickHouse, as they are compared.

use std::ops::ControlFlow;

use tokio::runtime::Handle;

use super::counts::CountsComparison;
use super::facts::FactComparison;
use super::forgotten::Forgotten;
use super::ledger::LedgerTotals;
use super::patience::patiently;
use super::range::FlushEnds;
use super::report::Findings;
use crate::event::{Offset, PartitionId};
use crate::fold::Partition;
use crate::store::{
    ClickHouseStore, DroppedWeeks, Eraser, Erasure, HydrationRequest, OffsetRange, OlderEnd, RowBatch, RowDifference,
    Store as _, StoreError, StoredRows, Table, TopicIdentity,
};

/// The tables whose rows are facts.
const FACTS: [Table; 10] = [
    Table::Messages,
    Table::Receipts,
    Table::Recalls,
    Table::RosterChanges,
    Table::Marks,
    Table::Parked,
    Table::Settlements,
    Table::Policies,
    Table::Rejections,
    Table::MessageFacts,
];

/// The tables whose rows are counts as of an offset.
const COUNTS: [Table; 2] = [Table::MessageCounts, Table::SenderCounts];

/// The tables of one topic. Blocks.
pub(super) struct Tables {
    pub(super) topic: TopicIdentity,
    pub(super) store: ClickHouseStore,
    pub(super) stored: StoredRows,
    pub(super) eraser: Eraser,
    pub(super) forgotten: Forgotten,
    pub(super) runtime: Handle,
}

impl Tables {
    /// The state as of an offset that is the end of a flush or the beginning of the log.
    pub(super) fn hydrate(&mut self, partition: PartitionId, committed: Offset) -> Result<Partition, StoreError> {
        let request = HydrationRequest { partition, committed };
        let hydrated =
            patiently(|| self.store.hydrate(&self.topic, &[request], &mut |_, _| ControlFlow::Continue(())))?;
        let state = hydrated.into_iter().next().map(|hydrated| hydrated.state);
        state.ok_or(StoreError::Unreadable { table: "ledger", reason: "one state was asked for, none came".to_owned() })
    }

    /// The next end of a flush.
    pub(super) fn next_end(&self, ends: &mut FlushEnds) -> Result<Offset, StoreError> {
        patiently(|| self.runtime.block_on(ends.next(&self.stored)))
    }

    /// The last end of a flush at or before an offset.
    pub(super) fn end_before(&self, partition: PartitionId, at: Offset) -> Result<Option<Offset>, StoreError> {
        patiently(|| self.runtime.block_on(self.stored.boundary_before(partition, at)))
    }

    /// The first end of a flush behind the range's first offset and not behind its end.
    pub(super) fn first_end(&self, range: OffsetRange) -> Result<Option<Offset>, StoreError> {
        let ends = patiently(|| self.runtime.block_on(self.stored.boundaries(range, 1)))?;
        Ok(ends.first().copied())
    }

    /// The sum of all outcomes before an offset.
    pub(super) fn records_counted(&self, partition: PartitionId, before: Offset) -> Result<u64, StoreError> {
        patiently(|| self.runtime.block_on(self.stored.records_counted(partition, before)))
    }

    /// The last totals of ledger cells in a range, to be taken as right.
    pub(super) fn totals(&self, range: OffsetRange) -> Result<LedgerTotals, StoreError> {
        patiently(|| {
            let mut totals = LedgerTotals::default();
            let reading = self.stored.last_of_cells(range, |row| {
                totals.trust(row);
                Ok(())
            });
            self.runtime.block_on(reading)?;
            Ok(totals)
        })
    }

    /// Compares the facts that the fold gave for a range of offsets, which may end within a flush.
    pub(super) fn compare_facts(
        &mut self,
        range: OffsetRange,
        rows: &RowBatch,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        for table in FACTS {
            let comparison = patiently(|| self.read_facts(table, range, rows))?;
            let dropped = self.dropped()?;
            self.forgotten.know(self.erasures()?);
            if table == Table::Messages {
                self.forgotten.note_messages(rows.table(table));
            }
            let compared = comparison.finish(&dropped, &self.forgotten, &mut findings.differences);
            findings.compared(table, compared);
        }
        Ok(())
    }

    /// Compares the totals and counts that the fold gave for a range of whole flushes. What stands at or behind
    /// `log_end` can be of no record.
    pub(super) fn compare_totals(
        &mut self,
        range: OffsetRange,
        log_end: Offset,
        rows: &RowBatch,
        totals: &mut LedgerTotals,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let stored = patiently(|| self.read_ledger(range))?;
        let compared = totals.compare(range.until, rows.table(Table::Ledger), &stored, &mut findings.differences);
        findings.compared(Table::Ledger, compared);
        for table in COUNTS {
            let comparison = patiently(|| self.read_counts(table, range, log_end, rows))?;
            let dropped = self.dropped()?;
            self.forgotten.know(self.erasures()?);
            let compared = comparison.finish(&dropped, &self.forgotten, &mut findings.differences);
            findings.compared(table, compared);
        }
        Ok(())
    }

    /// Names the rows that stand at or behind the log's end, where no record is that they could be about: as the last
    /// in log order they would be shown in place of the right ones.
    pub(super) fn compare_behind(
        &mut self,
        partition: PartitionId,
        log_end: Offset,
        findings: &mut Findings,
    ) -> Result<(), StoreError> {
        let behind = OffsetRange { partition, from: log_end, until: Offset::new(u64::MAX) };
        let nothing = RowBatch::new(self.topic.clone());
        for table in FACTS.into_iter().chain(COUNTS) {
            let comparison = patiently(|| self.read_facts(table, behind, &nothing))?;
            comparison.finish(&DroppedWeeks::default(), &self.forgotten, &mut findings.differences);
        }
        for row in patiently(|| self.read_ledger(behind))? {
            findings.differences.extra(Table::Ledger, &row);
        }
        Ok(())
    }

    /// Where the ledgers of older epochs end.
    pub(super) fn older_ends(&self) -> Result<Vec<OlderEnd>, StoreError> {
        patiently(|| self.runtime.block_on(self.stored.older_ends()))
    }

    /// Names the rows that are of no log: nothing explains them, and whoever asks is shown them.
    pub(super) fn compare_of_no_log(&self, older_ends: &[OlderEnd], findings: &mut Findings) -> Result<(), StoreError> {
        let nothing = RowBatch::new(self.topic.clone());
        for table in Table::ALL {
            let comparison = patiently(|| {
                let mut comparison = FactComparison::new(table, nothing.table(table));
                let reading = self.stored.rows_of_no_log(table, older_ends, |row| {
                    comparison.take(row);
                    Ok(())
                });
                self.runtime.block_on(reading)?;
                Ok::<_, StoreError>(comparison)
            })?;
            comparison.finish(&DroppedWeeks::default(), &self.forgotten, &mut findings.differences);
        }
        Ok(())
    }

    /// Where tables hold other numbers of rows of older epochs than the ledger counts.
    pub(super) fn differences_of_older_epochs(&mut self) -> Result<Vec<RowDifference>, StoreError> {
        // As of the log's beginning nothing of the current epoch is asked for.
        let beginning = HydrationRequest { partition: PartitionId::default(), committed: Offset::default() };
        let found = patiently(|| self.store.completeness(&self.topic, &[beginning]))?;
        let differences = found.into_iter().flat_map(|completeness| completeness.differences);
        Ok(differences.filter(|difference| difference.epoch < self.topic.epoch).collect())
    }

    /// The weeks dropped until now: the janitor may work meanwhile.
    fn dropped(&self) -> Result<DroppedWeeks, StoreError> {
        patiently(|| self.runtime.block_on(self.stored.dropped_weeks()))
    }

    /// The erasures that workers have met until now.
    fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        patiently(|| self.runtime.block_on(self.eraser.known()))
    }

    /// Before which offset of a partition rows in front of erasures were taken out.
    pub(super) fn erased_until(&mut self, partition: PartitionId) -> Result<Offset, StoreError> {
        let request = [HydrationRequest { partition, committed: Offset::default() }];
        let found = patiently(|| self.store.completeness(&self.topic, &request))?;
        Ok(found.first().map_or(Offset::default(), |found| found.erased_until))
    }

    fn read_facts<'a>(
        &self,
        table: Table,
        range: OffsetRange,
        rows: &'a RowBatch,
    ) -> Result<FactComparison<'a>, StoreError> {
        let mut comparison = FactComparison::new(table, rows.table(table));
        let reading = self.stored.rows(table, range, |row| {
            comparison.take(row);
            Ok(())
        });
        self.runtime.block_on(reading)?;
        Ok(comparison)
    }

    fn read_ledger(&self, range: OffsetRange) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut stored = Vec::new();
        let reading = self.stored.ledger(range, |row| {
            stored.push(row.to_vec());
            Ok(())
        });
        self.runtime.block_on(reading)?;
        Ok(stored)
    }

    fn read_counts<'a>(
        &self,
        table: Table,
        range: OffsetRange,
        log_end: Offset,
        rows: &'a RowBatch,
    ) -> Result<CountsComparison<'a>, StoreError> {
        let mut comparison = CountsComparison::new(table, rows.table(table));
        let reading = self.stored.rows(table, range, |row| {
            comparison.take(row);
            Ok(())
        });
        self.runtime.block_on(reading)?;
        if let Some(sent) = comparison.sent_at_of_doubtful() {
            let newer = OffsetRange { partition: range.partition, from: range.until, until: log_end };
            let reading = self.stored.keys_of_newer_counts(table, newer, sent, |key| {
                comparison.take_newer(key);
                Ok(())
            });
            self.runtime.block_on(reading)?;
        }
        Ok(comparison)
    }
}
