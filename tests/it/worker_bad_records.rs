//! Bad records between good ones: each has its outcome and its place in the rejections, and nothing stands still.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use seenby::config::Delivery;

use crate::support::bad_records::bad_records;
use crate::support::events::{MINUTE, group_message, group_read, policy};
use crate::support::worker::{Deployment, TopicRecord};

const PARTITIONS: u32 = 4;

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
    for bad in table.iter().filter(|bad| bad.outcome.is_rejected()) {
        let of_it = |rejection: &&TopicRecord| {
            let start = bad.record.value.get(..64 * 1024).unwrap_or(&bad.record.value);
            rejection.value == start
                && rejection.key == bad.record.key
                && rejection.headers["partition"] == bad.partition(PARTITIONS).get().to_string()
                && rejection.headers.get("detail").is_none_or(|detail| detail.starts_with(bad.field))
        };
        let rejection = rejections.iter().find(of_it);
        let rejection = rejection.unwrap_or_else(|| panic!("no rejection for {}", bad.name));
        assert_eq!(rejection.headers["outcome"], bad.outcome.name(), "{}", bad.name);
        assert_eq!(rejection.headers["topic"], deployment.config.kafka.topics.events);
        assert!(rejection.headers["offset"].parse::<u64>().is_ok());
        let is_cut = bad.record.value.len() > 64 * 1024;
        let length = rejection.headers.get("length").map(|length| length.parse::<usize>().unwrap());
        assert_eq!(length, is_cut.then_some(bad.record.value.len()), "{}", bad.name);
    }
    let rows = deployment.number("SELECT uniqExact(partition, offset, own_offset) FROM rejections");
    assert_eq!(rows, rejections.len() as u64);

    // No partition is stuck.
    deployment
        .produce(&groups.iter().map(|group| group_read("m").to(group).at(now + MINUTE).record()).collect::<Vec<_>>());
    deployment.wait_for_records(u64::from(PARTITIONS) + good + table.len() as u64 + groups.len() as u64);
    worker.stop(true).unwrap();
}
