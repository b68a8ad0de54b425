//! Traffic of which every record counts, and the assertion that it did: once, everywhere.

use std::collections::{BTreeMap, BTreeSet};

use super::Deployment;
use crate::support::answers::{Answers, names};
use crate::support::events::{APP, NOON, OwnedRecord, group_message, group_read, policy};

/// Messages that ask for receipts, spread over groups, each read by the same readers; the messages come first. With
/// [`open_policy`] before it every record counts.
pub fn load(messages: usize, readers: usize) -> Vec<OwnedRecord> {
    let group = |message: usize| format!("g{}", message % 16);
    let mut records = Vec::with_capacity(messages * (readers + 1));
    for message in 0..messages {
        let sent = group_message(&format!("m{message}")).to(&group(message)).role("owner").asking_receipts();
        records.push(sent.at(NOON + message as i64).record());
    }
    for reader in 0..readers {
        for message in 0..messages {
            let read = group_read(&format!("m{message}")).to(&group(message)).from(&format!("r{reader}"));
            records.push(read.at(NOON + (messages + reader) as i64).record());
        }
    }
    records
}

/// A policy under which nothing of [`load`] is refused.
pub fn open_policy() -> OwnedRecord {
    policy(1, |policy| {
        policy.group.open = true;
        policy.group.messages_per_day = 1_000_000;
    })
}

impl Deployment {
    /// Asserts that a [`load`] behind one [`open_policy`] was counted, stored and told exactly once.
    pub fn assert_exactly_once(&self, messages: usize, readers: usize) {
        let told = self.assert_counted_once(messages, readers);
        assert_eq!(told.len(), messages * readers, "every reader is told once");
        let mut distinct = told;
        distinct.dedup();
        assert_eq!(distinct.len(), messages * readers, "nobody is told twice");
    }

    /// Asserts that a [`load`] behind one [`open_policy`] was counted and stored exactly once and told at least once.
    pub fn assert_told_at_least_once(&self, messages: usize, readers: usize) {
        let mut told = self.assert_counted_once(messages, readers);
        told.dedup();
        assert_eq!(told.len(), messages * readers, "every reader is told");
    }

    /// Asserts that a [`load`] behind one [`open_policy`] was counted and stored exactly once, and returns who was told.
    fn assert_counted_once(&self, messages: usize, readers: usize) -> Vec<(String, String, String)> {
        let receipts = (messages * readers) as u64;
        let outcomes = self.wait_for_records(u64::from(self.partitions) + messages as u64 + receipts);
        let expected = BTreeMap::from([
            ("message opened".to_owned(), messages as u64),
            ("policy applied".to_owned(), u64::from(self.partitions)),
            ("read counted".to_owned(), receipts),
        ]);
        assert_eq!(outcomes, expected);
        self.wait_for_commit();
        assert_eq!(self.number("SELECT uniqExact(conversation, message, reader) FROM receipts"), receipts);
        assert_eq!(self.number("SELECT uniqExact(conversation, message) FROM messages"), messages as u64);
        let newest_counts = "SELECT argMax(distinct_readers, version) AS distinct_readers FROM message_counts \
                             GROUP BY conversation, message";
        let as_read = format!("SELECT count() FROM ({newest_counts}) WHERE distinct_readers = {readers}");
        assert_eq!(self.number(&as_read), messages as u64, "counts of messages");

        let answers = Answers::of(self);
        for message in (0..messages).step_by(37) {
            let (org, app) = APP.split_once('#').unwrap();
            let group = message % 16;
            let path = format!("/v1/{org}/{app}/groups/g{group}/messages/m{message}/readers?limit=500");
            let page = answers.get(&path);
            assert_eq!(page["counts"]["distinct"], readers, "m{message}");
            let listed: BTreeSet<String> = names(&page).into_iter().collect();
            assert_eq!((names(&page).len(), listed.len()), (readers, readers), "m{message}");
        }
        assert_eq!(self.rejections(), []);
        self.told()
    }
}
