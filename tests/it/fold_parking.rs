//! Receipts and recalls that come before their message (DESIGN.md section 4).

use bumpalo::Bump;
use seenby::fold::MAX_PARKED_PER_CONVERSATION;
use seenby::fold::Outcome::{
    Applied, Counted, Duplicate, Expired, NotFound, NotMember, NotRequested, OwnMessage, Parked, Recalled, Stored,
};
use seenby::fold::fact::{Measure, SettlementFact};
use seenby::policy::{Policy, Senders};

use super::support::events::{
    DAY, HOUR, NOON, delivered, group_message, group_read, group_recall, in_single, policy, policy_from, roster,
    single_message, single_read,
};
use super::support::fold::{Fact, Fold};

fn open_to_members(policy: &mut Policy) {
    policy.group.open = true;
    policy.group.senders = Senders::Members;
}

fn settlements<'a>(facts: &[Fact<'a>]) -> Vec<SettlementFact<'a>> {
    facts.iter().filter_map(|fact| if let Fact::Settlement(fact) = fact { Some(*fact) } else { None }).collect()
}

#[test]
fn a_receipt_waits_and_counts_when_its_message_comes() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(
        fold.take_all(&[&delivered("m"), &single_read("m").after(5), &single_message("m")]),
        [Parked, Parked, Stored]
    );
    assert_eq!(fold.settled(), [(0, Counted), (1, Counted)]);
    assert_eq!(fold.receipts(), [("m", "bob", 0), ("m", "bob", 1)]);
    assert_eq!(fold.counts("m"), Some((1, 1, 1)));
    assert_eq!(fold.partition.parked(), 0);
}

#[test]
fn a_settled_receipts_rows_stand_at_its_messages_offset_with_its_own_beside() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_read("m").id("ack"));
    let facts = fold.facts_of(&single_message("m"));
    let position = |fact: &Fact<'_>| fact.position().map(|at| (at.offset.get(), at.own_offset.get()));
    let kinds: Vec<_> = facts.iter().map(|fact| (std::mem::discriminant(fact), position(fact).unwrap())).collect();
    assert_eq!(kinds.iter().map(|(_, position)| *position).collect::<Vec<_>>(), [(1, 1), (1, 0), (1, 0), (1, 0)]);
    assert!(matches!(facts[..], [Fact::Message(_), Fact::Receipt(_), Fact::Notification(_), Fact::Settlement(_)]));
}

#[test]
fn waiting_records_are_settled_in_log_order_as_of_that_point() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, open_to_members));
    fold.take_all(&[
        &group_read("m"),
        &group_read("m").after(1),
        &group_read("m").from("alice"),
        &group_recall("m"),
        &group_read("m").from("carol"),
        &group_recall("m").after(1),
        &group_read("other"),
    ]);
    fold.take(&group_message("m").asking_receipts());
    let expected = [(1, Counted), (2, Duplicate), (3, OwnMessage), (4, Applied), (5, Recalled), (6, Duplicate)];
    assert_eq!(fold.settled(), expected);
    assert_eq!(fold.partition.parked(), 1);
}

#[test]
fn a_roster_that_came_in_between_decides_on_a_waiting_receipt() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, open_to_members));
    fold.take_all(&[&group_read("m"), &roster(&[("alice", "owner")]), &group_message("m").asking_receipts()]);
    assert_eq!(fold.settled(), [(1, NotMember)]);
    let rejection = fold.recorder.facts.iter().find_map(|fact| match fact {
        Fact::Rejection(fact) => Some((fact.outcome, fact.received, fact.event.is_some())),
        _ => None,
    });
    assert_eq!(rejection, Some((NotMember, None, true)), "it is encoded again, as its record is gone");
}

#[test]
fn a_waiting_receipt_past_the_validity_of_the_message_that_comes_is_expired() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| policy.single.validity_days = 1));
    fold.take_all(&[&single_read("m").after(DAY + 1), &delivered("m").after(DAY), &single_message("m")]);
    assert_eq!(fold.settled(), [(1, Expired), (2, Counted)]);
}

#[test]
fn a_receipt_of_a_refused_message_was_not_requested_and_is_no_rejection() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&group_read("m"), &group_message("m")]);
    assert_eq!(fold.settled(), [(0, NotRequested)]);
    assert!(!fold.recorder.facts.iter().any(|fact| matches!(fact, Fact::Rejection(_))));
}

#[test]
fn a_wait_ends_when_the_watermark_passes_the_parking_time_and_not_before() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_read("m"));
    fold.take(&single_message("m1").after(24 * HOUR));
    assert_eq!(fold.settled(), []);
    let facts = fold.facts_of(&single_message("m2").after(24 * HOUR + 1));
    let ended = settlements(&facts);
    assert_eq!(ended.len(), 1);
    assert_eq!((ended[0].outcome, ended[0].event.id.as_str()), (NotFound, "read-m-bob-1772366400000"));
    assert_eq!((ended[0].position.offset.get(), ended[0].position.own_offset.get()), (2, 0));
    assert!(matches!(facts[1], Fact::Rejection(_)));
}

#[test]
fn waits_that_end_at_the_same_event_end_by_deadline_then_by_own_offset() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_read("m").after(2), &single_read("m").after(1), &group_read("m").after(1)]);
    fold.take(&single_message("m9").after(2 * DAY));
    assert_eq!(fold.settled(), [(1, NotFound), (2, NotFound), (0, NotFound)]);
}

#[test]
fn a_wait_that_ended_is_over_also_for_the_event_that_ended_it() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_read("m"));
    fold.take(&single_message("m").after(24 * HOUR + 1));
    assert_eq!(fold.settled(), [(0, NotFound)]);
    assert_eq!(fold.receipts(), []);
}

#[test]
fn a_receipt_older_than_the_parking_time_is_not_found_at_once() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m0"));
    let outcomes = fold.take_all(&[&single_read("m").at(NOON - 24 * HOUR), &delivered("m").at(NOON - 24 * HOUR - 1)]);
    assert_eq!(outcomes, [Parked, NotFound]);
}

#[test]
fn the_parking_time_is_the_policys_at_the_receipts_time_and_stays() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy_from(1, NOON, |policy| policy.parking_hours = 1));
    fold.take(&single_read("m"));
    fold.take(&policy_from(2, NOON, |policy| policy.parking_hours = 48));
    fold.take(&single_message("m1").after(HOUR + 1));
    assert_eq!(fold.settled(), [(1, NotFound)]);
}

#[test]
fn without_parking_hours_a_receipt_of_this_instant_still_waits_for_it() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| policy.parking_hours = 0));
    assert_eq!(fold.take_all(&[&single_read("m"), &single_message("m")]), [Parked, Stored]);
    assert_eq!(fold.settled(), [(1, Counted)]);
}

#[test]
fn a_thousand_records_wait_in_a_conversation_and_no_more() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    for number in 0..MAX_PARKED_PER_CONVERSATION {
        assert_eq!(fold.take(&group_read(&format!("m{}", number % 7)).id(&format!("r{number}"))), Parked);
    }
    assert_eq!(fold.take(&group_recall("m1")), NotFound);
    assert_eq!(fold.take(&group_read("m1").to("g2")), Parked, "another conversation has room");
    fold.take(&group_message("m1"));
    assert_eq!(fold.take(&group_recall("m8")), Parked, "settling made room");
}

#[test]
fn an_expired_message_is_not_there_to_be_settled_against() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&in_single("message", "alice", "bob").id("m"));
    let past = NOON + 7 * DAY + 72 * HOUR + 1;
    fold.take(&single_message("m1").at(past));
    assert_eq!(fold.take(&single_read("m").at(past)), Parked);
    assert_eq!(fold.take(&single_message("m").at(past)), Stored, "the id is free again");
    assert_eq!(fold.settled(), [(2, Counted)]);
}

#[test]
fn settling_is_counted_apart_from_records() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_read("m"), &single_message("m")]);
    let cells: Vec<_> = fold
        .flush()
        .iter()
        .filter_map(|fact| match fact {
            Fact::Ledger(fact) if fact.measure != Measure::Watermark => {
                Some((fact.measure, fact.event_type, fact.outcome, fact.total))
            }
            _ => None,
        })
        .collect();
    let expected = [
        (Measure::Records, "read", "parked", 1),
        (Measure::Delays, "read", "", 1),
        (Measure::Settled, "read", "counted", 1),
        (Measure::Records, "message", "stored", 1),
    ];
    assert_eq!(cells, expected);
}
