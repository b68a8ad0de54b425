//! Sums by outcome: what the fold said of every record, by the hour.

use std::collections::BTreeMap;

use seenby::fold::Outcome;
use seenby::store::Janitor;
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi};
use crate::support::events::{DAY, HOUR, MINUTE, OwnedRecord};
use crate::support::store::{Log, RECORD_TIME};
use crate::support::traffic::Traffic;

const OUTCOMES: &str = "/v1/org/app/outcomes";

/// Start of the step, type and outcome.
type Counts = BTreeMap<(i64, String, String), u64>;

fn counts(answer: &Value, field: &str) -> Counts {
    let mut counts = Counts::new();
    for bucket in answer["buckets"].as_array().unwrap() {
        for count in bucket[field].as_array().unwrap() {
            let text = |field: &str| count[field].as_str().unwrap().to_owned();
            let key = (bucket["start"].as_i64().unwrap(), text("type"), text("outcome"));
            assert_eq!(counts.insert(key, count["count"].as_u64().unwrap()), None, "one count a kind and step");
        }
    }
    counts
}

/// The type that a record is counted under.
fn type_of(record: &OwnedRecord) -> String {
    if let Some(control) = &record.control {
        return control.clone();
    }
    let value: Value = serde_json::from_slice(&record.value).unwrap();
    let name = value["type"].as_str().unwrap();
    if name == "of another kind" { String::new() } else { name.to_owned() }
}

fn model(records: &[OwnedRecord], outcomes: &[Outcome], log: &Log, step: i64) -> Counts {
    let mut counts = Counts::new();
    for (offset, (record, outcome)) in records.iter().zip(outcomes).enumerate() {
        if *outcome != Outcome::Malformed {
            let time = log.first_record_time + offset as i64 * log.record_interval;
            let key = (time - time % step, type_of(record), outcome.name().to_owned());
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

#[test]
fn the_counts_add_up_to_the_records_consumed_whatever_was_written_twice_or_thinned() {
    let mut api = TestApi::with_config("outcomes_sums", |config| config.worker.ledger_detail_days = 1);
    api.log.record_interval = 17 * MINUTE;
    let mut traffic = Traffic::new(7);
    let mut records = vec![traffic.control()];
    records.extend((1..500).map(|_| traffic.event()));

    // A worker that died with another cut left the first part.
    let mut dead = Log::new(&api.log.topic, 0);
    dead.record_interval = api.log.record_interval;
    for flush in records[..300].chunks(41) {
        dead.flush(flush, &mut api.store.store);
    }
    let outcomes: Vec<Outcome> = records.chunks(60).flat_map(|flush| api.flush(flush)).collect();

    let range = format!("from={RECORD_TIME}&to={}", RECORD_TIME + 6 * DAY);
    for is_thinned in [false, true] {
        if is_thinned {
            let janitor = Janitor::new(&api.config, api.log.topic.clone());
            let cleaned = api.store.runtime.block_on(janitor.clean()).unwrap();
            assert!(cleaned.boundaries > 0, "{cleaned:?}");
        }
        for (step, millis) in [("hour", HOUR), ("day", DAY)] {
            let answer = api.ok(&format!("{OUTCOMES}?{range}&step={step}"));
            let found = counts(&answer, "records");
            assert_eq!(found, model(&records, &outcomes, &api.log, millis), "{step}, thinned: {is_thinned}");
            let malformed = outcomes.iter().filter(|outcome| **outcome == Outcome::Malformed).count();
            assert!(malformed > 0);
            assert_eq!(found.values().sum::<u64>(), (records.len() - malformed) as u64);

            let of = |counts: &Counts, name: &str| -> u64 {
                counts.iter().filter(|((_, _, outcome), _)| outcome == name).map(|(_, count)| count).sum()
            };
            let settled: u64 = counts(&answer, "settled").values().sum();
            assert!(settled > 0);
            assert_eq!(of(&found, "parked"), settled + api.log.partition.parked() as u64);
        }
    }
}

#[test]
fn a_range_is_answered_in_whole_steps() {
    let mut api = TestApi::new("outcomes_range");
    api.log.record_interval = HOUR;
    let mut traffic = Traffic::new(8);
    api.flush(&(0..5).map(|_| traffic.control()).collect::<Vec<_>>());
    let hour = RECORD_TIME - RECORD_TIME % HOUR;
    let answer = api.ok(&format!("{OUTCOMES}?from={}&to={}", hour + HOUR + 1, hour + 2 * HOUR + 1));
    assert_eq!((&answer["from"], &answer["to"]), (&json!(hour + HOUR), &json!(hour + 3 * HOUR)));
    let starts: Vec<&Value> = answer["buckets"].as_array().unwrap().iter().map(|bucket| &bucket["start"]).collect();
    assert_eq!(starts, [&json!(hour + HOUR), &json!(hour + 2 * HOUR)]);
    assert_eq!(answer["as_of"]["next_offsets"], json!([5]));
}

#[test]
fn outcomes_are_for_services_and_mistakes_are_named() {
    let mut api = TestApi::new("outcomes_access");
    api.flush(&[Traffic::new(9).control()]);
    for (token, status) in
        [(SERVICE, 200), ("token-of-root", 200), ("token-of-alice", 403), ("token-of-another-app", 404), ("wrong", 401)]
    {
        assert_eq!(api.get(OUTCOMES, token).status, status, "{token}");
    }
    for (query, parameter) in
        [("step=minute", "step"), ("from=5&to=5", "from"), ("from=0", "from"), ("to=x", "to"), ("form=1", "form")]
    {
        let refused = api.get(&format!("{OUTCOMES}?{query}"), SERVICE);
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{}", refused.body);
    }
}
