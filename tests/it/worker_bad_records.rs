//! Bad records between good ones: each has its outcome and its place in the rejections, and nothing stands still.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use seenby::config::Delivery;
use seenby::event::CONTROL_HEADER;
use seenby::fold::Outcome;
use sha2::{Digest as _, Sha256};

use crate::support::bad_records::{BadRecord, bad_records};
use crate::support::events::{MINUTE, group_message, group_read, policy};
use crate::support::worker::{Deployment, TopicRecord};

const PARTITIONS: u32 = 4;

/// The longest value that a rejection keeps whole.
const MOST_KEPT: usize = 64 * 1024;

/// Partition and offset of a bad record in its topic.
fn place_of(bad: &BadRecord, events: &[TopicRecord]) -> [String; 2] {
    let partition = bad.partition(PARTITIONS).get();
    let is_it = |event: &&TopicRecord| {
        let control = event.headers.get(CONTROL_HEADER);
        event.partition == partition
            && (&event.key, &event.value) == (&bad.record.key, &bad.record.value)
            && control == bad.record.control.as_ref()
    };
    let event = events.iter().find(is_it).unwrap_or_else(|| panic!("{} is not in the topic", bad.name));
    [event.partition.to_string(), event.offset.to_string()]
}

#[test]
fn every_bad_record_is_rejected_with_its_reason_and_every_good_one_counts() {
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut deployment = Deployment::new("bad_records", PARTITIONS, Delivery::ExactlyOnce);
    deployment.config.kafka.properties.insert("fetch.max.bytes".to_owned(), "8000000".into());
    let worker = deployment.start();
    deployment.produce(&[policy(1, |policy| policy.group.open = true)]);
    // One group a partition at least, all at `now`: that is where the watermark stands before the bad ones come.
    let groups: Vec<String> = (0..32).map(|number| format!("good{number}")).collect();
    let mut good = 0;
    for group in &groups {
        deployment.produce(&[group_message("m").to(group).role("owner").asking_receipts().at(now).record()]);
        good += 1;
    }
    let table = bad_records(now);
    assert!(table.len() >= 40);
    for (number, bad) in table.iter().enumerate() {
        deployment.produce_to(&bad.record, bad.partition(PARTITIONS).get());
        let group = &groups[number % groups.len()];
        deployment.produce(&[group_read("m").to(group).from(&format!("r{number}")).at(now + 1).record()]);
        good += 1;
    }

    let outcomes = deployment.wait_for_records(u64::from(PARTITIONS) + good + table.len() as u64);
    assert_eq!(outcomes["read counted"], table.len() as u64, "no good record is lost");
    assert_eq!(outcomes["message opened"], groups.len() as u64);
    deployment.wait_for_commit();

    let mut expected = BTreeMap::new();
    for bad in &table {
        *expected.entry(bad.outcome.name().to_owned()).or_insert(0) += usize::from(bad.outcome.is_rejected());
    }
    expected.retain(|_, count| *count > 0);
    let rejections = deployment.rejections();
    let mut found = BTreeMap::new();
    for rejection in &rejections {
        *found.entry(rejection.headers["outcome"].clone()).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
    let events = deployment.events();
    for bad in table.iter().filter(|bad| bad.outcome.is_rejected()) {
        let place = place_of(bad, &events);
        let is_of_it = |rejection: &&TopicRecord| {
            let header = |name: &str| rejection.headers[name].clone();
            [header("partition"), header("offset")] == place
        };
        let of_it: Vec<&TopicRecord> = rejections.iter().filter(is_of_it).collect();
        let [rejection] = of_it[..] else { panic!("{} rejections for {} at {place:?}", of_it.len(), bad.name) };
        let header = |name: &str| rejection.headers.get(name).map(String::as_str);
        let value = &bad.record.value;
        let is_cut = value.len() > MOST_KEPT;
        assert_eq!(rejection.key, bad.record.key, "{}", bad.name);
        assert_eq!(rejection.value, value[..value.len().min(MOST_KEPT)], "{}", bad.name);
        assert_eq!(header("outcome"), Some(bad.outcome.name()), "{}", bad.name);
        assert_eq!(header("topic"), Some(deployment.config.kafka.topics.events.as_str()));
        let names_the_field = header("detail").map(|detail| detail.starts_with(&format!("{}: ", bad.field)));
        assert_eq!(names_the_field, (bad.outcome == Outcome::Malformed).then_some(true), "{}: {rejection:?}", bad.name);
        assert_eq!(header("length"), is_cut.then(|| value.len().to_string()).as_deref(), "{}", bad.name);
        assert_eq!(header("hash"), is_cut.then(|| hex::encode(Sha256::digest(value))).as_deref(), "{}", bad.name);
    }
    let rows = deployment.number("SELECT uniqExact(partition, offset, own_offset) FROM rejections");
    assert_eq!(rows, rejections.len() as u64);

    // No partition is stuck.
    deployment
        .produce(&groups.iter().map(|group| group_read("m").to(group).at(now + MINUTE).record()).collect::<Vec<_>>());
    deployment.wait_for_records(u64::from(PARTITIONS) + good + table.len() as u64 + groups.len() as u64);
    worker.stop(true).unwrap();
}
