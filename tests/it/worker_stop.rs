//! A worker that is asked to end under load finishes its flush; its successor goes on where it stopped.

use seenby::config::Delivery;

use crate::support::worker::{Deployment, load, open_policy};

const MESSAGES: usize = 800;
const READERS: usize = 15;

#[test]
fn stopped_under_load_it_ends_with_success_and_its_successor_goes_on() {
    let mut deployment = Deployment::new("stopped", 4, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 20;
    deployment.config.worker.flush_records = 500;
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(MESSAGES, READERS));

    let worker = deployment.spawn("worker-1");
    deployment.wait_for_at_least(2_000);
    assert!(worker.terminate());
    // The end of a flush is a commit: rows and group agree on how far the work came.
    let worker = deployment.start();
    deployment.wait_for_at_least(5_000);
    worker.stop(true).unwrap();

    // Another name: the partitions are free at once only because the one before left.
    let worker = deployment.start_as("worker-2");
    deployment.assert_exactly_once(MESSAGES, READERS);
    worker.stop(true).unwrap();
}
