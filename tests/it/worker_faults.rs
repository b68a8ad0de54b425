//! Faults of ClickHouse by class: what passes is waited out, what does not is told, and nothing is lost or doubled in
//! either. The classes are those of `docs/operations.md`.

use std::time::{Duration, Instant};

use seenby::config::Delivery;

use crate::support::faulty_clickhouse::{Fault, FaultyClickHouse};
use crate::support::worker::{Deployment, PATIENCE, RunningWorker, load, open_policy};

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lets inserts meet `fault` under load, waits until `is_told` by the worker's metrics and the input stands still, and
/// heals it.
fn goes_through(test: &str, fault: Fault, is_told: impl Fn(&RunningWorker) -> bool) {
    let mut deployment = Deployment::new(test, 2, Delivery::ExactlyOnce);
    let relay = FaultyClickHouse::before(&deployment.config.clickhouse.url);
    deployment.config.clickhouse.url.clone_from(&relay.url);
    deployment.config.clickhouse.timeout_ms = 1_000;
    deployment.config.worker.flush_records = 100;
    let worker = deployment.start();
    worker.wait_until_ready();
    relay.set(fault);
    deployment.produce(&[open_policy()]);
    // A flush that waits in front of the busy one, and one in the making that is full: it takes more than one batch.
    let records = load(300, 3);
    for piece in records.chunks(200) {
        deployment.produce(piece);
        std::thread::sleep(Duration::from_millis(200));
    }
    wait_until("the fault is met and told", || relay.met() > 1 && is_told(&worker));
    wait_until("the input stands still", || worker.metric("seenby_intake_paused") > 0.0);
    assert!(deployment.told().is_empty(), "nothing is told before its rows are written");
    relay.set(Fault::None);
    // The worker's own time-out is short so that the fault is met often; who asks afterwards on a busy machine has time.
    deployment.config.clickhouse.timeout_ms = 30_000;
    deployment.assert_exactly_once(300, 3);
    wait_until("the input goes on", || worker.metric("seenby_intake_paused") < 1.0);
    assert!(worker.metric("seenby_flush_refused") < 1.0, "the page is over");
    worker.stop(true).unwrap();
}

fn is_retried(worker: &RunningWorker) -> bool {
    worker.metric("seenby_retries_total") > 1.0 && worker.metric("seenby_flush_refused") < 1.0
}

fn is_paged(worker: &RunningWorker) -> bool {
    worker.metric("seenby_flush_refused") > 0.0
}

#[test]
fn a_full_disk_is_waited_out() {
    let exception = Fault::Exception(243, "Cannot reserve 1.00 MiB, not enough space. (NOT_ENOUGH_SPACE)");
    goes_through("disk_full", exception, is_retried);
}

#[test]
fn a_disk_that_fills_up_while_it_is_written_to_is_waited_out() {
    let reason =
        "Cannot write to file descriptor: errno: 28, No space left on device. (CANNOT_WRITE_TO_FILE_DESCRIPTOR)";
    goes_through("disk_fills", Fault::Exception(75, reason), is_retried);
}

#[test]
fn a_replica_that_lost_its_keeper_is_waited_out() {
    let exception = Fault::Exception(242, "Table is in readonly mode. (TABLE_IS_READ_ONLY)");
    goes_through("replica_read_only", exception, is_retried);
}

#[test]
fn a_server_that_is_silent_is_waited_out() {
    goes_through("silent", Fault::Silence, is_retried);
}

#[test]
fn connections_that_break_are_waited_out() {
    goes_through("broken", Fault::Cut, is_retried);
}

#[test]
fn rows_whose_acknowledgement_was_lost_are_written_again_and_count_once() {
    goes_through("answer_lost", Fault::AnswerLost, is_retried);
}

#[test]
fn a_user_who_may_not_write_pages() {
    let exception = Fault::Exception(164, "Cannot execute query in readonly mode. (READONLY)");
    goes_through("read_only_user", exception, is_paged);
}

#[test]
fn a_refused_row_pages_and_is_not_skipped() {
    let deployment = Deployment::new("refused_row", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    worker.wait_until_ready();
    deployment.execute("ALTER TABLE receipts ADD CONSTRAINT nobody CHECK reader != 'r1'");
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(50, 3));
    wait_until("the refusal is told", || is_paged(&worker));
    deployment.execute("ALTER TABLE receipts DROP CONSTRAINT nobody");
    deployment.assert_exactly_once(50, 3);
    worker.stop(true).unwrap();
}
