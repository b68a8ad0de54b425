//! `seenby verify` finds nothing where nothing is wrong, whatever happened to the workers, and goes on where it was.

use std::time::Duration;

use seenby::config::Delivery;

use crate::support::verify::{count, counted};
use crate::support::worker::{Deployment, load, open_policy};

#[test]
fn mixed_traffic_is_clean_in_every_table_and_in_any_range() {
    let (deployment, _) = counted("verify_mixed", 3_000);
    let verified = deployment.assert_verified();
    assert_eq!(verified.records(), deployment.outcomes().values().sum::<u64>());
    for table in ["messages", "receipts", "recalls", "roster_changes", "marks", "parked", "settlements", "policies"] {
        let stored = deployment.number(&format!("SELECT count() FROM {table} FINAL"));
        assert_eq!(verified.rows(table), stored, "{table}");
        assert!(stored > 0, "nothing is said about {table}");
    }
    assert!(verified.rows("rejections") > 0 && verified.rows("ledger") > 0);
    assert!(verified.rows("message_counts") > 0 && verified.rows("sender_counts") > 0);

    let part = deployment.verify(&["--partition", "1", "--from", "300", "--to", "1000"]);
    assert_eq!(part.code, 0, "{part:#?}");
    assert!(part.records() > 300 && part.records() < verified.records() / 2, "{} records", part.records());
    // What was written before a time to come is all.
    let all = deployment.verify(&["--from", "2026-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]);
    assert_eq!((all.code, all.records()), (0, verified.records()), "{all:#?}");
}

#[test]
fn workers_that_were_killed_leave_nothing_to_be_found() {
    let mut deployment = Deployment::new("verify_killed", 4, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 5;
    deployment.config.worker.flush_records = 300;
    deployment.produce(&[open_policy()]);
    deployment.produce(&load(400, 20));
    for killed_after in [500, 2_000, 4_500] {
        let worker = deployment.spawn("worker-1");
        deployment.wait_for_at_least(killed_after);
        std::thread::sleep(Duration::from_millis(killed_after % 37));
        worker.kill();
    }
    let worker = deployment.spawn("worker-1");
    deployment.assert_exactly_once(400, 20);
    // While it runs.
    let verified = deployment.assert_verified();
    assert_eq!(verified.records(), 4 + 400 + 8_000);
    assert_eq!(verified.rows("receipts"), 8_000);
    assert!(worker.terminate());
}

#[test]
fn another_run_goes_on_at_the_checkpoint_and_again_over_what_differed() {
    let (deployment, mut traffic) = counted("verify_checkpoint", 800);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.json");
    let first = deployment.verify_from_checkpoint(&file);
    assert_eq!(first.code, 0, "{first:#?}");
    let all = first.records();

    let nothing_new = deployment.verify_from_checkpoint(&file);
    assert_eq!((nothing_new.code, nothing_new.records()), (0, 0), "{nothing_new:#?}");

    count(&deployment, &mut traffic, 400);
    // The last message lies behind the checkpoint.
    let deleted = deployment.number("SELECT max(bitShiftLeft(toUInt64(partition), 32) + offset) FROM messages");
    let (partition, offset) = (deleted >> 32, deleted & 0xffff_ffff);
    deployment.execute(&format!("DELETE FROM messages WHERE partition = {partition} AND offset = {offset}"));
    let with_difference = deployment.verify_from_checkpoint(&file);
    assert_eq!(with_difference.differences_of("messages").len(), 1, "{with_difference:#?}");
    assert_eq!(with_difference.records(), deployment.outcomes().values().sum::<u64>() - all);
    let again = deployment.verify_from_checkpoint(&file);
    assert_eq!(again.differences_of("messages").len(), 1, "{again:#?}");
    assert!(again.records() < with_difference.records(), "the other partitions are done");
}

#[test]
fn a_ledger_that_is_thinned_meanwhile_changes_nothing() {
    let (deployment, mut traffic) = counted("verify_thinned", 800);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.json");
    assert_eq!(deployment.verify_from_checkpoint(&file).code, 0);
    // As the janitor does: of all flushes, that of the checkpoint among them, the first and the last ones stay.
    count(&deployment, &mut traffic, 800);
    let ends = "SELECT partition, {} FROM ledger GROUP BY partition";
    let [first, last] = ["min(next_offset)", "max(next_offset)"].map(|end| ends.replace("{}", end));
    deployment.execute(
        "INSERT INTO ledger (epoch, topic, partition, partitions, app, type, outcome, measure, hour, next_offset, total, \
         buckets, bucket_totals) \
         SELECT epoch, topic, partition, any(ledger.partitions), app, type, outcome, measure, hour, \
             max(max(ledger.next_offset)) OVER (PARTITION BY partition), argMax(ledger.total, ledger.next_offset), \
             argMax(ledger.buckets, ledger.next_offset), argMax(ledger.bucket_totals, ledger.next_offset) \
         FROM ledger WHERE measure != 'watermark' \
         GROUP BY epoch, topic, partition, app, type, outcome, measure, hour",
    );
    deployment.execute(&format!(
        "DELETE FROM ledger WHERE (partition, next_offset) NOT IN ({first}) AND (partition, next_offset) NOT IN ({last})"
    ));
    let again = deployment.verify_from_checkpoint(&file);
    assert_eq!(again.code, 0, "{again:#?}");
    // One flush is many chunks long.
    let all = deployment.verify(&["--chunk", "100"]);
    assert_eq!((all.code, all.records()), (0, deployment.outcomes().values().sum::<u64>()), "{all:#?}");
}

#[test]
fn rows_that_no_commit_vouches_for_are_no_success() {
    let (mut deployment, _) = counted("verify_group", 200);
    deployment.config.kafka.group.push_str("-mistyped");
    let mistyped = deployment.verify(&[]);
    assert_eq!(mistyped.code, 2, "{mistyped:#?}");
    assert!(mistyped.complaints.contains("kafka.group"), "{mistyped:#?}");
}

#[test]
fn partitions_without_records_are_named() {
    let deployment = Deployment::new("verify_nothing", 2, Delivery::ExactlyOnce);
    let verified = deployment.assert_verified();
    assert_eq!(verified.report["without_records"], serde_json::json!([0, 1]));
}

#[test]
fn what_cannot_be_verified_is_no_difference_and_no_success() {
    let (deployment, _) = counted("verify_impossible", 200);
    let unknown = deployment.verify(&["--partition", "3"]);
    assert_eq!(unknown.code, 2, "{unknown:#?}");
    assert!(unknown.complaints.contains("3 partitions"), "{unknown:#?}");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoint.json");
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(deployment.verify_from_checkpoint(&file).code, 2);

    deployment.execute("DROP TABLE receipts");
    let missing = deployment.verify(&[]);
    assert_eq!(missing.code, 2, "{missing:#?}");
    assert!(missing.complaints.contains("receipts"), "{missing:#?}");
}
