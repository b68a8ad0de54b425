//! Markers of transactions are committed past: retention may remove what ends with one, and nothing is missing then.

use seenby::config::Delivery;
use seenby::event::EventType;
use seenby::log::control::{ControlRecord, ControlWriter};

use crate::support::events::{NOON, group_message, policy};
use crate::support::worker::Deployment;

#[test]
fn an_idle_log_is_committed_to_its_end_and_read_on_when_retention_has_emptied_it() {
    let deployment = Deployment::new("markers", 3, Delivery::ExactlyOnce);
    let worker = deployment.start();
    worker.wait_until_ready();
    let writer = ControlWriter::connect(&deployment.config.kafka, Delivery::ExactlyOnce).unwrap();
    let write = |version: u64, is_open: bool| {
        let record = policy(version, |policy| policy.group.open = is_open);
        writer.write(&ControlRecord { kind: EventType::Policy, version, value: &record.value }, version).unwrap();
    };
    // A marker behind each record, in every partition.
    write(1, true);
    write(2, true);
    assert_eq!(deployment.wait_for_records(6)["policy applied"], 6);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    deployment.delete_all_records();
    let worker = deployment.start();
    deployment.produce(&[group_message("m1").role("owner").asking_receipts().at(NOON).record()]);
    let outcomes = deployment.wait_for_records(7);
    assert_eq!(outcomes["message opened"], 1, "the policies were read back: {outcomes:?}");
    deployment.wait_for_commit();
    worker.stop(true).unwrap();
}
