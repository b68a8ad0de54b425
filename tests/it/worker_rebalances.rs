//! Partitions move between real members of a real group: joining, stalling, restarting and leaving, under load.

use std::time::{Duration, Instant};

use seenby::config::Delivery;

use crate::support::worker::{Deployment, PATIENCE, load, open_policy};

/// Longer than anything is waited for: whoever takes partitions over before did not wait for a session to end.
const ENDLESS_SESSION_MILLIS: u32 = 120_000;

fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_met() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_member_that_joins_aborts_an_open_transaction_which_is_repeated() {
    let mut deployment = Deployment::new("joining", 4, Delivery::ExactlyOnce);
    deployment.config.worker.session_timeout_ms = ENDLESS_SESSION_MILLIS;
    deployment.config.worker.max_poll_interval_ms = ENDLESS_SESSION_MILLIS;
    deployment.produce(&[open_policy()]);
    // Mostly long enough for the other one to join: the generation of the offsets is over then. Where it came too late it
    // leaves, and comes again with the next one.
    const STALLS: usize = 4;
    let stall = ["5*off", "1*sleep(11000)"].repeat(STALLS).join("->");
    let stall = format!("transaction.offsets={stall}->off");
    let worker = deployment.spawn_with("worker-1", &[], &[("FAILPOINTS", &stall)]);
    wait_until("the first member reads everything", || worker.metric("seenby_partitions", "") as u64 == 4);

    let records = load(200, 30);
    let mut pieces = records.chunks(100);
    let mut produced = 4;
    let mut stalls = 0;
    let other = loop {
        while !stands_open(&deployment, produced) {
            let piece = pieces.next().expect("a transaction stood open long ago");
            deployment.produce(piece);
            produced += piece.len() as u64;
        }
        stalls += 1;
        let other = deployment.start_as("worker-2");
        wait_until("the partitions were not shared", || {
            (worker.metric("seenby_partitions", "") as u64, other.metric("seenby_partitions") as u64) == (2, 2)
        });
        if worker.metric("seenby_retries_total", r#"stage="commit""#) >= 1.0 {
            break other;
        }
        assert!(stalls < STALLS, "no transaction met the rebalance");
        other.stop(true).unwrap();
        wait_until("the partitions did not come back", || worker.metric("seenby_partitions", "") as u64 == 4);
    };
    pieces.for_each(|piece| deployment.produce(piece));
    deployment.assert_exactly_once(200, 30);
    assert_eq!(worker.metric("seenby_pipeline_restarts_total", "") as u64, 0, "a rebalance is no failure");
    assert_eq!(other.metric("seenby_pipeline_restarts_total") as u64, 0);
    other.stop(true).unwrap();
    assert!(worker.terminate());
}

/// Stalls a worker past its session as soon as `is_time`, asked with the number of records after each piece of the traffic,
/// and lets another one have its partitions meanwhile. Returns how many of its commits failed.
fn stalls_and_comes_back(test: &str, fail_points: &str, is_time: impl Fn(&Deployment, u64) -> bool) -> f64 {
    let mut deployment = Deployment::new(test, 4, Delivery::ExactlyOnce);
    deployment.config.worker.session_timeout_ms = 2_000;
    deployment.produce(&[open_policy()]);
    let stalled = deployment.spawn_with("worker-1", &[], &[("FAILPOINTS", fail_points)]);
    let other = deployment.start_as("worker-2");
    let is_shared =
        || (stalled.metric("seenby_partitions", "") as u64, other.metric("seenby_partitions") as u64) == (2, 2);
    wait_until("the partitions were not shared", is_shared);

    let records = load(200, 40);
    let mut pieces = records.chunks(250);
    let mut produced = 0;
    while !is_time(&deployment, produced) {
        let piece = pieces.next().expect("it was time to stall long ago");
        deployment.produce(piece);
        produced += piece.len() as u64;
    }
    stalled.signal("STOP");
    pieces.by_ref().take(4).for_each(|piece| deployment.produce(piece));
    wait_until("the partitions were not taken over", || other.metric("seenby_partitions") as u64 == 4);
    stalled.signal("CONT");
    pieces.for_each(|piece| deployment.produce(piece));
    wait_until("the stalled member did not come back", is_shared);
    deployment.assert_exactly_once(200, 40);
    let repeated = stalled.metric("seenby_retries_total", r#"stage="commit""#);
    other.stop(true).unwrap();
    assert!(stalled.terminate());
    repeated
}

#[test]
fn a_member_that_stalls_past_its_session_loses_its_partitions_and_comes_back_by_itself() {
    stalls_and_comes_back("stalled", "", |_, produced| produced >= 1_000);
}

/// Whether a transaction stands open, for longer than one takes; `false` once so many records are in the ledger.
fn stands_open(deployment: &Deployment, records: u64) -> bool {
    let mut open_since = None;
    loop {
        if deployment.is_transaction_open() {
            if open_since.get_or_insert_with(Instant::now).elapsed() >= Duration::from_secs(2) {
                return true;
            }
        } else if deployment.outcomes().values().sum::<u64>() >= records {
            return false;
        } else {
            open_since = None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_identity_that_ended_in_the_middle_of_a_transaction_is_not_taken_for_a_second_worker() {
    // The member stalls and joins anew while its transaction still holds the identity of before.
    let held = "transaction.offsets=3*off->1*sleep(13000)->off";
    let repeated = stalls_and_comes_back("stalled_within", held, stands_open);
    assert!(repeated >= 1.0, "the transaction ended before the identity did");
}

#[test]
fn a_static_member_that_restarts_within_its_session_moves_nothing() {
    let mut deployment = Deployment::new("restarting", 6, Delivery::ExactlyOnce);
    deployment.config.worker.session_timeout_ms = ENDLESS_SESSION_MILLIS;
    deployment.config.worker.max_poll_interval_ms = ENDLESS_SESSION_MILLIS;
    deployment.produce(&[open_policy()]);
    let names = ["worker-1", "worker-2", "worker-3"];
    let mut workers: Vec<_> = names.iter().map(|name| deployment.start_as(name)).collect();
    wait_until("the partitions were not shared", || {
        workers.iter().all(|worker| worker.metric("seenby_partitions") as u64 == 2)
    });
    let records = load(120, 30);
    let mut pieces = records.chunks(records.len() / 3 + 1);
    for restarted in 0..names.len() {
        let rebalances: Vec<_> = workers.iter().map(|worker| worker.metric("seenby_rebalances_total")).collect();
        deployment.produce(pieces.next().unwrap());
        workers.remove(restarted).stop(false).unwrap();
        let again = deployment.start_as(names[restarted]);
        wait_until("the partitions did not come back", || again.metric("seenby_partitions") as u64 == 2);
        workers.insert(restarted, again);
        for (number, worker) in workers.iter().enumerate().filter(|(number, _)| *number != restarted) {
            let unmoved = rebalances[number] as u64;
            assert_eq!(worker.metric("seenby_rebalances_total") as u64, unmoved, "{} moved", names[number]);
        }
    }
    deployment.assert_exactly_once(120, 30);
    workers.into_iter().for_each(|worker| worker.stop(true).unwrap());
}

/// Ends a worker by a signal; another one must have its partitions long before its session ends.
fn leaves_at_once(test: &str, arguments: &[&str], signal: &str) {
    let mut deployment = Deployment::new(test, 4, Delivery::ExactlyOnce);
    deployment.config.worker.session_timeout_ms = ENDLESS_SESSION_MILLIS;
    deployment.config.worker.max_poll_interval_ms = ENDLESS_SESSION_MILLIS;
    deployment.produce(&[open_policy()]);
    let leaving = deployment.spawn_with("worker-1", arguments, &[]);
    deployment.produce(&load(100, 10));
    deployment.wait_for_at_least(500);
    let other = deployment.start_as("worker-2");
    leaving.signal(signal);
    assert!(leaving.wait().success());
    wait_until("the partitions were not taken over", || other.metric("seenby_partitions") as u64 == 4);
    deployment.assert_exactly_once(100, 10);
    other.stop(true).unwrap();
}

#[test]
fn a_worker_told_to_leave_hands_its_partitions_over_at_once() {
    leaves_at_once("leaving", &["--leave"], "TERM");
}

#[test]
fn sigusr1_leaves_the_group_whatever_the_worker_was_told_before() {
    leaves_at_once("leaving_by_signal", &[], "USR1");
}

#[test]
fn partitions_that_a_rebalance_left_to_nobody_are_shared_out_anew() {
    let mut deployment = Deployment::new("nobodys", 4, Delivery::ExactlyOnce);
    // Long enough for a restart within it.
    deployment.config.worker.session_timeout_ms = 15_000;
    deployment.config.worker.max_poll_interval_ms = 15_000;
    deployment.produce(&[open_policy()]);
    // Dies between giving its share up and joining again, which is when the other one would be given it.
    let mut dying = deployment.spawn_with("worker-1", &[], &[("FAILPOINTS", "revoke.end=return")]);
    wait_until("the first member has everything", || dying.metric("seenby_partitions", "") as u64 == 4);
    let other = deployment.start_as("worker-2");
    let deadline = Instant::now() + PATIENCE;
    while dying.ended().is_none() {
        assert!(Instant::now() < deadline, "nothing was revoked");
        std::thread::sleep(Duration::from_millis(20));
    }
    let back = deployment.spawn("worker-1");
    let restarts =
        || back.metric("seenby_pipeline_restarts_total", "") + other.metric("seenby_pipeline_restarts_total");
    wait_until("nobody made the group share out anew", || restarts() as u64 == 1);
    let shares = || [back.metric("seenby_partitions", ""), other.metric("seenby_partitions")];
    wait_until("partitions are nobody's", || shares().iter().sum::<f64>() as u64 == 4);

    for piece in load(100, 10).chunks(200) {
        deployment.produce(piece);
    }
    deployment.assert_exactly_once(100, 10);
    assert_eq!(restarts() as u64, 1, "one member leaves, once");
    other.stop(true).unwrap();
    assert!(back.terminate());
}
