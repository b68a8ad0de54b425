//! Rows of a flush in the tables: whole, once, whatever is repeated.

use std::time::Duration;

use seenby::store::{RowBatch, Store as _, ledger};
use sha2::{Digest as _, Sha256};

use crate::support::events::{
    DAY, HOUR, NOON, OwnedRecord, group_message, group_read, group_recall, policy, single_message, single_read,
};
use crate::support::store::{Log, TestStore, topic};

const FACT_TABLES: [&str; 12] = [
    "messages",
    "receipts",
    "recalls",
    "roster_changes",
    "marks",
    "parked",
    "settlements",
    "policies",
    "rejections",
    "message_counts",
    "sender_counts",
    "message_facts",
];

fn some_records() -> Vec<OwnedRecord> {
    let open = policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = seenby::policy::Senders::Members;
    });
    vec![
        open,
        group_read("m1").at(NOON).record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("carol").after(HOUR).content("seen").record(),
        single_message("s1").record(),
        single_read("s1").after(HOUR).record(),
        group_recall("m1").after(2 * HOUR).record(),
        group_read("m1").from("dave").after(3 * HOUR).record(),
    ]
}

#[test]
fn a_flush_written_twice_changes_nothing() {
    let mut store = TestStore::new("written_twice");
    let topic = topic(1, 1);
    let mut batch = RowBatch::new(topic.clone());
    Log::new(&topic, 0).fold(&some_records(), &mut batch);
    store.store.write(&batch).unwrap();
    let once: Vec<u64> = FACT_TABLES.iter().map(|table| store.rows(table)).collect();
    let totals = |store: &TestStore| {
        store.runtime.block_on(ledger::totals(&store.client(), &topic, Duration::from_secs(30))).unwrap()
    };
    let totals_once = totals(&store);
    store.store.write(&batch).unwrap();
    assert_eq!(totals(&store), totals_once);
    for (table, once) in FACT_TABLES.into_iter().zip(once) {
        assert_eq!(store.number(&format!("SELECT count() FROM {table} FINAL")), once, "{table}");
    }
    assert_eq!(store.number("SELECT count() FROM receipts"), 3 * 2, "before a merge both copies are there");
}

#[test]
fn every_value_stands_in_its_column() {
    let mut store = TestStore::new("columns");
    Log::new(&topic(7, 1), 0).flush(&some_records(), &mut store.store);
    let message = store.number(&format!(
        "SELECT count() FROM messages WHERE app = 'org#app' AND conversation = 'org#app/g/g1' AND message = 'm1' \
         AND toUnixTimestamp64Milli(sent_at) = {NOON} AND chat = 'group' AND sender = 'alice' AND recipient = 'g1' \
         AND status = 'opened' AND validity_ms = {validity} AND reader_cap = 500 \
         AND quota_day = '2026-03-01' AND audience IS NULL \
         AND epoch = 7 AND partition = 0 AND offset = 2 AND own_offset = 2 \
         AND version = bitNot(bitOr(bitShiftLeft(7::UInt64, 48), 2::UInt64))",
        validity = 3 * DAY,
    ));
    assert_eq!(message, 1);
    let settled = store.number(&format!(
        "SELECT count() FROM receipts WHERE message = 'm1' AND kind = 'read' AND reader = 'bob' AND content IS NULL \
         AND toUnixTimestamp64Milli(at) = {NOON} AND offset = 2 AND own_offset = 1"
    ));
    assert_eq!(settled, 1, "a settled receipt stands at its message's offset with its own beside it");
    assert_eq!(store.number("SELECT count() FROM receipts WHERE reader = 'carol' AND content = 'seen'"), 1);
    assert_eq!(store.number("SELECT count() FROM parked WHERE type = 'read' AND user = 'bob' AND own_offset = 1"), 1);
    assert_eq!(store.number("SELECT count() FROM settlements WHERE outcome = 'counted' AND own_offset = 1"), 1);
    assert_eq!(store.number("SELECT count() FROM recalls WHERE message = 'm1' AND recalled_by = 'alice'"), 1);
    assert_eq!(
        store.number(
            "SELECT count() FROM message_counts FINAL \
             WHERE message = 'm1' AND distinct_readers = 2 AND retained_readers = 2 AND sender = 'alice'"
        ),
        1
    );
    assert_eq!(
        store.number("SELECT count() FROM rejections WHERE outcome = 'recalled' AND user = 'dave' AND NOT settled"),
        1
    );
    assert_eq!(
        store.number("SELECT count() FROM policies WHERE type = 'policy' AND JSONExtractBool(policy, 'group', 'open')"),
        1
    );
}

#[test]
fn a_refused_record_is_kept_as_it_came_up_to_64_kib() {
    let mut store = TestStore::new("rejections");
    let not_utf8 = OwnedRecord { key: Some(vec![0xff, 0, b'k']), value: vec![b'{', 0xfe, 0xff], control: None };
    let spaces = OwnedRecord { key: None, value: vec![b' '; 1_000_000], control: None };
    Log::new(&topic(1, 1), 0).flush(&[not_utf8.clone(), spaces.clone()], &mut store.store);
    let cut = store.number(&format!(
        "SELECT count() FROM rejections WHERE key IS NULL AND value_bytes = 1000000 AND length(value) = 65536 \
         AND lower(hex(value_sha256)) = '{}' AND offset = 1",
        hex::encode(Sha256::digest(&spaces.value)),
    ));
    assert_eq!(cut, 1);
    let whole = store.number(
        "SELECT count() FROM rejections WHERE hex(key) = 'FF006B' AND key_bytes = 3 AND key_sha256 = '' \
         AND hex(value) = '7BFEFF' AND value_bytes = 3 AND value_sha256 = '' AND detail != '' AND offset = 0",
    );
    assert_eq!(whole, 1);
}

#[test]
fn rows_of_more_than_a_hundred_weeks_are_written() {
    let mut store = TestStore::new("weeks");
    let topic = topic(1, 1);
    let mut batch = RowBatch::new(topic.clone());
    let weeks: Vec<OwnedRecord> =
        (0..250).map(|week| group_message(&format!("m{week}")).at(week * 7 * DAY).record()).collect();
    Log::new(&topic, 0).fold(&weeks, &mut batch);
    store.store.write(&batch).unwrap();
    store.store.write(&batch).unwrap();
    assert_eq!(store.number("SELECT uniqExact(message) FROM messages"), 250);
    assert_eq!(store.number("SELECT uniqExact(toMonday(sent_at)) FROM messages"), 250);
}
