//! `seenby replay rejections`: refused records are sent again where a repair may have helped.

use std::collections::BTreeMap;

use seenby::config::Delivery;

use crate::support::events::{OwnedRecord, group_message, in_group};
use crate::support::worker::{Deployment, open_policy};

fn count(deployment: &Deployment) -> BTreeMap<String, u64> {
    let worker = deployment.start();
    deployment.wait_for_commit();
    worker.stop(false).unwrap();
    deployment.outcomes()
}

/// A deployment that refused a misrouted message, a malformed record, one of an unknown type and one that was too long.
fn refused(test: &str) -> Deployment {
    let deployment = Deployment::new(test, 2, Delivery::ExactlyOnce);
    let misrouted = |id: &str| OwnedRecord {
        key: Some(b"elsewhere".to_vec()),
        ..group_message(id).role("owner").asking_receipts().record()
    };
    let long = group_message("m2").with("padding", "x".repeat(70_000)).record();
    deployment.produce(&[
        open_policy(),
        misrouted("m1"),
        OwnedRecord { key: Some(b"elsewhere".to_vec()), ..long },
        OwnedRecord { key: None, value: b"{\"type\"".to_vec(), control: None },
        in_group("of another kind", "alice").id("e1").record(),
    ]);
    deployment
}

fn replay(deployment: &Deployment, arguments: &[&str]) -> String {
    let output = deployment.run(&[&["replay", "rejections"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The line of the table for an outcome: sent, too long, refused again.
fn line(said: &str, outcome: &str) -> Vec<u64> {
    let line = said.lines().rev().find(|line| line.starts_with(outcome)).unwrap_or_else(|| panic!("{said}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn a_misrouted_record_is_counted_after_it_is_sent_again_and_a_dry_run_sends_nothing() {
    let deployment = refused("replay_send");
    let before = count(&deployment);
    assert_eq!(before.get("message misrouted"), Some(&2), "{before:?}");

    let dry = replay(&deployment, &[]);
    assert_eq!(line(&dry, "misrouted"), [1, 1, 0], "{dry}");
    assert_eq!(line(&dry, "malformed"), [0, 0, 1], "{dry}");
    assert_eq!(line(&dry, "unsupported"), [0, 0, 1], "{dry}");
    assert!(dry.contains("org#app/g/g1") && dry.contains("nothing was sent"), "{dry}");
    assert_eq!(count(&deployment), before);

    let sent = replay(&deployment, &["--outcome", "misrouted", "--app", "org#app", "--send"]);
    assert!(sent.contains("1 records sent again"), "{sent}");
    let after = count(&deployment);
    assert_eq!(after.get("message opened"), Some(&1), "{after:?}");
    assert_eq!(after.get("message misrouted"), Some(&2), "{after:?}");

    // Another time it is a duplicate.
    replay(&deployment, &["--outcome", "misrouted", "--send"]);
    assert_eq!(count(&deployment).get("message duplicate"), Some(&1));
    deployment.assert_verified();
}

#[test]
fn apps_and_times_narrow_what_is_sent() {
    let deployment = refused("replay_narrow");
    count(&deployment);
    let nothing = |arguments: &[&str]| {
        let said = replay(&deployment, arguments);
        assert!(!said.lines().any(|line| line.starts_with("misrouted")), "{said}");
    };
    nothing(&["--app", "other#app"]);
    nothing(&["--to", "2026-01-01T00:00:00Z"]);
    nothing(&["--from", "2100-01-01T00:00:00Z"]);
    let said = replay(&deployment, &["--from", "2026-01-01T00:00:00Z", "--app", "org#app", "--outcome", "misrouted"]);
    assert_eq!(line(&said, "misrouted")[0], 1, "{said}");
}

#[test]
fn what_was_decided_is_not_sent_again() {
    let deployment = Deployment::new("replay_decided", 1, Delivery::ExactlyOnce);
    for (outcome, words) in [("too_late", "duplicate"), ("quota_exceeded", "duplicate"), ("misplaced", "no outcome")] {
        let output = deployment.run(&["replay", "rejections", "--outcome", outcome]);
        assert_eq!(output.status.code(), Some(1));
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(words), "{complaint}");
    }
}
