//! Ledger totals stay exact with rows of dead workers, other batch boundaries and rewinds.

use std::collections::BTreeMap;
use std::time::Duration;

use seenby::event::Offset;
use seenby::fold::Outcome;
use seenby::store::{HydrationRequest, Store as _, TopicIdentity, ledger};

use crate::support::events::OwnedRecord;
use crate::support::store::{Log, TestStore, go_on, topic};
use crate::support::traffic::Traffic;

/// Sums of records by outcome, as the ledger has them.
fn records_by_outcome(store: &TestStore, topic: &TopicIdentity) -> BTreeMap<String, u64> {
    let totals = store.runtime.block_on(ledger::totals(&store.client(), topic, Duration::from_secs(30))).unwrap();
    let mut by_outcome = BTreeMap::new();
    for total in totals.iter().filter(|total| total.measure == "records") {
        *by_outcome.entry(total.outcome.clone()).or_default() += total.total;
    }
    by_outcome
}

fn sums(outcomes: &[Outcome]) -> BTreeMap<String, u64> {
    let mut by_outcome = BTreeMap::new();
    for outcome in outcomes {
        *by_outcome.entry(outcome.name().to_owned()).or_default() += 1;
    }
    by_outcome
}

fn traffic(seed: u64, count: usize) -> Vec<OwnedRecord> {
    let mut traffic = Traffic::new(seed);
    let mut records = vec![traffic.control()];
    records.extend((1..count).map(|_| traffic.event()));
    records
}

#[test]
fn totals_are_those_of_the_log_after_rewinds_with_other_boundaries() {
    let mut store = TestStore::new("ledger_rewinds");
    let topic = topic(1, 1);
    let records = traffic(21, 300);
    let mut log = Log::new(&topic, 0);
    let mut outcomes = Vec::new();
    for flush in records[..200].chunks(50) {
        outcomes.extend(log.flush(flush, &mut store.store));
    }
    // The worker dies with 100 committed; its successor folds the rest in other pieces, dies too, and again.
    for piece in [30, 7, 45] {
        let request = HydrationRequest { partition: log.id(), committed: Offset::new(100) };
        let [hydrated] = store.store.hydrate(&topic, &[request], &mut go_on).unwrap().try_into().unwrap();
        let mut successor = Log::resume(&topic, hydrated.state, Offset::new(100));
        outcomes.truncate(100);
        for flush in records[100..].chunks(piece) {
            outcomes.extend(successor.flush(flush, &mut store.store));
        }
        assert_eq!(outcomes.len(), records.len());
        assert_eq!(records_by_outcome(&store, &topic), sums(&outcomes), "pieces of {piece}");
    }
    store.execute("OPTIMIZE TABLE ledger FINAL");
    assert_eq!(records_by_outcome(&store, &topic), sums(&outcomes), "merged");
}

#[test]
fn parked_records_are_settled_or_still_waiting() {
    let mut store = TestStore::new("ledger_parked");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    for flush in traffic(22, 600).chunks(100) {
        log.flush(flush, &mut store.store);
    }
    let totals = store.runtime.block_on(ledger::totals(&store.client(), &topic, Duration::from_secs(30))).unwrap();
    let sum = |measure: &str, outcome: Option<&str>| -> u64 {
        let of_it = totals.iter().filter(|total| total.measure == measure);
        of_it.filter(|total| outcome.is_none_or(|outcome| total.outcome == outcome)).map(|total| total.total).sum()
    };
    let parked = sum("records", Some("parked"));
    assert!(parked > 10, "{parked}");
    assert_eq!(parked, sum("settled", None) + log.partition.parked() as u64);
    assert_eq!(store.number("SELECT uniqExact(own_offset) FROM settlements"), sum("settled", None));
}

#[test]
fn the_frontier_is_the_last_flush() {
    let mut store = TestStore::new("frontier");
    let topic = topic(1, 2);
    assert_eq!(store.store.frontiers(&topic).unwrap(), []);
    let mut log = Log::new(&topic, 1);
    for flush in traffic(23, 90).chunks(30) {
        log.flush(flush, &mut store.store);
    }
    let [frontier] = store.store.frontiers(&topic).unwrap().try_into().unwrap();
    assert_eq!(frontier.partition, log.id());
    assert_eq!(frontier.next_offset, Offset::new(90));
    assert_eq!(frontier.watermark, log.partition.watermark());
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    assert!((now - frontier.inserted_at_millis).abs() < 60_000, "{frontier:?}");
}
