//! Control records (DESIGN.md section 2, control records).

use bumpalo::Bump;
use seenby::fold::Outcome::{Applied, Duplicate, Malformed, Opened};
use seenby::policy::Senders;

use super::support::events::{NOON, OwnedRecord, erase, group_message, policy, policy_from, single_message};
use super::support::fold::{Fact, Fold};

#[test]
fn a_version_of_an_app_is_met_once_and_the_first_stays() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let first = policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    });
    let second = policy(1, |policy| policy.group.open = false);
    assert_eq!(fold.take_all(&[&first, &first, &second]), [Applied, Duplicate, Duplicate]);
    assert_eq!(fold.take(&group_message("m").asking_receipts()), Opened);
}

#[test]
fn policies_and_erasures_share_their_version_numbers() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(fold.take_all(&[&erase(1, "bob"), &policy(1, |_| {}), &erase(2, "bob")]), [Applied, Duplicate, Applied]);
    let rows = fold.recorder.facts.iter().filter(|fact| matches!(fact, Fact::Policy(_))).count();
    assert_eq!(rows, 2);
}

#[test]
fn key_record_time_and_watermark_do_not_apply() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.clock = NOON;
    let of_the_future = policy_from(9, NOON + 1_000_000_000, |_| {});
    let keyed = OwnedRecord { key: Some(b"whatever".to_vec()), ..erase(10, "bob") };
    assert_eq!(fold.take_all(&[&of_the_future, &keyed]), [Applied, Applied]);
    assert_eq!(fold.partition.watermark().millis(), 0);
}

#[test]
fn the_header_decides_what_is_a_control_record() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let event_with_header = OwnedRecord { control: Some("policy".to_owned()), ..single_message("m").record() };
    assert_eq!(fold.take(&event_with_header), Malformed);
}
