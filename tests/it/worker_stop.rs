//! A worker that is asked to end under load finishes its flush; its successor goes on where it stopped.

use std::time::{Duration, Instant};

use seenby::config::Delivery;

use crate::support::faulty_clickhouse::{Fault, FaultyClickHouse};
use crate::support::worker::{Deployment, PATIENCE, load, open_policy};

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

#[test]
fn stopped_while_clickhouse_is_silent_it_waits_for_no_answer() {
    let mut deployment = Deployment::new("stopped_in_silence", 4, Delivery::ExactlyOnce);
    let relay = FaultyClickHouse::before(&deployment.config.clickhouse.url);
    deployment.config.clickhouse.url.clone_from(&relay.url);
    // Whoever waits for an answer is not there within anybody's patience.
    deployment.config.clickhouse.timeout_ms = 600_000;
    let wait_until_asked = |before: u64| {
        let deadline = Instant::now() + PATIENCE;
        while relay.met() == before {
            assert!(Instant::now() < deadline, "ClickHouse is not asked");
            std::thread::sleep(Duration::from_millis(10));
        }
    };

    relay.set(Fault::SilentToQuestions);
    let worker = deployment.start();
    wait_until_asked(0);
    worker.stop(true).unwrap();

    relay.set(Fault::None);
    let worker = deployment.start();
    worker.wait_until_ready();
    let met = relay.met();
    relay.set(Fault::Silence);
    deployment.produce(&[open_policy()]);
    wait_until_asked(met);
    worker.stop(true).unwrap();

    relay.set(Fault::None);
    let worker = deployment.start();
    deployment.produce(&load(20, 2));
    deployment.assert_exactly_once(20, 2);
    worker.stop(true).unwrap();
}
