//! Counts of messages: the last row in log order wins, so only that one has to be right.
//!
//! Of the rows within a range of offsets the last one of each message stands for what the fold says, unless a later
//! range has one: then merges may have removed it already.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;

use super::difference::Differences;
use super::forgotten::Forgotten;
use crate::event::EventTime;
use crate::store::{DroppedWeeks, Table, TableRows, key_of, number_of};

type ByKey<T> = HashMap<Vec<u8>, T, FixedState>;

/// Compares one table of counts over a range of offsets.
pub(super) struct CountsComparison<'a> {
    table: Table,
    /// The last row that the fold gave for each key, and whether it was met.
    expected: ByKey<(&'a [u8], bool)>,
    /// Keys by the week that the table is partitioned by.
    weeks: HashMap<u16, Vec<Vec<u8>>, FixedState>,
    /// The newest of the other rows of each key.
    other: ByKey<Vec<u8>>,
    /// Keys that have a row behind the range.
    superseded: HashSet<Vec<u8>, FixedState>,
}

impl<'a> CountsComparison<'a> {
    /// Expects the rows that the fold gave, of which the last of a key counts.
    pub(super) fn new(table: Table, rows: &'a TableRows) -> Self {
        let mut comparison = Self {
            table,
            expected: ByKey::default(),
            weeks: HashMap::default(),
            other: ByKey::default(),
            superseded: HashSet::default(),
        };
        for (row, week) in rows.with_weeks() {
            let key = key_of(table.columns(), row);
            comparison.weeks.entry(week).or_default().push(key.clone());
            comparison.expected.insert(key, (row, false));
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

    /// Names what differs, and returns how many rows were compared. Rows of weeks that were dropped, as far as is known
    /// after the table was read, may be gone, and so may those about users in front of their erasures.
    pub(super) fn finish(
        mut self,
        dropped: &DroppedWeeks,
        forgotten: &Forgotten,
        differences: &mut Differences,
    ) -> u64 {
        for (week, keys) in std::mem::take(&mut self.weeks) {
            if dropped.contains(self.table, week) {
                self.superseded.extend(keys);
            }
        }
        let mut compared = 0;
        for (key, (row, is_met)) in &self.expected {
            if self.superseded.contains(key) {
                self.other.remove(key);
                continue;
            }
            compared += 1;
            match self.other.remove(key) {
                None if *is_met => {}
                None if forgotten.may_be_gone(self.table, row) => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{AppId, Chat, ConversationKey, Epoch, MessageId, Offset, PartitionId, UserId};
    use crate::fold::fact::{CountsFact, Sink as _};
    use crate::store::{RowBatch, TopicIdentity};

    /// Rows of (message, offset, readers).
    fn rows(counts: &[(&str, u64, u32)]) -> RowBatch {
        let mut batch = RowBatch::new(TopicIdentity { topic: "t".to_owned(), epoch: Epoch::new(1), partitions: 1 });
        for (message, offset, readers) in counts {
            batch.partition(PartitionId::new(0)).counts(&CountsFact {
                app: AppId::trusted("o#a"),
                conversation: ConversationKey::trusted("o#a/g/g1"),
                chat: Chat::Group,
                message: MessageId::trusted(message),
                sent_at: EventTime::from_millis(1_000),
                sender: UserId::trusted("alice"),
                distinct: *readers,
                retained: *readers,
                delivered: 0,
                offset: Offset::new(*offset),
            });
        }
        batch
    }

    /// How many differences there are where the fold gives `expected`, and ClickHouse has `stored` within the range and
    /// rows of `newer` messages behind it.
    fn differences(expected: &[(&str, u64, u32)], stored: &[(&str, u64, u32)], newer: &[&str]) -> u64 {
        let expected = rows(expected);
        let table = Table::MessageCounts;
        let mut comparison = CountsComparison::new(table, expected.table(table));
        rows(stored).table(table).iter().for_each(|row| comparison.take(row));
        let of_newer: Vec<_> = newer.iter().map(|message| (*message, 99, 9)).collect();
        rows(&of_newer).table(table).iter().for_each(|row| comparison.take_newer(&key_of(table.columns(), row)));
        let mut differences = Differences::new(0);
        comparison.finish(&DroppedWeeks::default(), &Forgotten::default(), &mut differences);
        differences.total()
    }

    const FOLDED: &[(&str, u64, u32)] = &[("m1", 3, 1), ("m1", 8, 2), ("m2", 5, 1)];

    #[test]
    fn only_the_last_row_of_a_message_has_to_be_right() {
        assert_eq!(differences(FOLDED, FOLDED, &[]), 0);
        assert_eq!(differences(FOLDED, &[("m1", 8, 2), ("m2", 5, 1)], &[]), 0, "merged");
        assert_eq!(differences(FOLDED, &[("m1", 7, 9), ("m1", 8, 2), ("m2", 5, 1)], &[]), 0, "a dead worker's flush");
    }

    #[test]
    fn what_is_superseded_may_be_anything() {
        assert_eq!(differences(FOLDED, &[("m2", 5, 1)], &["m1"]), 0);
        assert_eq!(differences(FOLDED, &[("m1", 3, 1), ("m2", 5, 1)], &["m1"]), 0);
    }

    #[test]
    fn stale_wrong_missing_and_unexplained_counts_are_told() {
        assert_eq!(differences(FOLDED, &[("m1", 3, 1), ("m2", 5, 1)], &[]), 1, "stale");
        assert_eq!(differences(FOLDED, &[("m1", 8, 3), ("m2", 5, 1)], &[]), 1, "wrong");
        assert_eq!(differences(FOLDED, &[("m1", 8, 2), ("m1", 8, 3), ("m2", 5, 1)], &[]), 1, "right and wrong");
        assert_eq!(differences(FOLDED, &[("m1", 8, 2)], &[]), 1, "missing");
        assert_eq!(differences(FOLDED, &[("m1", 8, 2), ("m1", 9, 3), ("m2", 5, 1)], &[]), 1, "newer than the log says");
        assert_eq!(differences(FOLDED, &[("m1", 8, 2), ("m2", 5, 1), ("m3", 6, 1)], &[]), 1, "of no message");
    }
}
