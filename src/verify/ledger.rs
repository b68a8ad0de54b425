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
        // A flush is not longer than a range: nobody can have written totals of hours that closed before the last one.
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
