//! `seenby verify` finds what somebody changed by hand, and names it.

use seenby::config::Delivery;

use crate::support::events::{group_message, group_read, roster};
use crate::support::verify::Verified;
use crate::support::worker::{Deployment, open_policy};

/// Offset in partition 0 of what [`counted`] produces: a policy, a roster, a message, then reads by bob and carol.
const BOBS_READ: u64 = 3;

/// A deployment of one partition that has counted a few records, one flush, and is clean.
fn counted(test: &str) -> Deployment {
    let deployment = Deployment::new(test, 1, Delivery::ExactlyOnce);
    deployment.produce(&[
        open_policy(),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]).record(),
        group_message("m1").from("alice").asking_receipts().record(),
        group_read("m1").from("bob").id("r1").after(1_000).record(),
        group_read("m1").from("carol").id("r2").after(2_000).record(),
        group_read("m1").from("stranger").id("r3").after(3_000).record(),
    ]);
    let worker = deployment.start();
    deployment.wait_for_commit();
    worker.stop(false).unwrap();
    deployment.assert_verified();
    deployment
}

fn assert_key(key: &serde_json::Value, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(key[name], *value, "{name} of {key}");
    }
}

fn only<T: std::fmt::Debug>(mut all: Vec<T>) -> T {
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn only_of(verified: &Verified, table: &str) -> (String, serde_json::Value, serde_json::Value) {
    only(verified.differences_of(table))
}

#[test]
fn a_deleted_row_is_missing() {
    let deployment = counted("verify_deleted");
    deployment.execute("DELETE FROM receipts WHERE reader = 'bob'");
    let verified = deployment.verify(&[]);
    let (what, key, _) = only_of(&verified, "receipts");
    assert_eq!(what, "missing receipts");
    let offset = BOBS_READ.to_string();
    assert_key(
        &key,
        &[("app", "org#app"), ("message", "m1"), ("reader", "bob"), ("kind", "read"), ("offset", &offset)],
    );
    // The state that a worker would build from these rows is another one, too.
    assert_eq!(verified.differences_of("state").len(), 1, "{verified:#?}");
}

#[test]
fn a_changed_row_differs_in_its_column() {
    let deployment = counted("verify_changed");
    deployment
        .execute("ALTER TABLE receipts UPDATE ack_id = 'forged' WHERE reader = 'bob' SETTINGS mutations_sync = 2");
    let (what, key, columns) = only_of(&deployment.verify(&[]), "receipts");
    assert_eq!(what, "differs receipts");
    assert_key(&key, &[("message", "m1"), ("reader", "bob")]);
    assert_eq!(columns, serde_json::json!([{"column": "ack_id", "expected": "r1", "stored": "forged"}]));
}

#[test]
fn a_row_put_in_by_hand_is_too_many() {
    let deployment = counted("verify_forged");
    deployment.execute("INSERT INTO receipts SELECT * REPLACE('mallory' AS reader) FROM receipts WHERE ack_id = 'r1'");
    let (what, key, _) = only_of(&deployment.verify(&[]), "receipts");
    assert_eq!(what, "extra receipts");
    assert_key(&key, &[("message", "m1"), ("reader", "mallory")]);
}

#[test]
fn every_table_of_facts_is_looked_at() {
    let deployment = counted("verify_tables");
    deployment.execute("DELETE FROM policies WHERE 1");
    deployment.execute("DELETE FROM roster_changes WHERE user = 'carol'");
    deployment.execute("ALTER TABLE messages UPDATE reader_cap = 7 WHERE 1 SETTINGS mutations_sync = 2");
    deployment.execute("DELETE FROM rejections WHERE user = 'stranger'");
    deployment.execute("DELETE FROM message_facts WHERE splitByChar('\\t', fact)[4] = 'message'");
    let verified = deployment.verify(&[]);
    assert_eq!(only_of(&verified, "policies").0, "missing policies");
    assert_key(&only_of(&verified, "roster_changes").1, &[("user", "carol")]);
    let (_, _, columns) = only_of(&verified, "messages");
    assert_eq!(columns, serde_json::json!([{"column": "reader_cap", "expected": "500", "stored": "7"}]));
    assert_key(&only_of(&verified, "rejections").1, &[("outcome", "not_member"), ("user", "stranger")]);
    let (what, key, _) = only_of(&verified, "message_facts");
    let fact = key["fact"].as_str().unwrap();
    assert!(what == "missing message_facts" && fact.contains("\topened\t"), "{what} {fact}");
}

#[test]
fn a_changed_total_differs() {
    let deployment = counted("verify_total");
    deployment.execute(
        "INSERT INTO ledger (epoch, topic, partition, partitions, app, type, outcome, measure, hour, next_offset, total, \
         buckets, bucket_totals) SELECT epoch, topic, partition, partitions, app, type, outcome, measure, hour, \
         next_offset, total + 5, buckets, bucket_totals FROM ledger WHERE type = 'read' AND outcome = 'counted'",
    );
    let differences = deployment.verify(&[]).differences_of("ledger");
    let (_, key, columns) = differences.iter().find(|(_, key, _)| key["type"] == "read").unwrap();
    assert_key(key, &[("outcome", "counted"), ("measure", "records"), ("partition", "0")]);
    assert_eq!(*columns, serde_json::json!([{"column": "total", "expected": "2", "stored": "7"}]));
}

#[test]
fn a_lost_total_is_missing_and_so_is_a_lost_flush() {
    let deployment = counted("verify_lost_total");
    deployment.execute("DELETE FROM ledger WHERE measure = 'delays'");
    let (what, key, _) = only_of(&deployment.verify(&[]), "ledger");
    assert_eq!((what.as_str(), &key["measure"]), ("missing ledger", &"delays".into()));

    deployment.execute("TRUNCATE TABLE ledger");
    let verified = deployment.verify(&[]);
    let lost = verified.differences_of("ledger");
    assert!(lost.iter().any(|(what, key, _)| what == "missing ledger" && key["measure"] == "watermark"), "{lost:#?}");
    assert!(lost.iter().any(|(_, _, columns)| columns[0]["column"] == "sum of outcomes"), "{lost:#?}");
}

#[test]
fn a_changed_count_differs_in_both_tables() {
    let deployment = counted("verify_count");
    for table in ["message_counts", "sender_counts"] {
        deployment
            .execute(&format!("ALTER TABLE {table} UPDATE distinct_readers = 9 WHERE 1 SETTINGS mutations_sync = 2"));
    }
    let verified = deployment.verify(&[]);
    for table in ["message_counts", "sender_counts"] {
        let (_, key, columns) = only_of(&verified, table);
        assert_key(&key, &[("conversation", "org#app/g/g1"), ("message", "m1")]);
        assert_eq!(columns, serde_json::json!([{"column": "distinct_readers", "expected": "2", "stored": "9"}]));
    }
}

#[test]
fn a_lost_count_is_missing_and_a_newer_one_that_nothing_explains_is_too_many() {
    let deployment = counted("verify_lost_count");
    deployment.execute("TRUNCATE TABLE message_counts");
    deployment.execute(
        "INSERT INTO sender_counts SELECT * REPLACE('mallory' AS sender) FROM sender_counts WHERE message = 'm1'",
    );
    let verified = deployment.verify(&[]);
    assert_eq!(only_of(&verified, "message_counts").0, "missing message_counts");
    let (what, key, _) = only_of(&verified, "sender_counts");
    assert_eq!((what.as_str(), &key["sender"]), ("extra sender_counts", &"mallory".into()));
}

#[test]
fn a_row_behind_the_log_that_would_hide_the_right_one_is_too_many() {
    let deployment = counted("verify_behind");
    for forged in [
        "INSERT INTO message_counts SELECT * REPLACE(1000000 AS offset, 9 AS distinct_readers) FROM message_counts",
        "INSERT INTO receipts SELECT * REPLACE(1000000 AS offset, 'mallory' AS reader) FROM receipts LIMIT 1",
        "INSERT INTO ledger SELECT * REPLACE(1000000 AS next_offset) FROM ledger LIMIT 1",
    ] {
        deployment.execute(forged);
    }
    let verified = deployment.verify(&[]);
    for table in ["message_counts", "receipts", "ledger"] {
        assert_eq!(only_of(&verified, table).0, format!("extra {table}"));
    }
}

#[test]
fn rows_of_partitions_and_epochs_that_are_not_there_are_too_many() {
    let deployment = counted("verify_nowhere");
    for forged in [
        "INSERT INTO receipts SELECT * REPLACE(7 AS partition, 'mallory' AS reader) FROM receipts WHERE ack_id = 'r1'",
        "INSERT INTO message_counts SELECT * REPLACE(9 AS epoch, 'm9' AS message) FROM message_counts",
        "INSERT INTO roster_changes SELECT * REPLACE(9 AS epoch, 7 AS partition) FROM roster_changes LIMIT 1",
        "INSERT INTO ledger SELECT * REPLACE(7 AS partition) FROM ledger WHERE measure = 'watermark' LIMIT 1",
    ] {
        deployment.execute(forged);
    }
    let verified = deployment.verify(&[]);
    let epoch = deployment.config.kafka.epoch.to_string();
    for (table, expected) in [
        ("receipts", [("epoch", epoch.as_str()), ("partition", "7")]),
        ("message_counts", [("epoch", "9"), ("partition", "0")]),
        ("roster_changes", [("epoch", "9"), ("partition", "7")]),
        ("ledger", [("epoch", epoch.as_str()), ("partition", "7")]),
    ] {
        let (what, key, _) = only_of(&verified, table);
        assert_eq!(what, format!("extra {table}"));
        assert_key(&key, &expected);
    }
    assert_eq!(verified.report["elsewhere"], true);

    let verified = deployment.verify(&["--partition", "0"]);
    assert_eq!((verified.code, &verified.report["elsewhere"]), (0, &false.into()), "{verified:#?}");
}

#[test]
fn of_older_epochs_rows_are_counted_and_those_beyond_their_ledger_are_too_many() {
    let mut deployment = counted("verify_older");
    let older = deployment.config.kafka.epoch;
    deployment.begin_epoch(2);
    let worker = deployment.start();
    deployment.produce(&[group_read("m1").from("dave").id("r4").after(4_000).record()]);
    deployment.wait_for_commit();
    worker.stop(false).unwrap();
    let verified = deployment.assert_verified();
    assert_eq!(verified.report["counted_epochs"], serde_json::json!([{"epoch": older, "partitions": 1}]));
    let text = String::from_utf8(deployment.run(&["verify"]).stdout).unwrap();
    assert!(text.contains(&format!("epoch {older}: rows of 1 partitions counted")), "{text}");
    assert!(text.contains("was not verified"), "{text}");

    deployment.execute("DELETE FROM receipts WHERE reader = 'bob'");
    let (what, key, columns) = only_of(&deployment.verify(&[]), "receipts");
    assert_eq!(what, "differs receipts");
    assert_key(&key, &[("epoch", &older.to_string()), ("partition", "0")]);
    assert_eq!(columns, serde_json::json!([{"column": "records with rows", "expected": "2", "stored": "1"}]));

    deployment.execute(&format!(
        "INSERT INTO recalls (app, conversation, message, sent_at, recalled_by, at, epoch, partition, offset, own_offset) \
         SELECT app, conversation, message, sent_at, 'mallory', sent_at, {older}, 0, 1000000, 1000000 FROM messages"
    ));
    deployment.execute(&format!(
        "INSERT INTO receipts SELECT * REPLACE({older} AS epoch, 3 AS partition, 'mallory' AS reader) FROM receipts LIMIT 1"
    ));
    let verified = deployment.verify(&[]);
    let (what, key, _) = only_of(&verified, "recalls");
    assert_eq!(what, "extra recalls");
    assert_key(&key, &[("epoch", &older.to_string()), ("offset", "1000000")]);
    let kinds: Vec<String> = verified.differences_of("receipts").into_iter().map(|(what, _, _)| what).collect();
    assert_eq!(kinds, ["extra receipts", "differs receipts"]);
}

#[test]
fn people_read_what_differs_where_they_ask_for_no_json() {
    let deployment = counted("verify_text");
    deployment.execute("DELETE FROM receipts WHERE reader = 'bob'");
    let output = deployment.run(&["verify"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("missing   receipts app=org#app conversation=org#app/g/g1 message=m1 sent_at=1772366400000 kind=read reader=bob"), "{text}");
    assert!(text.contains("LOG AND TABLES DIFFER: 6 records folded"), "{text}");
}
