//! Erasures (DESIGN.md section 2, control records): a user is forgotten from the record on.

use bumpalo::Bump;
use seenby::fold::Outcome::Opened;
use seenby::fold::Outcome::{
    Applied, Counted, Duplicate, NotFound, NotMember, NotRequested, OwnMessage, Parked, QuotaExceeded, Stored,
};
use seenby::policy::Senders;

use super::support::events::{
    DAY, OwnedRecord, delivered, erase, group_conversation_read, group_message, group_read, group_recall, in_single,
    member, policy, roster, single_conversation_read, single_message, single_read,
};
use super::support::fold::{Fact, Fold};

fn open() -> OwnedRecord {
    policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.messages_per_day = 2;
    })
}

/// The last counts given out of a message: its readers.
fn readers(fold: &mut Fold<'_>, message: &str) -> u32 {
    fold.flush();
    let counts = fold.recorder.facts.iter().rev().find_map(|fact| match fact {
        Fact::Counts(fact) if fact.message.as_str() == message => Some(fact.distinct),
        _ => None,
    });
    counts.unwrap()
}

#[test]
fn a_reader_is_forgotten_and_may_read_again() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&open(), &group_message("m").asking_receipts()]);
    fold.take_all(&[&group_read("m").from("bob"), &group_read("m").from("carol")]);
    assert_eq!(fold.take(&erase(2, "bob")), Applied);
    assert_eq!(readers(&mut fold, "m"), 1, "carol");
    assert_eq!(fold.take_all(&[&group_read("m").from("carol"), &group_read("m").from("bob")]), [Duplicate, Counted]);
    assert_eq!(readers(&mut fold, "m"), 2);
}

#[test]
fn messages_he_sent_in_groups_are_gone_and_their_places_free() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let asking = |id: &str| group_message(id).asking_receipts();
    fold.take_all(&[&open(), &asking("m1").from("bob"), &asking("m2").from("bob"), &group_read("m1").from("carol")]);
    assert_eq!(fold.take(&asking("m3")), QuotaExceeded);
    fold.take(&erase(2, "bob"));
    assert_eq!(fold.take(&group_read("m1").from("dave")), Parked, "there is no such message");
    assert_eq!(
        fold.take_all(&[&asking("m4"), &asking("m1").from("bob"), &asking("m5")]),
        [Opened, Opened, QuotaExceeded]
    );
    assert_eq!(fold.settled(), [(6, Counted)], "what dave read waited for it");
    assert_eq!(fold.take(&group_read("m1").from("carol")), Counted, "what she said of the one before is gone with it");
}

#[test]
fn places_are_given_back_of_messages_that_have_left_the_state_as_well() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let one_a_day = policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.validity_days = 1;
        policy.group.messages_per_day = 1;
        policy.group.timezone = chrono_tz::Pacific::Kiritimati;
    });
    let hour = DAY / 24;
    let on_that_day = |id: &str| group_message(id).asking_receipts().after(-4 * hour);
    fold.take_all(&[&one_a_day, &on_that_day("m").from("bob")]);
    // The message has left, its day has not; one of that day that is still accepted would be refused.
    fold.take(&single_message("later").after(4 * DAY - 4 * hour + 1));
    fold.flush();
    let late = group_message("late").asking_receipts().after(DAY - 14 * hour);
    fold.take(&erase(2, "bob"));
    assert_ne!(fold.take(&late), QuotaExceeded);
}

#[test]
fn his_single_chats_never_were() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &single_read("m"), &single_conversation_read()]);
    fold.take(&in_single("message", "alice", "carol").id("m"));
    fold.take(&erase(1, "bob"));
    assert_eq!(fold.take(&single_message("m")), Stored, "not a duplicate, and no mark has read it");
    assert_eq!(
        fold.take_all(&[&delivered("m"), &single_read("m"), &single_conversation_read()]),
        [Counted, Counted, Applied]
    );
    assert_eq!(fold.take(&in_single("message", "alice", "carol").id("m")), Duplicate, "other chats stay");
}

#[test]
fn his_waits_end_and_those_of_others_go_on() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&open());
    let waiting = [group_read("m").from("bob"), group_read("m").from("carol"), single_read("s")];
    waiting.iter().for_each(|record| assert_eq!(fold.take(record), Parked));
    fold.take(&erase(2, "bob"));
    assert_eq!(fold.settled(), [(1, NotFound), (3, NotFound)]);
    assert_eq!(fold.partition.parked(), 1);
    fold.take(&group_message("m").asking_receipts());
    assert_eq!(fold.settled().last(), Some(&(2, Counted)));
}

#[test]
fn he_is_no_member_and_has_no_mark_until_he_is_again() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &open(),
        &roster(&[("alice", "owner"), ("bob", "member")]),
        &group_conversation_read().from("bob"),
    ]);
    fold.take(&erase(2, "bob"));
    fold.take(&group_message("m").asking_receipts());
    assert_eq!(fold.take(&group_read("m").from("bob")), NotMember);
    assert_eq!(fold.take(&group_conversation_read().from("bob")), Applied, "the same mark moves again");
    assert_eq!(fold.take(&member("bob", "join").after(1)), Applied);
    assert_eq!(fold.take(&group_read("m").from("bob").after(2)), Counted);
}

#[test]
fn what_he_took_back_stays_taken_back() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&open(), &group_message("m").asking_receipts(), &group_recall("m").from("bob")]);
    fold.take(&erase(2, "bob"));
    assert_eq!(fold.take(&group_recall("m").from("carol")), Duplicate);
}

#[test]
fn nobody_of_another_app_and_nobody_else_is_forgotten() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&group_message("m"), &group_message("m").from("bob").app("org#other")]);
    fold.take_all(&[&erase(1, "carol"), &erase(2, "bob")]);
    assert_eq!(fold.take(&group_message("m")), Duplicate);
    assert_eq!(fold.take(&group_message("m").from("bob").app("org#other")), Duplicate);
    assert_eq!(fold.take(&group_read("m").from("alice")), OwnMessage);
    assert_eq!(fold.take(&group_read("m").from("bob")), NotRequested);
}
