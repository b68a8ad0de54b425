//! What goes away with time, and that nothing else does.

use std::time::Duration;

use seenby::config::Config;
use seenby::event::{Offset, PartitionId};
use seenby::store::{Cleaned, HydrationRequest, Janitor, Store as _, Table, TopicIdentity, ledger};

use crate::support::events::{DAY, MINUTE, OwnedRecord, group_message, group_read, policy, single_message};
use crate::support::store::{Log, TestStore, eventually, go_on, topic};
use crate::support::traffic::Traffic;

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A log whose records are written about now, as the janitor asks for partitions that are in use.
fn log_of_today(topic: &TopicIdentity, partition: u32) -> Log {
    Log { first_record_time: now() - 1_000, record_interval: 0, ..Log::new(topic, partition) }
}

fn clean(store: &TestStore, topic: &TopicIdentity, retention_days: u32, ledger_detail_days: u32) -> Cleaned {
    let mut config = Config { clickhouse: store.config.clone(), ..Config::default() };
    config.worker.retention_days = retention_days;
    config.worker.ledger_detail_days = ledger_detail_days;
    store.runtime.block_on(Janitor::new(&config, topic.clone()).clean()).unwrap()
}

fn digest_at(store: &mut TestStore, topic: &TopicIdentity, partition: u32, committed: u64) -> [u64; 2] {
    let request = HydrationRequest { partition: PartitionId::new(partition), committed: Offset::new(committed) };
    let [hydrated] = store.store.hydrate(topic, &[request], &mut go_on).unwrap().try_into().unwrap();
    hydrated.state.digest()
}

fn totals(store: &TestStore, topic: &TopicIdentity) -> Vec<ledger::LedgerTotal> {
    store.runtime.block_on(ledger::totals(&store.client(), topic, Duration::from_secs(30))).unwrap()
}

fn traffic(seed: u64, count: usize) -> Vec<OwnedRecord> {
    let mut traffic = Traffic::new(seed);
    let mut records = vec![traffic.control()];
    records.extend((1..count).map(|_| traffic.event()));
    records
}

#[test]
fn weeks_behind_the_retention_go_and_neither_state_nor_totals_change() {
    let mut store = TestStore::new("janitor_weeks");
    let topic = topic(1, 1);
    let mut log = log_of_today(&topic, 0);
    for flush in traffic(71, 3_000).chunks(500) {
        log.flush(flush, &mut store.store);
    }
    let (state, sums) = (digest_at(&mut store, &topic, 0, 3_000), totals(&store, &topic));
    assert_eq!(state, log.partition.digest());
    let [rosters, policies] = ["roster_changes", "policies"].map(|table| store.rows(table));

    assert_eq!(clean(&store, &topic, 0, 7), Cleaned::default(), "0 keeps everything for ever");
    assert_eq!(clean(&store, &topic, 3_650, 7), Cleaned::default());
    let cleaned = clean(&store, &topic, 1, 7);
    let with_weeks = |table| cleaned.weeks.iter().filter(|(cleaned, _)| *cleaned == table).count();
    for table in [Table::Messages, Table::Receipts, Table::MessageCounts, Table::SenderCounts, Table::Rejections] {
        assert!(with_weeks(table) >= 2, "{table:?}: {:?}", cleaned.weeks);
    }
    // Validity, LATENESS and retention of the traffic are 7 days at most, and a week goes as a whole.
    let watermark = log.partition.watermark().millis();
    let oldest = store.number("SELECT toUInt64(toUnixTimestamp64Milli(min(sent_at))) FROM messages");
    assert!(oldest as i64 > watermark - 15 * DAY, "{} days before", (watermark - oldest as i64) / DAY);

    let facts_of = |table: &str| store.number(&format!("SELECT count() FROM {table} FINAL"));
    eventually("facts about messages go with their weeks", || {
        let kept = "SELECT uniqExact(fields) FROM message_fact_fields \
                    WHERE sent_at >= (SELECT min(sent_at) FROM messages)";
        store.number(kept) == facts_of("message_facts")
    });
    assert_eq!(facts_of("message_facts"), ["messages", "receipts", "recalls"].map(facts_of).iter().sum::<u64>());

    assert_eq!(digest_at(&mut store, &topic, 0, 3_000), state);
    assert_eq!(totals(&store, &topic), sums);
    assert_eq!(["roster_changes", "policies"].map(|table| store.rows(table)), [rosters, policies]);
    assert_eq!(clean(&store, &topic, 1, 7), Cleaned::default(), "the second time there is nothing left to do");
}

#[test]
fn what_was_dropped_is_not_missed_and_what_is_lost_besides_is() {
    let mut store = TestStore::new("janitor_counts");
    let topic = topic(1, 1);
    let mut log = log_of_today(&topic, 0);
    for flush in traffic(73, 3_000).chunks(500) {
        log.flush(flush, &mut store.store);
    }
    let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(3_000) };
    let mut differences = || store.store.completeness(&topic, &[request]).unwrap().remove(0).differences;
    assert_eq!(differences(), []);
    let client = seenby::store::connect(&store.config);
    let execute = |sql: &str| store.runtime.block_on(client.query(sql).execute()).unwrap();
    // Cut before anything was dropped, and run again.
    let mut config = Config { clickhouse: store.config.clone(), ..Config::default() };
    config.worker.retention_days = 1;
    let clean = || store.runtime.block_on(Janitor::new(&config, topic.clone()).clean()).unwrap();
    execute("CREATE TABLE kept AS receipts");
    execute("INSERT INTO kept SELECT * FROM receipts");
    assert!(!clean().weeks.is_empty());
    assert_eq!(differences(), []);
    execute("INSERT INTO receipts SELECT * FROM kept");
    assert_eq!(differences(), []);
    clean();
    assert_eq!(differences(), [], "what is counted twice is allowed for once");

    execute("DELETE FROM receipts WHERE offset = (SELECT max(offset) FROM receipts)");
    let [difference] = differences().try_into().unwrap();
    assert_eq!(difference.table, Table::Receipts);
    assert!(difference.dropped > 0 && difference.found + difference.dropped < difference.expected, "{difference}");
}

#[test]
fn rows_that_come_back_after_their_week_was_dropped_are_counted_anew() {
    let mut store = TestStore::new("janitor_returns");
    let topic = topic(1, 1);
    let mut log = log_of_today(&topic, 0);
    for flush in traffic(74, 3_000).chunks(500) {
        log.flush(flush, &mut store.store);
    }
    let client = seenby::store::connect(&store.config);
    let execute = |sql: &str| store.runtime.block_on(client.query(sql).execute()).unwrap();
    execute("CREATE TABLE kept AS receipts");
    execute("INSERT INTO kept SELECT * FROM receipts");
    execute("CREATE TABLE kept_facts AS message_facts");
    execute("INSERT INTO kept_facts SELECT * FROM message_facts");
    // Lost before the week goes, and folded again from the log after it went.
    execute("DELETE FROM receipts WHERE own_offset % 3 = 0");
    assert!(!clean(&store, &topic, 1, 7).weeks.is_empty());
    let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(3_000) };
    let mut differences = || store.store.completeness(&topic, &[request]).unwrap().remove(0).differences;
    assert!(!differences().is_empty());
    execute("INSERT INTO receipts SELECT * FROM kept");
    execute("INSERT INTO message_facts SELECT * FROM kept_facts");
    assert_eq!(differences(), []);
    assert!(!clean(&store, &topic, 1, 7).weeks.is_empty());
    let mut differences = || store.store.completeness(&topic, &[request]).unwrap().remove(0).differences;
    assert_eq!(differences(), []);
}

#[test]
fn a_backfill_of_a_month_ago_lives_beside_live_traffic() {
    let mut store = TestStore::new("janitor_backfill");
    let topic = topic(1, 2);
    let conversation = |partition: u32, at: i64| -> Vec<OwnedRecord> {
        let group = (0..)
            .map(|number| format!("g{number}"))
            .find(|group| {
                let key = group_message("m").to(group).key();
                seenby::event::partition_of(key.as_bytes(), 2) == PartitionId::new(partition)
            })
            .unwrap();
        let open = policy(1, |policy| policy.group.open = true);
        let sent = group_message("m").to(&group).role("owner").asking_receipts().at(at);
        vec![open, sent.record(), group_read("m").to(&group).at(at + MINUTE).record()]
    };
    log_of_today(&topic, 0).flush(&conversation(0, now() - MINUTE - 1_000), &mut store.store);
    log_of_today(&topic, 1).flush(&conversation(1, now() - 30 * DAY), &mut store.store);
    assert_eq!(clean(&store, &topic, 1, 7), Cleaned::default());
    assert_eq!([store.rows("messages"), store.rows("receipts")], [2, 2]);
}

#[test]
fn a_partition_without_events_holds_nothing_back() {
    let mut store = TestStore::new("janitor_idle");
    let topic = topic(1, 2);
    let sent = |at: i64| {
        (0..)
            .map(|number| single_message("m").to(&format!("bob{number}")).at(at))
            .find(|message| seenby::event::partition_of(message.key().as_bytes(), 2) == PartitionId::new(0))
            .unwrap()
            .record()
    };
    let mut in_use = log_of_today(&topic, 0);
    in_use.flush(&[sent(now() - 100 * DAY), sent(now() - 2 * MINUTE)], &mut store.store);
    // Control records come to it all the same.
    log_of_today(&topic, 1).flush(&[policy(1, |_| {})], &mut store.store);
    let cleaned = clean(&store, &topic, 10, 7);
    assert_eq!(cleaned.weeks.iter().filter(|(table, _)| *table == Table::Messages).count(), 1, "{cleaned:?}");
    assert_eq!(store.rows("messages"), 1);
}

#[test]
fn one_boundary_an_hour_stays_of_closed_hours_and_each_is_complete() {
    let mut store = TestStore::new("janitor_thins");
    let topic = topic(1, 1);
    let records = traffic(72, 200);
    // 24 minutes from one flush to the next, 40 hours in all.
    let mut log = Log { record_interval: 12 * MINUTE, ..Log::new(&topic, 0) };
    let mut states = Vec::new();
    for flush in records.chunks(2) {
        log.flush(flush, &mut store.store);
        states.push((log.next_offset, log.partition.digest()));
    }
    let sums = totals(&store, &topic);
    let frontier = store.store.frontiers(&topic).unwrap();

    let cleaned = clean(&store, &topic, 0, 1);
    // Three of five go in the fifteen hours before the last day.
    assert!((15..=30).contains(&cleaned.boundaries), "{cleaned:?}");
    assert_eq!(totals(&store, &topic), sums);
    assert_eq!(store.store.frontiers(&topic).unwrap(), frontier);
    let boundaries = store.number("SELECT uniqExact(next_offset) FROM ledger WHERE measure = 'watermark'");
    assert_eq!(boundaries, 100 - cleaned.boundaries);
    assert_eq!(store.number("SELECT uniqExact(next_offset) FROM ledger"), boundaries, "cells go with their boundary");

    let mut kept = 0;
    for (offset, digest) in states {
        let count = format!("SELECT count() FROM ledger WHERE measure = 'watermark' AND next_offset = {offset}");
        if store.number(&count) == 0 {
            continue;
        }
        kept += 1;
        assert_eq!(digest_at(&mut store, &topic, 0, offset), digest, "as of {offset}");
    }
    assert_eq!(kept, boundaries);
    assert_eq!(clean(&store, &topic, 0, 1), Cleaned::default(), "the second time there is nothing left to do");

    // Hours that close later are thinned by themselves.
    for flush in traffic(75, 100).chunks(2) {
        log.flush(flush, &mut store.store);
    }
    let sums = totals(&store, &topic);
    let cleaned = clean(&store, &topic, 0, 1);
    assert!((20..=40).contains(&cleaned.boundaries), "{cleaned:?}");
    assert_eq!(totals(&store, &topic), sums);
    assert_eq!(digest_at(&mut store, &topic, 0, log.next_offset), log.partition.digest());
    assert_eq!(clean(&store, &topic, 0, 1), Cleaned::default());
}
