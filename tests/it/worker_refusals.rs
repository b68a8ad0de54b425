//! When a worker stops instead of guessing, and when it waits for somebody to repair what is broken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use seenby::config::Delivery;
use seenby::log::{CommitError, Source as _, SourceError};
use seenby::store::StoreError;
use seenby::worker::WorkerError;

use crate::support::committing::join;
use crate::support::events::OwnedRecord;
use crate::support::worker::{Deployment, PATIENCE, RunningWorker, load, open_policy};

fn is_fenced(error: &WorkerError) -> bool {
    matches!(error, WorkerError::Source(SourceError::Fenced { .. }) | WorkerError::Commit(CommitError::Fenced { .. }))
}

#[test]
fn a_second_worker_of_the_same_name_ends_the_first() {
    let deployment = Deployment::new("fenced", 2, Delivery::ExactlyOnce);
    let first = deployment.start();
    first.wait_until_ready();
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(50, 2));
    let second = deployment.start();
    let error = first.join().unwrap_err();
    assert!(is_fenced(&error), "{error}");
    assert!(error.to_string().contains("worker.instance"), "{error}");
    deployment.assert_exactly_once(50, 2);
    second.stop(true).unwrap();
}

/// Produces records with a pause behind each, so that something is read all the time, and without pauses once it is over.
fn hand_over_slowly(deployment: &Deployment, records: &[OwnedRecord], pause: Duration, is_over: &AtomicBool) {
    for record in records {
        deployment.hand_over(record);
        if !is_over.load(Ordering::Relaxed) {
            std::thread::sleep(pause);
        }
    }
    deployment.wait_for_delivery();
}

/// So a worker that the group has fenced is answered by the transactional id's coordinator who did that.
#[test]
fn a_worker_takes_its_name_before_it_joins() {
    let mut deployment = Deployment::new("name_before_joining", 2, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 1;
    deployment.produce(&[open_policy()]);
    let older = deployment.start();
    older.wait_until_ready();
    let newer = deployment.spawn_with("worker-1", &[], &[("FAILPOINTS", "join.begin=sleep(600000)")]);
    let is_fenced = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| hand_over_slowly(&deployment, &load(200, 30), Duration::from_millis(2), &is_fenced));
        let error = older.join().unwrap_err();
        is_fenced.store(true, Ordering::Relaxed);
        assert!(matches!(error, WorkerError::Commit(CommitError::Fenced { .. })), "{error}");
    });
    newer.kill();
    let last = deployment.start();
    deployment.assert_exactly_once(200, 30);
    last.stop(true).unwrap();
}

/// A worker whose group has heard of another consumer of its name, of whom nobody hears any more: that is what the group
/// makes of a request to join that comes twice.
fn fenced_by_nobody(test: &str, delivery: Delivery) -> (Deployment, RunningWorker) {
    let deployment = Deployment::new(test, 2, delivery);
    let worker = deployment.start_as("worker-1");
    worker.wait_until_ready();
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(50, 2)[..75]);
    deployment.wait_for_at_least(50);
    join(&deployment.config, "worker-1-0").close(false);
    (deployment, worker)
}

#[test]
fn a_worker_that_no_other_one_has_fenced_goes_on() {
    let (deployment, worker) = fenced_by_nobody("fenced_by_nobody", Delivery::ExactlyOnce);
    let deadline = Instant::now() + PATIENCE;
    while worker.metric("seenby_pipeline_restarts_total") < 1.0 {
        assert!(Instant::now() < deadline, "it was not fenced");
        std::thread::sleep(Duration::from_millis(50));
    }
    deployment.produce(&load(50, 2)[75..]);
    deployment.assert_exactly_once(50, 2);
    worker.stop(true).unwrap();
}

/// Only transactions tell who has the name.
#[test]
fn a_worker_without_transactions_stops_where_it_is_fenced() {
    let (_deployment, worker) = fenced_by_nobody("fenced_at_least_once", Delivery::AtLeastOnce);
    let error = worker.join().unwrap_err();
    assert!(is_fenced(&error), "{error}");
}

#[test]
fn a_name_taken_under_load_ends_the_older_worker_each_time() {
    const ROUNDS: usize = 5;
    let mut deployment = Deployment::new("fenced_under_load", 4, Delivery::ExactlyOnce);
    // A transaction is open nearly all the time.
    deployment.config.worker.flush_interval_ms = 1;
    deployment.produce(&[open_policy()]);
    let are_rounds_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| hand_over_slowly(&deployment, &load(200, 150), Duration::from_millis(1), &are_rounds_over));
        let mut older = deployment.start();
        for _ in 0..ROUNDS {
            let before = deployment.outcomes().values().sum::<u64>();
            deployment.wait_for_at_least(before + 100);
            let newer = deployment.start();
            let error = older.join().unwrap_err();
            assert!(is_fenced(&error), "{error}");
            older = newer;
        }
        are_rounds_over.store(true, Ordering::Relaxed);
        deployment.assert_exactly_once(200, 150);
        older.stop(true).unwrap();
    });
}

#[test]
fn a_ledger_without_a_commit_is_not_counted_again_from_the_start() {
    let mut deployment = Deployment::new("missing_commit", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.wait_for_records(2);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    deployment.config.kafka.group = format!("{}.other", deployment.config.kafka.group);
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::MissingCommit { .. }), "{error}");
    assert!(error.to_string().contains("has no commit for partition"), "{error}");
}

#[test]
fn another_partition_count_stops_the_worker() {
    let deployment = Deployment::new("partition_count", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.wait_for_records(2);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    deployment.add_partition();
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::Store(StoreError::PartitionCount { found: 2, asked: 3, .. })), "{error}");
}

#[test]
fn events_removed_before_they_were_counted_stop_the_worker() {
    let deployment = Deployment::new("removed", 1, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.wait_for_records(1);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    deployment.produce(&load(10, 1));
    deployment.delete_all_records();
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::CommitOutOfRange { low: 21, committed: 1, .. }), "{error}");
}

#[test]
fn a_commit_beyond_the_log_stops_the_worker() {
    let deployment = Deployment::new("beyond", 1, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[open_policy()]);
    deployment.wait_for_records(1);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    // What the group remembers of a topic that was made anew and holds less.
    deployment.commit_by_hand(0, 100, "");
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::CommitOutOfRange { high: 1, committed: 100, .. }), "{error}");
    assert!(error.to_string().contains("kafka.epoch"), "{error}");
}

#[test]
fn a_commit_whose_rows_are_gone_as_is_the_log_before_it_stops_the_worker() {
    let deployment = Deployment::new("rows_gone", 1, Delivery::ExactlyOnce);
    let worker = deployment.start();
    // A policy moves no watermark: the offset alone tells that something was counted.
    deployment.produce(&[open_policy()]);
    deployment.wait_for_records(1);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    deployment.execute("TRUNCATE TABLE ledger");
    deployment.delete_all_records();
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::RowsMissing { committed: 1, foldable_from: 1, .. }), "{error}");
}

#[test]
fn input_stands_still_at_the_memory_limit_and_goes_on_by_itself() {
    let mut deployment = Deployment::new("memory", 2, Delivery::ExactlyOnce);
    deployment.config.worker.memory_limit_bytes = 1 << 20;
    let worker = deployment.start();
    worker.wait_until_ready();
    // Rows that cannot be written stay in memory.
    deployment.execute("RENAME TABLE receipts TO receipts_away");
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(100, 60));
    let deadline = Instant::now() + PATIENCE;
    while worker.metric("seenby_intake_paused") < 1.0 {
        assert!(Instant::now() < deadline, "the input does not pause");
        std::thread::sleep(Duration::from_millis(20));
    }
    deployment.execute("RENAME TABLE receipts_away TO receipts");
    deployment.assert_exactly_once(100, 60);
    assert_eq!(worker.metric("seenby_intake_paused") as u64, 0);
    worker.stop(true).unwrap();
}

#[test]
fn a_missing_table_stops_the_input_until_it_is_back_and_nothing_is_skipped() {
    let deployment = Deployment::new("missing_table", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    worker.wait_until_ready();
    deployment.execute("RENAME TABLE receipts TO receipts_away");
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(100, 3));
    let deadline = Instant::now() + PATIENCE;
    while worker.metric("seenby_flush_refused") < 1.0 {
        assert!(Instant::now() < deadline, "the refusal is not told");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(deployment.told().is_empty(), "nothing is told before its rows are written");
    deployment.execute("RENAME TABLE receipts_away TO receipts");
    deployment.assert_exactly_once(100, 3);
    worker.stop(true).unwrap();
}
