//! A policy that changes while events flow is in force from its own place in each partition's log on.

use seenby::config::Delivery;

use crate::support::events::{NOON, group_message, policy, policy_from};
use crate::support::worker::Deployment;

#[test]
fn a_version_counts_from_its_place_in_the_log_and_its_own_time_on() {
    let deployment = Deployment::new("policy", 3, Delivery::ExactlyOnce);
    let worker = deployment.start();
    let asked = |id: &str, at: i64| group_message(id).role("owner").asking_receipts().at(at).record();
    deployment.produce(&[asked("before", NOON)]);
    deployment.produce(&[policy(1, |policy| policy.group.open = true)]);
    deployment.produce(&[asked("after", NOON)]);
    // Closed again, but from a later event time on only.
    deployment.produce(&[policy_from(2, NOON + 1_000, |policy| policy.group.open = false)]);
    deployment.produce(&[asked("not-yet", NOON + 999), asked("then", NOON + 1_000)]);
    // The same version again: met before, the first stays.
    deployment.produce(&[policy(1, |policy| policy.group.open = false)]);
    deployment.produce(&[asked("still", NOON + 999)]);

    let outcomes = deployment.wait_for_records(5 + 3 * 3);
    assert_eq!(outcomes["message not_open"], 2);
    assert_eq!(outcomes["message opened"], 3);
    assert_eq!(outcomes["policy applied"], 2 * 3);
    assert_eq!(outcomes["policy duplicate"], 3);
    let refused = "SELECT count() FROM messages WHERE message IN ('before', 'then') AND status = 'not_open'";
    assert_eq!(deployment.number(refused), 2);
    worker.stop(true).unwrap();
}
