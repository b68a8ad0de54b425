//! ClickHouse away under load: the input pauses, nothing is lost, memory stays within its limit, and the lag goes again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use seenby::config::Delivery;

use super::{SetAtEnd, agreement, number, traffic};
use crate::support::kafka;
use crate::support::process::{Part, free_port};
use crate::support::worker::{Deployment, PATIENCE};

const RATE: u32 = 2_000;

/// Of the worker: state and rows. The process has a few tens of MiB besides.
const MEMORY_LIMIT: u64 = 128 * 1024 * 1024;

/// What librdkafka may have fetched ahead, and the process itself.
const BESIDES: u64 = 160 * 1024 * 1024;

#[test]
#[allow(clippy::print_stderr)]
fn clickhouse_away_under_load_pauses_the_input_and_loses_nothing() {
    let away = Duration::from_secs(number("SEENBY_CHAOS_OUTAGE", 5));
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let clickhouse = Part::start_at("clickhouse", folder.path(), port);
    let mut deployment = Deployment::on(kafka::bootstrap(), &clickhouse.address, "outage", 4, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 100;
    // A flush that waits is tried for so long.
    deployment.config.worker.max_poll_interval_ms = 300_000;
    // So that a flush in the making is full soon, whatever the rate.
    deployment.config.worker.flush_records = 5_000;
    let variables =
        [("SEENBY__WORKER__MEMORY_LIMIT_BYTES", &*MEMORY_LIMIT.to_string()), ("SEENBY__LOG__FILTER", "error")];
    let worker = deployment.spawn_with("worker-1", &[], &variables);
    let metric = |name| worker.metric(name, "");
    let is_over = AtomicBool::new(false);
    let (paused_after, largest_lag, caught_up_after) = thread::scope(|scope| {
        scope.spawn(|| traffic::send(&deployment, 1, RATE, &is_over));
        let _over = SetAtEnd(&is_over);
        deployment.wait_for_at_least(u64::from(RATE));
        wait_until("the worker keeps up", || metric("seenby_intake_paused") == 0.0);
        clickhouse.kill();
        let gone_at = Instant::now();
        wait_until("the input pauses", || metric("seenby_intake_paused") == 1.0);
        let paused_after = gone_at.elapsed();
        thread::sleep(away.saturating_sub(gone_at.elapsed()));
        assert_eq!(metric("seenby_pipeline_restarts_total"), 0.0, "a flush waits, nothing starts again");
        let largest_lag = deployment.uncommitted().unwrap();

        let _clickhouse = Part::start_at("clickhouse", folder.path(), port);
        let back_at = Instant::now();
        wait_until("the input goes on", || metric("seenby_intake_paused") == 0.0);
        // Traffic goes on all the while: what is left is what comes within a flush or two.
        wait_until("the lag is gone", || deployment.uncommitted().unwrap() < u64::from(RATE));
        let caught_up_after = back_at.elapsed();
        is_over.store(true, Ordering::Relaxed);
        deployment.wait_for_delivery();
        deployment.wait_for_commit();
        let plain = agreement::plain_fold_of(&deployment.events(), 4);
        assert_eq!(agreement::differences(&deployment, &plain), [""; 0]);
        (paused_after, largest_lag, caught_up_after)
    });

    let peak = worker.peak_memory();
    eprintln!(
        "ClickHouse was away for {away:?}: paused after {paused_after:?}, lag {largest_lag} records, gone \
         {caught_up_after:?} after it was back; peak memory of the worker {} MiB of {}",
        peak / 1024 / 1024,
        (MEMORY_LIMIT + BESIDES) / 1024 / 1024,
    );
    assert!(peak < MEMORY_LIMIT + BESIDES, "{peak} bytes");
    assert!(worker.terminate());
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE * 3, "{what}: not within {:?}", PATIENCE * 3);
        thread::sleep(Duration::from_millis(50));
    }
}
