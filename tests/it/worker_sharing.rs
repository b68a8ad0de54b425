//! Two workers share the partitions of one topic; one comes and one goes under load.

use std::time::{Duration, Instant};

use seenby::config::Delivery;

use crate::support::worker::{Deployment, PATIENCE, load, open_policy};

const MESSAGES: usize = 800;
const READERS: usize = 30;

#[test]
fn partitions_move_between_workers_under_load_and_everything_counts_once() {
    let mut deployment = Deployment::new("sharing", 6, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 20;
    deployment.config.worker.flush_records = 300;
    deployment.config.worker.session_timeout_ms = 45_000;
    let records = load(MESSAGES, READERS);
    let (first, rest) = records.split_at(records.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);

    let one = deployment.start_as("worker-1");
    one.wait_until_ready();
    deployment.produce(&[open_policy()]);
    deployment.produce(first);

    let other = deployment.start_as("worker-2");
    deployment.produce(second);
    let deadline = Instant::now() + PATIENCE;
    while (one.metric("seenby_partitions"), other.metric("seenby_partitions")) != (3.0, 3.0) {
        assert!(Instant::now() < deadline, "the partitions were not shared");
        std::thread::sleep(Duration::from_millis(20));
    }

    deployment.produce(third);
    one.stop(true).unwrap();
    // Far sooner than the session ends: it left.
    let deadline = Instant::now() + Duration::from_secs(15);
    while other.metric("seenby_partitions") as u64 != 6 {
        assert!(Instant::now() < deadline, "the partitions of the worker that left were not taken over");
        std::thread::sleep(Duration::from_millis(20));
    }
    deployment.assert_exactly_once(MESSAGES, READERS);
    assert_eq!(other.metric("seenby_pipeline_restarts_total") as u64, 0, "a rebalance is no failure");
    other.stop(true).unwrap();
}

#[test]
fn two_pipelines_of_one_process_share_them_as_well() {
    let mut deployment = Deployment::new("pipelines", 4, Delivery::ExactlyOnce);
    deployment.config.worker.threads = 2;
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(200, 5));
    deployment.assert_exactly_once(200, 5);
    worker.stop(true).unwrap();
}
