//! A worker that is asked to end under load finishes its flush; its successor goes on where it stopped.

use std::time::{Duration, Instant};

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

#[test]
fn stopped_at_any_moment_of_its_start_it_ends_at_once() {
    let deployment = Deployment::new("stopped_early", 4, Delivery::ExactlyOnce);
    // Joining, being given partitions, reading them back, reading on: the end may fall into each of them.
    for after_millis in (0..1_200).step_by(100) {
        let worker = deployment.start();
        std::thread::sleep(Duration::from_millis(after_millis));
        let asked = Instant::now();
        worker.stop(true).unwrap();
        assert!(asked.elapsed() < Duration::from_secs(20), "stopping {after_millis} ms after the start");
    }
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(20, 2));
    deployment.assert_exactly_once(20, 2);
    worker.stop(true).unwrap();
}
