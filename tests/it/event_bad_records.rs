//! Each of the hand-made bad records is bad for the reason that the table gives, as far as it can be told without state.

use std::collections::HashSet;

use bumpalo::Bump;
use seenby::event::{Body, Input, partition_of};
use seenby::fold::{LATENESS_MILLIS, MAX_SKEW_MILLIS, Outcome};

use crate::support::bad_records::bad_records;
use crate::support::events::NOON;

const PARTITIONS: u32 = 8;

#[test]
fn the_table_holds_at_least_40_different_records() {
    let records = bad_records(NOON);
    let names: HashSet<&str> = records.iter().map(|bad| bad.name).collect();
    assert_eq!(names.len(), records.len());
    assert!(records.len() >= 40, "{}", records.len());
}

#[test]
fn every_record_is_bad_for_the_reason_given() {
    for bad in bad_records(NOON) {
        let arena = Bump::new();
        let record = bad.record.at_offset(0, NOON, &arena);
        let name = bad.name;
        let event = match &record.input {
            Input::Malformed { reason, control } => {
                assert_eq!(bad.outcome, Outcome::Malformed, "{name}: {reason}");
                assert_eq!(bad.field, reason.field, "{name}: {reason}");
                assert_eq!(*control, bad.record.control.is_some(), "{name}");
                continue;
            }
            Input::Event(event) => event,
            Input::Control(control) => panic!("{name}: {control:?}"),
        };

        let key = record.key.unwrap_or_default();
        let stands_in_its_partition = bad.partition(PARTITIONS) == partition_of(key, PARTITIONS);
        let is_routed = event.matches_key(key).is_some() && stands_in_its_partition;
        let is_skewed = event.at.millis() - NOON > MAX_SKEW_MILLIS;
        let is_unsupported = matches!(event.body, Body::Unsupported { .. });
        let is_late = NOON - event.at.millis() > LATENESS_MILLIS;
        let outcome = match () {
            () if !is_routed => Outcome::Misrouted,
            () if is_skewed => Outcome::Skewed,
            () if is_unsupported => Outcome::Unsupported,
            () if is_late => Outcome::TooLate,
            () => panic!("{name}: a good record"),
        };
        assert_eq!(outcome, bad.outcome, "{name}");
    }
}
