//! Restoring a state from facts: what the random logs do not reach.

use bumpalo::Bump;
use seenby::event::{Epoch, Offset};
use seenby::fold::Outcome::{Counted, Duplicate, Opened, Parked, QuotaExceeded, Stored};
use seenby::fold::{PartitionIdentity, Restore};
use seenby::policy::Senders;

use super::support::events::{
    DAY, HOUR, group_message, group_read, policy, single_conversation_read, single_message, single_read,
};
use super::support::fold::{Fact, Fold, ONLY_PARTITION, restored, restored_from};

#[test]
fn a_new_generation_goes_on_where_the_older_one_ended() {
    let arena = Bump::new();
    let mut old = Fold::new(&arena);
    old.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.messages_per_day = 1;
    }));
    old.take_all(&[&group_message("m").asking_receipts(), &group_read("m"), &single_read("early")]);
    old.flush();

    let identity = PartitionIdentity { epoch: Epoch::new(2), ..ONLY_PARTITION };
    let restore = Restore::new(identity, Offset::new(0), old.partition.watermark());
    let mut new = Fold::of(restored_from(&old.recorder.facts, restore), &arena);
    assert_eq!(new.partition.next_offset().get(), 0);
    let outcomes = new.take_all(&[
        &group_message("m").asking_receipts(),
        &group_read("m"),
        &group_read("m").from("carol"),
        &group_message("m2").asking_receipts(),
        &single_message("early"),
    ]);
    assert_eq!(outcomes, [Duplicate, Duplicate, Counted, QuotaExceeded, Stored]);
    assert_eq!(new.settled(), [(3, Counted)], "by its own offset in the older generation");
}

#[test]
fn waits_of_an_older_generation_end_before_those_of_the_new_one() {
    let arena = Bump::new();
    let mut old = Fold::new(&arena);
    old.take_all(&[&single_message("m0"), &single_message("m1"), &single_read("early")]);
    old.flush();
    let identity = PartitionIdentity { epoch: Epoch::new(2), ..ONLY_PARTITION };
    let restore = Restore::new(identity, Offset::new(0), old.partition.watermark());
    let mut new = Fold::of(restored_from(&old.recorder.facts, restore), &arena);
    assert_eq!(new.take(&single_read("early-too")), Parked);
    new.take(&single_message("m2").after(24 * HOUR + 1));
    let own_offsets: Vec<u64> = new.settled().into_iter().map(|(own_offset, _)| own_offset).collect();
    assert_eq!(own_offsets, [2, 0]);
}

#[test]
fn rows_of_a_worker_that_died_before_its_commit_are_not_seen_yet() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &single_read("m"), &single_conversation_read(), &single_read("m2")]);
    fold.flush();
    // All facts are handed over, those at and after the committed offset among them.
    let restore = Restore::new(ONLY_PARTITION, Offset::new(1), fold.partition.watermark());
    let mut again = Fold::of(restored_from(&fold.recorder.facts, restore), &arena);
    assert_eq!(again.partition.parked(), 0);
    assert_eq!(again.take(&single_read("m")), Counted);
}

#[test]
fn a_message_that_left_still_counts_on_its_quota_day() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.validity_days = 1;
        policy.group.messages_per_day = 1;
        policy.group.timezone = chrono_tz::Pacific::Kiritimati;
    }));
    // 22:00 of the date there, and the first watermark at which the message has left.
    let asking = |id: &str| group_message(id).asking_receipts().after(-4 * HOUR);
    assert_eq!(fold.take(&asking("m")), Opened);
    fold.take(&single_message("later").after(4 * DAY - 4 * HOUR + 1));
    fold.flush();
    let committed = fold.partition.next_offset();
    let state = restored(&fold.recorder.facts, committed, |_| {});
    assert_eq!(state.digest(), fold.partition.digest());
    let is_message = |fact: &&Fact<'_>| matches!(fact, Fact::Message(_));
    let without_messages: Vec<Fact<'_>> =
        fold.recorder.facts.iter().filter(|fact| !is_message(fact)).copied().collect();
    assert_ne!(restored(&without_messages, committed, |_| {}).digest(), fold.partition.digest());
}
