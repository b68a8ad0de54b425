//! Conversation reads (DESIGN.md section 4, conversation_read).

use bumpalo::Bump;
use seenby::fold::Outcome::{Applied, Counted, Duplicate, NoChange, Recalled, TooLate};
use seenby::fold::fact::{Measure, NotificationKind};

use super::support::events::{
    DAY, HOUR, NOON, delivered, group_conversation_read, in_single, policy, single_conversation_read, single_message,
    single_read, single_recall,
};
use super::support::fold::{Fact, Fold};

/// How many messages marks have read, by the delays counted for them.
fn read_by_marks(fold: &mut Fold<'_>) -> u64 {
    fold.flush();
    let delays = |fact: &Fact<'_>| match fact {
        Fact::Ledger(fact) if fact.measure == Measure::Delays && fact.event_type == "conversation_read" => {
            Some(fact.total)
        }
        _ => None,
    };
    fold.recorder.facts.iter().rev().find_map(delays).unwrap_or(0)
}

#[test]
fn a_mark_is_applied_where_it_moves() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    for mark in [single_conversation_read(), group_conversation_read()] {
        let outcomes = fold.take_all(&[&mark, &mark, &mark.clone().at(NOON - 1), &mark.clone().after(1)]);
        assert_eq!(outcomes, [Applied, NoChange, NoChange, Applied]);
    }
    let rows = fold.recorder.facts.iter().filter(|fact| matches!(fact, Fact::Mark(_))).count();
    assert_eq!(rows, 4);
}

#[test]
fn a_mark_is_too_late_like_a_message() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m"));
    let mark = single_conversation_read();
    let outcomes = fold.take_all(&[&mark.clone().at(NOON - 72 * HOUR - 1), &mark.at(NOON - 72 * HOUR)]);
    assert_eq!(outcomes, [TooLate, Applied]);
}

#[test]
fn a_mark_reads_what_the_peer_sent_up_to_it_and_a_later_read_is_a_duplicate() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &single_message("m1"),
        &single_message("m2").after(10),
        &single_message("m3").after(11),
        &in_single("message", "bob", "alice").id("m4"),
        &single_conversation_read().after(10),
    ]);
    assert_eq!(read_by_marks(&mut fold), 2);
    let read_of_bobs = in_single("read", "alice", "bob").with("message", "m4").after(12);
    let outcomes = fold.take_all(&[
        &single_read("m1").after(12),
        &single_read("m2").after(12),
        &single_read("m3").after(12),
        &read_of_bobs,
    ]);
    assert_eq!(outcomes, [Duplicate, Duplicate, Counted, Counted]);
}

#[test]
fn a_message_read_through_a_mark_is_no_receipt_and_not_counted_among_readers() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &delivered("m"), &single_conversation_read()]);
    assert_eq!(fold.counts("m"), Some((0, 0, 1)));
    assert_eq!(fold.receipts(), [("m", "bob", 1)], "the delivery alone");
}

#[test]
fn delivered_counts_also_after_a_mark() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &single_conversation_read()]);
    assert_eq!(fold.take(&delivered("m").after(1)), Counted);
}

#[test]
fn a_mark_passes_over_what_was_read_or_recalled() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &single_message("read"),
        &single_message("recalled"),
        &single_read("read"),
        &single_recall("recalled"),
        &single_conversation_read().after(1),
    ]);
    assert_eq!(read_by_marks(&mut fold), 0);
    assert_eq!(fold.take(&single_read("recalled").after(2)), Recalled);
}

#[test]
fn a_mark_reads_within_the_validity_only() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| policy.single.validity_days = 1));
    fold.take_all(&[&single_message("m1"), &single_message("m2").after(1), &single_conversation_read().after(DAY + 1)]);
    assert_eq!(read_by_marks(&mut fold), 1);
    assert_eq!(fold.take_all(&[&single_read("m1").after(2), &single_read("m2").after(2)]), [Counted, Duplicate]);
}

#[test]
fn a_message_that_comes_after_the_mark_that_covers_it_is_read_on_arrival() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_conversation_read(), &single_message("m1").at(NOON), &single_message("m2").after(1)]);
    assert_eq!(read_by_marks(&mut fold), 1);
    assert_eq!(fold.take_all(&[&single_read("m1").after(2), &single_read("m2").after(2)]), [Duplicate, Counted]);
}

#[test]
fn the_mark_goes_before_what_waits_for_the_message() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_read("m"), &single_recall("m"), &single_conversation_read(), &single_message("m")]);
    assert_eq!(fold.settled(), [(0, Duplicate), (1, Applied)]);
    assert_eq!(read_by_marks(&mut fold), 1);
}

#[test]
fn the_peer_is_told_once_per_applied_mark() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m1"), &single_message("m2")]);
    fold.take_all(&[&single_conversation_read(), &single_conversation_read()]);
    let told: Vec<_> = fold
        .recorder
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Notification(fact) => Some((fact.kind, fact.told.as_str(), fact.reader.as_str(), fact.message)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(NotificationKind::ConversationRead, "alice", "bob", None)]);
}

#[test]
fn marks_in_groups_and_in_a_conversation_with_oneself_tell_nobody_and_read_nothing() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&in_single("message", "bob", "bob").id("note"));
    let of_oneself = in_single("conversation_read", "bob", "bob");
    assert_eq!(fold.take_all(&[&of_oneself, &group_conversation_read()]), [Applied, Applied]);
    assert_eq!(read_by_marks(&mut fold), 0);
    assert!(!fold.recorder.facts.iter().any(|fact| matches!(fact, Fact::Notification(_))));
}
