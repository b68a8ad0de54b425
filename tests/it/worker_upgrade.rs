//! Going from one version to the next: other rules are taken over when told to, other tables while workers run.

use std::time::{Duration, Instant};

use seenby::config::Delivery;
use seenby::fold::FOLD_VERSION;
use seenby::observe::{ConditionState, Telemetry};
use seenby::store::{StoreError, watch_clickhouse};
use seenby::worker::{Worker, WorkerError};
use tokio::runtime::Runtime;

use crate::support::events::{NOON, group_message, group_read};
use crate::support::worker::{Deployment, PATIENCE, load, open_policy};

#[test]
fn state_of_another_fold_version_is_taken_over_only_when_told_to() {
    let deployment = Deployment::new("fold_version", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[open_policy(), group_message("m1").role("owner").asking_receipts().record()]);
    deployment.wait_for_records(3);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    let (own, other) = (format!("\"fold_version\":{FOLD_VERSION}"), format!("\"fold_version\":{}", FOLD_VERSION + 1));
    let before: Vec<_> = (0..2).map(|partition| deployment.committed(partition)).collect();
    for (partition, (offset, metadata)) in (0..).zip(&before) {
        deployment.commit_by_hand(partition, *offset, &metadata.replace(&own, &other));
    }
    let error = deployment.start().join().unwrap_err();
    assert!(matches!(error, WorkerError::FoldVersion { known: FOLD_VERSION, .. }), "{error}");
    assert!(error.to_string().contains("--accept-fold-version"), "{error}");

    let worker = deployment.spawn_with("worker-1", &["--accept-fold-version", "--leave"], &[]);
    deployment.produce(&[group_read("m1").from("bob").at(NOON + 1).record()]);
    let outcomes = deployment.wait_for_records(4);
    assert_eq!(outcomes["read counted"], 1, "its message was read back: {outcomes:?}");
    deployment.wait_for_commit();
    assert!(worker.terminate());

    // Also of the partition that had no record since.
    let after: Vec<_> = (0..2).map(|partition| deployment.committed(partition)).collect();
    assert!(after.iter().all(|(_, metadata)| metadata.contains(&own)), "{after:?}");
    let worker = deployment.start();
    worker.wait_until_ready();
    // Later commits still tell from where on these rules hold, and nobody compares what the others wrote.
    deployment.produce(&[group_read("m1").from("carol").at(NOON + 2).record()]);
    deployment.wait_for_records(5);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();
    for (partition, (accepted_at, _)) in (0..).zip(&before) {
        let (_, metadata) = deployment.committed(partition);
        assert!(metadata.contains(&format!("\"since\":{accepted_at}")), "{metadata}");
    }
    let verified = deployment.assert_verified();
    assert_eq!(verified.records(), 2, "{verified:#?}");
}

/// Waits until the watch over the tables has seen what they are, and returns what it says of them.
fn schema_seen(telemetry: &Telemetry, is_it: impl Fn(&ConditionState) -> bool) -> ConditionState {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = telemetry.readiness.report().conditions.remove("schema_current");
        if let Some(state) = state.filter(&is_it) {
            return state;
        }
        assert!(Instant::now() < deadline, "{:?}", telemetry.readiness.report());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn watch_as_the_api_does(runtime: &Runtime, deployment: &Deployment) -> Telemetry {
    let telemetry = Telemetry::default();
    let (clickhouse, readiness) = (deployment.config.clickhouse.clone(), telemetry.readiness.clone());
    runtime.spawn(async move { watch_clickhouse(&clickhouse, &readiness).await });
    telemetry
}

#[test]
fn a_migration_that_adds_to_tables_is_not_felt_by_processes_that_run() {
    let runtime = Runtime::new().unwrap();
    let deployment = Deployment::new("migrating", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    worker.wait_until_ready();
    let api = watch_as_the_api_does(&runtime, &deployment);
    schema_seen(&api, |state| state.met);
    deployment.produce(&[open_policy()]);
    let records = load(200, 20);
    let (first, second) = records.split_at(records.len() / 2);
    deployment.produce(first);
    deployment.wait_for_at_least(500);
    for table in ["messages", "receipts", "policies", "message_counts", "ledger"] {
        deployment.execute(&format!("ALTER TABLE {table} ADD COLUMN added_later UInt8 DEFAULT 7"));
    }
    deployment.execute("CREATE TABLE added_later (number UInt8) ENGINE = MergeTree ORDER BY number");
    let newest = "INSERT INTO schema_migrations (number, name, checksum) VALUES (9000, '9000_added_later', 'x')";
    deployment.execute(newest);
    let speaks_of_it = |state: &ConditionState| state.reason.as_ref().is_some_and(|reason| reason.contains("9000"));
    for telemetry in [&worker.telemetry, &api] {
        let state = schema_seen(telemetry, speaks_of_it);
        assert!(state.met, "{state:?}");
    }
    deployment.produce(second);
    deployment.assert_exactly_once(200, 20);
    assert_eq!(worker.metric("seenby_pipeline_restarts_total") as u64, 0);
    assert!(worker.telemetry.readiness.report().ready, "{:?}", worker.telemetry.readiness.report());
    worker.stop(true).unwrap();

    let refused = Worker::start(&deployment.config, &Telemetry::default()).err().expect("one that starts refuses it");
    assert!(matches!(refused, WorkerError::Store(StoreError::SchemaNewer { found: 9000, .. })), "{refused}");
    let state = schema_seen(&watch_as_the_api_does(&runtime, &deployment), speaks_of_it);
    assert!(!state.met, "{state:?}");
}
