//! Rows of facts: those that the fold gives and those that ClickHouse has, as sets.
//!
//! A fact is a function of the log, so rows that were written twice are equal in every column and count once. Whatever
//! else ClickHouse has of the same offsets should not be there, be it beside the right row or in its place.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::difference::Differences;
use super::forgotten::Forgotten;
use crate::store::{DroppedWeeks, Table, TableRows, key_of, values};

/// How many rows that should not be there are held, so that they can be named and paired with those that are missing.
const MAX_HELD: usize = 10_000;

/// A row that the fold gave.
struct Expected {
    is_met: bool,
    /// The week that it goes with when it is old; 0 where it is of none.
    week: u16,
}

/// Compares one table over a range of offsets.
pub(super) struct FactComparison<'a> {
    table: Table,
    expected: HashMap<&'a [u8], Expected, FixedState>,
    extra: HashSet<Vec<u8>, FixedState>,
    /// Extra rows that are not held.
    unnamed: u64,
}

impl<'a> FactComparison<'a> {
    /// Expects the rows that the fold gave.
    pub(super) fn new(table: Table, rows: &'a TableRows) -> Self {
        let expected = rows.with_weeks().map(|(row, week)| (row, Expected { is_met: false, week })).collect();
        Self { table, expected, extra: HashSet::default(), unnamed: 0 }
    }

    /// Takes a row of ClickHouse's.
    pub(super) fn take(&mut self, row: &[u8]) {
        if let Some(expected) = self.expected.get_mut(row) {
            expected.is_met = true;
        } else if self.extra.len() < MAX_HELD {
            self.extra.insert(row.to_vec());
        } else if !self.extra.contains(row) {
            self.unnamed += 1;
        }
    }

    /// Names what differs, and returns how many rows were compared. Rows of weeks that were dropped, as far as is known
    /// after the table was read, may be gone, and so may those about users in front of their erasures.
    pub(super) fn finish(self, dropped: &DroppedWeeks, forgotten: &Forgotten, differences: &mut Differences) -> u64 {
        let columns = self.table.columns();
        let mut extra: HashMap<Vec<u8>, Vec<Vec<u8>>, FixedState> = HashMap::default();
        for row in self.extra {
            extra.entry(key_of(columns, &row)).or_default().push(row);
        }
        for (row, Expected { is_met, week }) in &self.expected {
            if *is_met || dropped.contains(self.table, *week) {
                continue;
            }
            let stored = extra.get_mut(&key_of(columns, row)).and_then(Vec::pop);
            if forgotten.may_be_gone(self.table, row) {
                match stored {
                    // A recall stays without the name of who made it.
                    Some(stored) if !is_unnamed_recall(self.table, row, &stored) => {
                        differences.differs(self.table, row, &stored);
                    }
                    _ => {}
                }
                continue;
            }
            match stored {
                Some(stored) => differences.differs(self.table, row, &stored),
                None => differences.missing(self.table, row),
            }
        }
        extra.values().flatten().for_each(|row| differences.extra(self.table, row));
        differences.unnamed_extras(self.table, self.unnamed);
        self.expected.len() as u64
    }
}

/// Whether `stored` is the recall `expected`, without the name of who made it.
fn is_unnamed_recall(table: Table, expected: &[u8], stored: &[u8]) -> bool {
    let columns = table.columns();
    table == Table::Recalls
        && values(columns, expected).zip(values(columns, stored)).all(|(expected, stored)| {
            let is_unnamed = expected.column.name() == "recalled_by" && stored.show().is_empty();
            is_unnamed || expected.encoded == stored.encoded
        })
}
