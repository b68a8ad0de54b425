//! `seenby replay rebuild`: the tables follow from the log.

use seenby::fold::FOLD_VERSION;

use crate::support::verify::{count, counted};

const FACTS: [&str; 9] =
    ["messages", "receipts", "recalls", "roster_changes", "marks", "parked", "settlements", "policies", "rejections"];

#[test]
fn rows_are_those_of_the_workers_and_a_worker_goes_on_with_them() {
    let (mut deployment, mut traffic) = counted("rebuild", 1_000);
    let (old, new) =
        (deployment.config.clickhouse.database.clone(), format!("{}_new", deployment.config.clickhouse.database));
    let rebuilt = deployment.run(&["replay", "rebuild", "--database", &new]);
    let said = String::from_utf8(rebuilt.stdout).unwrap();
    assert!(rebuilt.status.success(), "{said} {}", String::from_utf8_lossy(&rebuilt.stderr));
    let records = deployment.outcomes().values().sum::<u64>();
    assert!(said.contains(&format!("{records} records folded into {new}")), "{said}");
    for table in FACTS {
        for (one, other) in [(&old, &new), (&new, &old)] {
            let only =
                format!("SELECT count() FROM (SELECT * FROM {one}.{table} EXCEPT SELECT * FROM {other}.{table})");
            assert_eq!(deployment.number(&only), 0, "rows of {table} in {one} alone");
        }
        assert!(deployment.number(&format!("SELECT count() FROM {new}.{table}")) > 0, "{table} is empty");
    }

    let again = deployment.run(&["replay", "rebuild", "--database", &new]);
    assert!(!again.status.success());
    let complaint = String::from_utf8(again.stderr).unwrap();
    assert!(complaint.contains("is not empty"), "{complaint}");

    deployment.config.clickhouse.database = new;
    assert_eq!(deployment.assert_verified().records(), records);
    count(&deployment, &mut traffic, 400);
    assert!(deployment.assert_verified().records() > records + 400);
}

#[test]
fn what_is_not_in_the_log_any_more_is_named_and_left_out_only_when_asked() {
    let (deployment, _) = counted("rebuild_cut", 600);
    deployment.cut_log(1, 50);
    let new = format!("{}_new", deployment.config.clickhouse.database);
    let refused = deployment.run(&["replay", "rebuild", "--database", &new]);
    assert!(!refused.status.success());
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("partition 1 begins at offset 50") && complaint.contains("--partial"), "{complaint}");

    let built = deployment.run(&["replay", "rebuild", "--database", &new, "--partial"]);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let first = deployment.number(&format!("SELECT min(next_offset) FROM {new}.ledger WHERE partition = 1"));
    assert!(first > 50, "the first flush ends at {first}");

    // Verifying needs a state to begin with: the first that was written behind the log's beginning.
    let verified = deployment.assert_verified();
    let ranges = verified.report["partitions"].as_array().unwrap();
    assert!(ranges.iter().any(|range| range["partition"] == 1 && range["from"].as_u64().unwrap() >= 50), "{ranges:?}");
    assert!(ranges.iter().any(|range| range["partition"] == 0 && range["from"] == 0), "{ranges:?}");
}

#[test]
fn what_other_rules_folded_is_named_and_folded_by_these_only_when_told_to() {
    let (deployment, _) = counted("rebuild_rules", 400);
    // Nobody is left in the group, for whom somebody could not commit.
    let worker = deployment.start();
    worker.wait_until_ready();
    worker.stop(true).unwrap();
    let database = &deployment.config.clickhouse.database;
    let rebuild = |name: &str, arguments: &[&str]| {
        let new = format!("{database}_{name}");
        let output = deployment.run(&[&["replay", "rebuild", "--database", &new], arguments].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (offset, metadata) = deployment.committed(1);
    let own = format!("\"fold_version\":{FOLD_VERSION}");

    // What a worker commits that was told to go on from the state of other rules.
    deployment.commit_by_hand(1, offset, &metadata.replace('}', ",\"since\":5}"));
    let (is_built, complaint) = rebuild("since", &["--partial"]);
    assert!(!is_built);
    assert!(
        complaint.contains("partition 1 before offset 5") && complaint.contains("--accept-fold-version"),
        "{complaint}"
    );

    deployment.commit_by_hand(1, offset, &metadata.replace(&own, &format!("\"fold_version\":{}", FOLD_VERSION + 1)));
    let (is_built, complaint) = rebuild("version", &[]);
    assert!(!is_built);
    assert!(complaint.contains(&format!("partition 1 under fold version {}", FOLD_VERSION + 1)), "{complaint}");

    let (is_built, complaint) = rebuild("version", &["--accept-fold-version"]);
    assert!(is_built, "{complaint}");
}
