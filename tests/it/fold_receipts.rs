//! What a receipt comes to when its message is there (DESIGN.md section 4, delivered and read).

use bumpalo::Bump;
use seenby::fold::Outcome::{Applied, Counted, Duplicate, Expired, NotMember, NotRequested, OwnMessage, Recalled};
use seenby::fold::delay;
use seenby::fold::fact::{Measure, NotificationFact, NotificationKind};
use seenby::policy::Senders;

use super::support::events::{
    DAY, HOUR, NOON, delivered, group_message, group_read, group_recall, in_single, member, policy, policy_from,
    roster, single_message, single_read, single_recall,
};
use super::support::fold::{Fact, Fold};

/// A group open to everybody, with one message of alice that asks for receipts.
fn fold_with_opened_message(arena: &Bump) -> Fold<'_> {
    let mut fold = Fold::new(arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.readers_per_message = 2;
    }));
    fold.take(&group_message("m").asking_receipts());
    fold
}

fn notifications<'a>(facts: &[Fact<'a>]) -> Vec<NotificationFact<'a>> {
    facts.iter().filter_map(|fact| if let Fact::Notification(fact) = fact { Some(*fact) } else { None }).collect()
}

#[test]
fn ones_own_message_is_refused_before_anything_else() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take_all(&[&group_recall("m"), &single_message("s")]);
    let own = in_single("read", "alice", "bob").with("message", "s");
    assert_eq!(fold.take_all(&[&group_read("m").from("alice"), &own]), [OwnMessage, OwnMessage]);
}

#[test]
fn in_a_conversation_with_oneself_every_receipt_is_of_ones_own_message() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m").to("alice"));
    assert_eq!(fold.take(&in_single("read", "alice", "alice").with("message", "m")), OwnMessage);
}

#[test]
fn a_reader_counts_once_and_the_first_receipt_stays() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    assert_eq!(fold.take_all(&[&group_read("m"), &group_read("m").after(1)]), [Counted, Duplicate]);
    assert_eq!(fold.receipts(), [("m", "bob", 2)]);
    assert_eq!(fold.counts("m"), Some((1, 1, 0)));
}

#[test]
fn delivered_and_read_count_apart() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m"));
    let outcomes = fold.take_all(&[&delivered("m"), &delivered("m"), &single_read("m"), &single_read("m")]);
    assert_eq!(outcomes, [Counted, Duplicate, Counted, Duplicate]);
    assert_eq!(fold.counts("m"), Some((1, 1, 1)));
}

#[test]
fn a_read_adds_nothing_to_delivery_times() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &single_read("m")]);
    assert_eq!(fold.counts("m"), Some((1, 1, 0)));
    let delays = |fact: &Fact<'_>| matches!(fact, Fact::Ledger(fact) if fact.measure == Measure::Delays && fact.event_type == "delivered");
    assert!(!fold.recorder.facts.iter().any(delays));
}

#[test]
fn a_receipt_of_a_recalled_message_is_refused_unless_it_had_counted() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    let outcomes = fold.take_all(&[
        &group_read("m"),
        &group_recall("m").from("moderator"),
        &group_recall("m"),
        &group_read("m"),
        &group_read("m").from("carol"),
    ]);
    assert_eq!(outcomes, [Counted, Applied, Duplicate, Duplicate, Recalled]);
}

#[test]
fn a_group_message_that_is_not_open_takes_no_receipts_and_a_recall_says_so_first() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take(&group_message("plain"));
    let read = group_read("plain");
    assert_eq!(fold.take_all(&[&read, &group_recall("plain"), &read]), [NotRequested, Applied, Recalled]);
}

#[test]
fn a_receipt_counts_to_the_last_instant_of_the_validity() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    let in_time = group_read("m").after(3 * DAY);
    let late = group_read("m").from("carol").after(3 * DAY + 1);
    assert_eq!(fold.take_all(&[&in_time, &late]), [Counted, Expired]);
}

#[test]
fn a_message_keeps_the_validity_it_was_folded_with() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m"));
    fold.take(&policy(1, |policy| policy.single.validity_days = 1));
    assert_eq!(fold.take(&single_read("m").after(7 * DAY)), Counted);
}

#[test]
fn where_the_roster_is_known_readers_are_members_at_this_point_of_the_log() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    assert_eq!(fold.take(&group_read("m").from("guest")), Counted, "nobody knows the roster yet");
    fold.take(&roster(&[("alice", "owner"), ("bob", "member")]));
    assert_eq!(fold.take_all(&[&group_read("m"), &group_read("m").from("carol")]), [Counted, NotMember]);
    fold.take(&member("carol", "join"));
    assert_eq!(fold.take(&group_read("m").from("carol")), Counted);
}

#[test]
fn expired_goes_before_not_member() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take(&roster(&[("alice", "owner")]));
    assert_eq!(fold.take(&group_read("m").after(3 * DAY + 1)), Expired);
}

#[test]
fn reading_before_sending_counts_with_delay_0() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    assert_eq!(fold.take(&group_read("m").at(NOON - HOUR)), Counted);
    let facts = fold.flush();
    let buckets = facts.iter().find_map(|fact| match fact {
        Fact::Ledger(fact) if fact.measure == Measure::Delays => Some(fact.buckets),
        _ => None,
    });
    assert_eq!(buckets, Some(&[(0, 1)][..]));
}

#[test]
fn delays_stand_in_their_buckets() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take_all(&[
        &group_read("m").after(1_000),
        &group_read("m").from("carol").after(1_000),
        &group_read("m").from("dave").after(HOUR),
    ]);
    let facts = fold.flush();
    let delays = facts.iter().find_map(|fact| match fact {
        Fact::Ledger(fact) if fact.measure == Measure::Delays => Some((fact.event_type, fact.total, fact.buckets)),
        _ => None,
    });
    let buckets = [(delay::bucket_of(1_000), 2), (delay::bucket_of(HOUR as u64), 1)];
    assert_eq!(delays, Some(("read", 3, &buckets[..])));
}

#[test]
fn every_reader_is_distinct_and_only_the_cap_is_retained() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    for reader in ["bob", "carol", "dave"] {
        assert_eq!(fold.take(&group_read("m").from(reader)), Counted);
    }
    assert_eq!(fold.counts("m"), Some((3, 2, 0)));
    assert_eq!(fold.take(&group_read("m").after(1)), Duplicate, "who fell off and acks again");
}

#[test]
fn the_sender_is_told_with_the_count_after_in_groups() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take(&group_read("m").from("carol"));
    let facts = fold.facts_of(&group_read("m").id("ack").content("seen"));
    let told = notifications(&facts);
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].kind, told[0].told.as_str(), told[0].reader.as_str()),
        (NotificationKind::Read, "alice", "bob")
    );
    assert_eq!((told[0].group_read_count, told[0].content, told[0].ack_id.as_str()), (Some(2), Some("seen"), "ack"));
}

#[test]
fn in_a_single_chat_the_sender_is_told_without_a_count() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m"));
    let told = notifications(&fold.facts_of(&delivered("m")));
    assert_eq!((told[0].kind, told[0].told.as_str()), (NotificationKind::Delivered, "alice"));
    assert_eq!(told[0].group_read_count, None);
}

#[test]
fn whether_to_notify_is_the_policys_at_the_receipts_time_among_those_met_when_it_counts() {
    let arena = Bump::new();
    let mut fold = fold_with_opened_message(&arena);
    fold.take(&policy_from(2, NOON + HOUR, |policy| policy.notify = false));
    let before = fold.facts_of(&group_read("m").after(HOUR - 1));
    let after = fold.facts_of(&group_read("m").from("carol").after(HOUR));
    assert_eq!((notifications(&before).len(), notifications(&after).len()), (1, 0));
}

#[test]
fn a_recall_is_applied_once_whoever_takes_back() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("m"));
    let by_peer = in_single("recall", "bob", "alice").with("message", "m");
    assert_eq!(fold.take_all(&[&by_peer, &single_recall("m")]), [Applied, Duplicate]);
}
