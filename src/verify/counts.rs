//! Counts of messages: the last row in log order wins, so only that one has to be right.
//!
//! Of the rows within a range of offsets the last one of each message stands for what the fold says, unless a later
//! range has one: then merges may have removed it already.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::difference::Differences;
use crate::event::EventTime;
use crate::store::{DroppedWeeks, Table, TableRows, key_of, number_of};

type ByKey<T> = HashMap<Vec<u8>, T, FixedState>;

/// Compares one table of counts over a range of offsets.
pub(super) struct CountsComparison<'a> {
    table: Table,
    /// The last row that the fold gave for each key, and whether it was met.
    expected: ByKey<(&'a [u8], bool)>,
    /// The newest of the other rows of each key.
    other: ByKey<Vec<u8>>,
    /// Keys that have a row behind the range, or whose rows may be gone.
    superseded: HashSet<Vec<u8>, FixedState>,
}

impl<'a> CountsComparison<'a> {
    /// Expects the rows that the fold gave, of which the last of a key counts; those of dropped weeks may be gone.
    pub(super) fn new(table: Table, rows: &'a TableRows, dropped: &DroppedWeeks) -> Self {
        let mut comparison =
            Self { table, expected: ByKey::default(), other: ByKey::default(), superseded: HashSet::default() };
        for (row, week) in rows.with_weeks() {
            let key = key_of(table.columns(), row);
            if dropped.contains(table, week) {
                comparison.superseded.insert(key);
            } else {
                comparison.expected.insert(key, (row, false));
            }
        }
        comparison
    }

    /// Takes a row of ClickHouse's within the range.
    pub(super) fn take(&mut self, row: &[u8]) {
        let key = key_of(self.table.columns(), row);
        if let Some((expected, is_met)) = self.expected.get_mut(&key)
            && *expected == row
        {
            *is_met = true;
            return;
        }
        match self.other.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(row.to_vec());
            }
            Entry::Occupied(mut newest) => {
                if offset_of(self.table, newest.get()) < offset_of(self.table, row) {
                    newest.insert(row.to_vec());
                }
            }
        }
    }

    /// When the messages were sent of which a row behind the range would explain what was found; `None` where all is as
    /// it must be.
    pub(super) fn sent_at_of_doubtful(&self) -> Option<(EventTime, EventTime)> {
        let sent_at = |row: &[u8]| number_of(self.table.columns(), row, "sent_at").cast_signed();
        let doubtful = self.doubtful().map(sent_at);
        let (first, last) = doubtful.fold((i64::MAX, i64::MIN), |(first, last), at| (first.min(at), last.max(at)));
        (first <= last).then(|| (EventTime::from_millis(first), EventTime::from_millis(last)))
    }

    fn doubtful(&self) -> impl Iterator<Item = &[u8]> {
        let unmet = self.expected.values().filter(|(_, is_met)| !is_met).map(|(row, _)| *row);
        unmet.chain(self.other.values().map(Vec::as_slice))
    }

    /// Takes the sorting key of a row behind the range.
    pub(super) fn take_newer(&mut self, key: &[u8]) {
        if self.expected.contains_key(key) || self.other.contains_key(key) {
            self.superseded.insert(key.to_vec());
        }
    }

    /// Names what differs, and returns how many rows were compared.
    pub(super) fn finish(mut self, differences: &mut Differences) -> u64 {
        let mut compared = 0;
        for (key, (row, is_met)) in &self.expected {
            if self.superseded.contains(key) {
                self.other.remove(key);
                continue;
            }
            compared += 1;
            match self.other.remove(key) {
                None if *is_met => {}
                None => differences.missing(self.table, row),
                // What was so at the end of an earlier flush, and is not merged away yet.
                Some(stored) if *is_met && offset_of(self.table, &stored) < offset_of(self.table, row) => {}
                Some(stored) if *is_met => differences.extra(self.table, &stored),
                Some(stored) => differences.differs(self.table, row, &stored),
            }
        }
        for (key, stored) in &self.other {
            if !self.superseded.contains(key) {
                differences.extra(self.table, stored);
            }
        }
        compared
    }
}

fn offset_of(table: Table, row: &[u8]) -> u64 {
    number_of(table.columns(), row, "offset")
}
