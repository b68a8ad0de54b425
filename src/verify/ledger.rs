//! The ledger: every row must hold the total as of the end of the flush that it names, and every cell that changed in a
//! flush must have a row.
//!
//! Flushes that dead workers wrote and never committed stand between those of the living. Every end of a flush in the
//! ledger is therefore an end of a flush of the fold here: what changed since the end before it has changed in the
//! worker's flush, which began there or earlier. Rows of cells that changed in the worker's part alone are compared with
//! the totals that the fold gave before.

use std::collections::HashMap;
use std::iter::Peekable;

use foldhash::fast::FixedState;

use super::difference::Differences;
use crate::event::Offset;
use crate::store::{Table, TableRows, number_of, values};

/// A row apart: the cell (without the offset), the offset, and what the row says.
struct LedgerRow<'a> {
    cell: Vec<u8>,
    next_offset: u64,
    row: &'a [u8],
}

/// The last row that the fold gave for a cell.
struct HeldCell {
    row: Vec<u8>,
    /// Start of its hour, ms since 1970.
    hour: u64,
    /// Number of the range of offsets in which it was given.
    range: u64,
}

/// Compares the ledger of one partition, range by range.
#[derive(Default)]
pub(super) struct LedgerTotals {
    held: HashMap<Vec<u8>, HeldCell, FixedState>,
    /// Number of the current range.
    range: u64,
}

impl LedgerTotals {
    /// Takes a row from before the first range as right.
    pub(super) fn trust(&mut self, row: &[u8]) {
        self.hold(&LedgerRow::of(row));
    }

    fn hold(&mut self, row: &LedgerRow<'_>) {
        let hour = number_of(Table::Ledger.columns(), row.row, "hour");
        self.held.insert(row.cell.clone(), HeldCell { row: row.row.to_vec(), hour, range: self.range });
    }

    /// Compares the rows that the fold gave for a range up to `until` with those of ClickHouse, both by ascending
    /// `next_offset`. Returns how many rows were compared.
    pub(super) fn compare(
        &mut self,
        until: Offset,
        rows: &TableRows,
        stored: &[Vec<u8>],
        differences: &mut Differences,
    ) -> u64 {
        self.range += 1;
        let range = self.range;
        let latest_hour = self.held.values().map(|cell| cell.hour).max().unwrap_or_default();
        // A range holds whole flushes and is no shorter than a worker's: nobody can have written totals of hours that closed
        // before the last one.
        self.held.retain(|_, cell| cell.hour == latest_hour || cell.range + 1 >= range);
        let expected = rows.iter().peekable();
        let mut comparison = Comparison {
            totals: self,
            expected,
            differences,
            until: until.get(),
            end: None,
            is_met: false,
            awaited: HashMap::default(),
            compared: 0,
        };
        stored.iter().for_each(|row| comparison.take(row));
        comparison.finish()
    }
}

/// The comparison of one range.
struct Comparison<'t, 'a, I: Iterator<Item = &'a [u8]>> {
    totals: &'t mut LedgerTotals,
    /// The fold's rows by ascending end of flush.
    expected: Peekable<I>,
    differences: &'t mut Differences,
    /// The end of the range.
    until: u64,
    /// The end of the flush that is compared.
    end: Option<u64>,
    /// Whether any row of that flush was met.
    is_met: bool,
    /// Rows of that flush that must be there and were not met.
    awaited: HashMap<Vec<u8>, &'a [u8], FixedState>,
    compared: u64,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Comparison<'_, 'a, I> {
    /// Takes a row of ClickHouse's; they come by ascending `next_offset`.
    fn take(&mut self, row: &[u8]) {
        let stored = LedgerRow::of(row);
        self.advance(stored.next_offset);
        if self.end != Some(stored.next_offset) {
            self.differences.extra(Table::Ledger, row);
            return;
        }
        self.is_met = true;
        match self.totals.held.get(&stored.cell) {
            None => self.differences.extra(Table::Ledger, row),
            Some(held) if says_the_same(&held.row, row) => {}
            Some(held) => self.differences.differs(Table::Ledger, &at_offset(&held.row, row), row),
        }
        self.awaited.remove(&stored.cell);
    }

    /// Ends the range, and returns how many rows were compared.
    fn finish(mut self) -> u64 {
        self.advance(u64::MAX);
        self.end_flush();
        self.compared
    }

    /// Goes on to the fold's flush that ends at an offset, or to the last one before it.
    fn advance(&mut self, next_offset: u64) {
        while let Some(row) = self.expected.next_if(|row| LedgerRow::offset_of(row) <= next_offset) {
            let row = LedgerRow::of(row);
            if self.end != Some(row.next_offset) {
                self.end_flush();
                self.end = Some(row.next_offset);
            }
            self.totals.hold(&row);
            self.awaited.insert(row.cell, row.row);
            self.compared += 1;
        }
    }

    fn end_flush(&mut self) {
        // The ledger named this end a moment ago: the janitor has thinned the hour since, and what it keeps is compared.
        let is_thinned = !self.is_met && self.end != Some(self.until);
        for (_, row) in self.awaited.drain() {
            if !is_thinned {
                self.differences.missing(Table::Ledger, row);
            }
        }
        self.is_met = false;
    }
}

impl<'a> LedgerRow<'a> {
    fn of(row: &'a [u8]) -> Self {
        let of_cell = |name: &str| name != "next_offset";
        let keys = values(Table::Ledger.columns(), row).filter(|value| value.column.is_key());
        let cell = keys.filter(|value| of_cell(value.column.name())).flat_map(|value| value.encoded.iter().copied());
        Self { cell: cell.collect(), next_offset: Self::offset_of(row), row }
    }

    fn offset_of(row: &[u8]) -> u64 {
        number_of(Table::Ledger.columns(), row, "next_offset")
    }
}

/// Whether two rows of one cell agree in all but the offset.
fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let said = |row: &'_ [u8]| -> Vec<u8> {
        let content = values(Table::Ledger.columns(), row).filter(|value| !value.column.is_key());
        content.flat_map(|value| value.encoded.iter().copied()).collect()
    };
    said(one) == said(other)
}

/// A row as it must be at the offset of another one of its cell.
fn at_offset(row: &[u8], other: &[u8]) -> Vec<u8> {
    let columns = Table::Ledger.columns();
    let both = values(columns, row).zip(values(columns, other));
    let of_other = |name: &str| name == "next_offset";
    both.flat_map(|(own, other)| if of_other(own.column.name()) { other.encoded } else { own.encoded })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, PartitionId, RecordTime};
    use crate::fold::fact::{LedgerFact, Measure, Sink as _};
    use crate::store::{RowBatch, TopicIdentity};

    /// Rows of (type, end of flush, total), all of one hour.
    fn rows(cells: &[(&str, u64, u64)]) -> RowBatch {
        let mut batch = RowBatch::new(TopicIdentity { topic: "t".to_owned(), epoch: Epoch::new(1), partitions: 1 });
        for (event_type, next_offset, total) in cells {
            batch.partition(PartitionId::new(0)).ledger(&LedgerFact {
                app: "o#a",
                event_type,
                measure: Measure::Records,
                outcome: "stored",
                hour: RecordTime::from_millis(3_600_000),
                total: *total,
                buckets: &[],
                next_offset: Offset::new(*next_offset),
            });
        }
        batch
    }

    /// What is said of `stored` in a range up to 20, where the fold gives `expected`: missing, too many, different.
    fn compared(expected: &[(&str, u64, u64)], stored: &[(&str, u64, u64)]) -> (usize, usize, usize) {
        use super::super::DifferenceKind as Kind;
        let stored: Vec<Vec<u8>> = rows(stored).table(Table::Ledger).iter().map(<[u8]>::to_vec).collect();
        let mut differences = Differences::new(10);
        let compared = LedgerTotals::default().compare(
            Offset::new(20),
            rows(expected).table(Table::Ledger),
            &stored,
            &mut differences,
        );
        assert_eq!(compared, expected.len() as u64);
        let of = |kind| differences.kept().iter().filter(|difference| difference.kind == kind).count();
        (of(Kind::Missing), of(Kind::Extra), of(Kind::Differs))
    }

    const FOLDED: &[(&str, u64, u64)] = &[("message", 10, 1), ("read", 10, 4), ("read", 20, 6)];

    #[test]
    fn equal_totals_agree_however_often_they_were_written() {
        assert_eq!(compared(FOLDED, FOLDED), (0, 0, 0));
        let twice = [("message", 10, 1), ("message", 10, 1), ("read", 10, 4), ("read", 20, 6), ("read", 20, 6)];
        assert_eq!(compared(FOLDED, &twice), (0, 0, 0));
    }

    #[test]
    fn a_flush_may_have_begun_before_the_end_of_a_dead_workers_one() {
        // The dead worker wrote at 10; the living one folded from the start to 20, and so wrote messages there, too.
        let stored = [("message", 10, 1), ("read", 10, 4), ("message", 20, 1), ("read", 20, 6)];
        assert_eq!(compared(FOLDED, &stored), (0, 0, 0));
        let wrong = [("message", 10, 1), ("read", 10, 4), ("message", 20, 2), ("read", 20, 6)];
        assert_eq!(compared(FOLDED, &wrong), (0, 0, 1));
    }

    #[test]
    fn missing_and_wrong_totals_and_those_of_no_flush_are_told() {
        assert_eq!(compared(FOLDED, &[("message", 10, 1), ("read", 20, 6)]), (1, 0, 0));
        assert_eq!(compared(FOLDED, &[("message", 10, 1), ("read", 10, 5), ("read", 20, 6)]), (0, 0, 1));
        assert_eq!(
            compared(FOLDED, &[("message", 10, 1), ("read", 10, 4), ("read", 15, 5), ("read", 20, 6)]),
            (0, 1, 0)
        );
        let unknown_cell = [("message", 10, 1), ("read", 10, 4), ("recall", 20, 1), ("read", 20, 6)];
        assert_eq!(compared(FOLDED, &unknown_cell), (0, 1, 0));
    }

    #[test]
    fn an_end_that_was_thinned_away_is_passed_over_but_not_that_of_the_range() {
        assert_eq!(compared(FOLDED, &[("read", 20, 6)]), (0, 0, 0));
        assert_eq!(compared(FOLDED, &[("message", 10, 1), ("read", 10, 4)]), (1, 0, 0));
    }
}
