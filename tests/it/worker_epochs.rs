//! What an operator does to a topic, and what the workers make of it (`docs/operations.md`).

use seenby::config::Delivery;
use seenby::store::StoreError;
use seenby::worker::WorkerError;

use crate::support::events::{NOON, OwnedRecord, group_message, group_read, policy};
use crate::support::worker::{Deployment, load, open_policy};

/// Folds these to the end and stops.
fn run_through(deployment: &Deployment, records: &[OwnedRecord], expected: u64) {
    let worker = deployment.start();
    deployment.produce(records);
    deployment.wait_for_records(expected);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();
}

#[test]
fn a_topic_made_anew_stops_the_workers_and_a_higher_epoch_goes_on() {
    let mut deployment = Deployment::new("recreated", 2, Delivery::ExactlyOnce);
    run_through(&deployment, &[open_policy()], 2);
    deployment.recreate_topic();
    deployment.produce(&load(10, 1));

    let error = deployment.start().join().unwrap_err();
    let is_explained = matches!(error, WorkerError::MissingCommit { .. } | WorkerError::CommitOutOfRange { .. });
    assert!(is_explained, "{error}");
    assert!(error.to_string().contains("kafka.epoch"), "it says what to do: {error}");

    deployment.config.kafka.epoch += 1;
    let worker = deployment.start();
    let outcomes = deployment.wait_for_records(20);
    assert_eq!(outcomes["message opened"], 10, "the policy of the older epoch is in force");
    assert_eq!(outcomes["read counted"], 10);
    worker.stop(true).unwrap();
}

#[test]
fn more_partitions_come_with_a_new_topic_and_epoch_and_everything_goes_on() {
    let mut deployment = Deployment::new("growing", 2, Delivery::ExactlyOnce);
    let sent = |number: usize| {
        let message = group_message(&format!("m{number}")).to(&format!("g{number}"));
        message.role("owner").asking_receipts().at(NOON + number as i64).record()
    };
    let read = |number: usize, user: &str| {
        let read = group_read(&format!("m{number}")).to(&format!("g{number}"));
        read.from(user).at(NOON + 1_000 + number as i64).record()
    };
    let mut before = vec![open_policy()];
    before.extend((0..20).map(sent));
    before.extend((0..20).map(|number| read(number, "early")));
    run_through(&deployment, &before, 42);

    let old_topic = deployment.topic();
    deployment.begin_epoch(5);
    let mut after: Vec<_> = (0..20).map(|number| read(number, "early")).collect();
    after.extend((0..20).map(|number| read(number, "late")));
    after.push(policy(2, |policy| policy.group.open = false));
    let worker = deployment.start();
    deployment.produce(&after);
    let outcomes = deployment.wait_for_records(45);
    assert_eq!(outcomes["read duplicate"], 20, "what was counted in the older epoch is known");
    assert_eq!(outcomes["read counted"], 20);
    assert_eq!(outcomes["policy applied"], 5);
    assert_eq!(deployment.number("SELECT uniqExact(conversation, message, reader) FROM receipts"), 40);
    worker.stop(true).unwrap();

    // A worker that was forgotten in the older epoch counts nothing there any more.
    deployment.config.kafka.epoch -= 1;
    deployment.config.kafka.topics.events = old_topic.topic;
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::Store(StoreError::EpochTaken { .. })), "{error}");
}
