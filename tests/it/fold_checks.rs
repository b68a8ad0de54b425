//! What is checked before an event moves the watermark (DESIGN.md section 4).

use bumpalo::Bump;
use seenby::event::{Epoch, PartitionId, partition_of};
use seenby::fold::Outcome::{Malformed, Misrouted, Skewed, Stored, Unsupported};
use seenby::fold::fact::{Measure, RejectionFact};
use seenby::fold::{Partition, PartitionIdentity};

use super::support::events::{
    EventBuilder, MINUTE, NOON, OwnedRecord, group_message, in_group, in_single, single_message,
};
use super::support::fold::{AsRecord, Fact, Fold};

fn rejection<'a>(fold: &mut Fold<'a>, record: &dyn AsRecord) -> RejectionFact<'a> {
    let facts = fold.facts_of(record);
    let [Fact::Rejection(rejection)] = facts[..] else { panic!("{facts:?}") };
    rejection
}

fn malformed() -> OwnedRecord {
    OwnedRecord { key: Some(b"key".to_vec()), value: b"{]".to_vec(), control: None }
}

fn misrouted() -> OwnedRecord {
    OwnedRecord { key: None, ..single_message("m").record() }
}

fn unsupported() -> EventBuilder {
    in_single("roster", "alice", "bob").id("r").with("members", serde_json::json!([]))
}

#[test]
fn none_of_the_checks_moves_the_watermark() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.clock = NOON;
    let far = group_message("m").at(NOON + 6 * MINUTE);
    let outcomes = fold.take_all(&[&malformed(), &misrouted(), &far, &unsupported()]);
    assert_eq!(outcomes, [Malformed, Misrouted, Skewed, Unsupported]);
    assert_eq!(fold.partition.watermark().millis(), 0);
    assert_eq!(fold.take(&single_message("m")), Stored);
    assert_eq!(fold.partition.watermark().millis(), NOON);
}

#[test]
fn the_checks_come_in_their_order() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.clock = NOON - 6 * MINUTE;
    let misrouted_and_skewed = OwnedRecord { key: None, ..unsupported().record() };
    assert_eq!(fold.take(&misrouted_and_skewed), Misrouted);
    assert_eq!(fold.take(&unsupported()), Skewed);
}

#[test]
fn a_key_of_another_conversation_is_misrouted_also_when_that_one_is_known() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&group_message("m").to("g2"));
    let keyed_wrongly = OwnedRecord { key: Some(b"org#app/g/g2".to_vec()), ..group_message("m").record() };
    assert_eq!(fold.take(&keyed_wrongly), Misrouted);
}

#[test]
fn a_key_that_belongs_to_another_partition_is_misrouted() {
    let arena = Bump::new();
    let own = partition_of(b"org#app/g/g1", 8);
    let other = PartitionId::new((own.get() + 1) % 8);
    for (partition, expected) in [(own, Stored), (other, Misrouted)] {
        let identity = PartitionIdentity { epoch: Epoch::new(1), partition, partitions: 8 };
        let mut fold = Fold::of(Partition::new(identity), &arena);
        assert_eq!(fold.take(&group_message("m")), expected);
    }
}

#[test]
fn five_minutes_ahead_of_the_record_is_not_skewed_yet() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.clock = NOON - 5 * MINUTE;
    assert_eq!(fold.take_all(&[&group_message("m1"), &group_message("m2").after(1)]), [Stored, Skewed]);
}

#[test]
fn a_record_without_a_time_is_not_checked_for_skew() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.clock = -1;
    assert_eq!(fold.take(&group_message("m")), Stored);
}

#[test]
fn unsupported_are_unknown_types_and_types_of_the_other_kind_of_chat() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let outcomes = fold.take_all(&[
        &in_group("typing", "alice").id("t"),
        &in_group("delivered", "alice").with("message", "m"),
        &in_single("member", "alice", "bob").with("user", "bob").with("change", "join"),
        &unsupported(),
        &in_single("group_destroyed", "alice", "bob"),
    ]);
    assert_eq!(outcomes, [Unsupported; 5]);
}

#[test]
fn rejections_say_what_came_and_why() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let of_malformed = rejection(&mut fold, &malformed());
    assert_eq!(of_malformed.received, Some((Some(&b"key"[..]), &b"{]"[..])));
    assert!(of_malformed.detail.starts_with("record: "), "{}", of_malformed.detail);
    assert_eq!((of_malformed.event.is_none(), of_malformed.conversation), (true, None));

    let of_misrouted = rejection(&mut fold, &misrouted());
    assert_eq!((of_misrouted.event.unwrap().id.as_str(), of_misrouted.conversation), ("m", None));

    let of_unsupported = rejection(&mut fold, &unsupported());
    assert_eq!(of_unsupported.conversation.unwrap().as_str(), "org#app/u/alice/bob");
    assert_eq!(of_unsupported.position.own_offset.get(), 2);
}

#[test]
fn malformed_records_are_counted_without_app_and_unknown_types_without_type() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let broken_control = OwnedRecord { control: Some("policy".to_owned()), ..malformed() };
    fold.take_all(&[&malformed(), &broken_control, &in_group("typing", "alice").id("t"), &unsupported()]);
    let cells: Vec<_> = fold
        .flush()
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ledger(fact) if fact.measure == Measure::Records => {
                Some((fact.app, fact.event_type, fact.outcome, fact.total))
            }
            _ => None,
        })
        .collect();
    let expected =
        [("", "", "malformed", 2), ("org#app", "", "unsupported", 1), ("org#app", "roster", "unsupported", 1)];
    assert_eq!(cells, expected);
}
