//! A worker that is killed under load loses nothing and doubles nothing.

use std::time::Duration;

use seenby::config::Delivery;

use crate::support::worker::{Deployment, load, open_policy};

const MESSAGES: usize = 800;
const READERS: usize = 25;

#[test]
fn killed_under_load_and_started_again_it_loses_and_doubles_nothing() {
    let mut deployment = Deployment::new("killed", 4, Delivery::ExactlyOnce);
    // Many small flushes: the kill then falls anywhere between rows, notifications and commit.
    deployment.config.worker.flush_interval_ms = 5;
    deployment.config.worker.flush_records = 300;
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(MESSAGES, READERS));

    for killed_after in [1_000, 4_000, 9_000] {
        let worker = deployment.spawn("worker-1");
        deployment.wait_for_at_least(killed_after);
        // Not at a flush's end, which is what was waited for.
        std::thread::sleep(Duration::from_millis(killed_after % 37));
        worker.kill();
    }
    let worker = deployment.spawn("worker-1");
    deployment.assert_exactly_once(MESSAGES, READERS);
    assert!(worker.terminate());
}
