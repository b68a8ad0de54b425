//! Restoring a state from facts: what the random logs do not reach.

use bumpalo::Bump;
use seenby::event::{Epoch, EventTime, Offset, PartitionId, RecordTime, partition_of};
use seenby::fold::Outcome::{Counted, Duplicate, NotFound, Opened, Parked, QuotaExceeded, Stored};
use seenby::fold::{Partition, PartitionIdentity, Restore};
use seenby::policy::Senders;

use super::support::events::{
    DAY, HOUR, MINUTE, NOON, group_message, group_read, group_recall, policy, single_conversation_read, single_message,
    single_read,
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

#[test]
fn in_the_stores_order_nothing_is_held_back() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    }));
    // What has left when the last message comes, what is there then, and that message.
    for at in [0, 40 * DAY] {
        fold.take_all(&[
            &group_message("m").asking_receipts().after(at),
            &group_read("m").after(at),
            &group_recall("m").after(at),
            &single_message("s").after(at),
            &single_read("s").after(at),
            &single_message("s2").after(at),
            &single_conversation_read().after(at + 1),
        ]);
    }
    fold.take(&single_message("s3").after(45 * DAY));
    fold.flush();

    let committed = fold.partition.next_offset();
    let (messages, others): (Vec<Fact<'_>>, Vec<Fact<'_>>) =
        fold.recorder.facts.iter().copied().partition(|fact| matches!(fact, Fact::Message(_)));
    let epoch = ONLY_PARTITION.epoch;
    let give = |restore: &mut Restore, fact: &Fact<'_>| match fact {
        Fact::Message(fact) => restore.message(epoch, fact),
        Fact::Receipt(fact) => restore.receipt(epoch, fact),
        Fact::Recall(fact) => restore.recall(epoch, fact),
        Fact::Mark(fact) => restore.mark(epoch, fact),
        Fact::Policy(fact) => restore.policy(epoch, fact),
        Fact::Ledger(fact) => restore.ledger(fact),
        _ => {}
    };
    let restored = |says_when_complete: bool| {
        let mut restore = Restore::new(ONLY_PARTITION, committed, fold.partition.watermark());
        messages.iter().for_each(|fact| give(&mut restore, fact));
        if says_when_complete {
            restore.messages_complete();
        }
        let mut most_held_back = 0;
        for fact in &others {
            give(&mut restore, fact);
            most_held_back = most_held_back.max(restore.held_back());
        }
        (most_held_back, restore.finish().digest())
    };
    assert_eq!(restored(true), (0, fold.partition.digest()));
    let (held_back, digest) = restored(false);
    assert!(held_back >= 4, "two receipts, a recall and marks of what has left: {held_back}");
    assert_eq!(digest, fold.partition.digest(), "the order matters for memory alone");
}

#[test]
fn a_wait_that_is_over_at_the_start_ends_at_the_first_event_though_that_moves_no_watermark() {
    let arena = Bump::new();
    let mut old = Fold::new(&arena);
    old.take(&single_read("early"));
    old.flush();
    // Another partition of the older generation was further ahead.
    let identity = PartitionIdentity { epoch: Epoch::new(2), ..ONLY_PARTITION };
    let watermark = EventTime::from_millis(NOON + 2 * DAY);
    let restore = Restore::new(identity, Offset::new(0), watermark);
    let mut new = Fold::of(restored_from(&old.recorder.facts, restore), &arena);
    assert_eq!(new.partition.parked(), 1);
    assert_eq!(new.take(&single_message("early").after(DAY)), Stored);
    assert_eq!(new.settled(), [(0, NotFound)]);
}

#[test]
fn a_wait_keeps_its_own_generation_and_partition() {
    let arena = Bump::new();
    let older = PartitionIdentity { epoch: Epoch::new(1), partition: PartitionId::new(1), partitions: 2 };
    let is_there = |id: &String| {
        let key = single_read("m").from(id).record().key.expect("a key");
        partition_of(&key, older.partitions) == older.partition
    };
    let reader = (0..).map(|number| format!("reader{number}")).find(is_there).expect("some hash there");
    let mut old = Fold::of(Partition::new(older), &arena);
    assert_eq!(old.take(&single_read("m").from(&reader)), Parked);
    old.flush();

    let identity = PartitionIdentity { epoch: Epoch::new(2), ..ONLY_PARTITION };
    let restore = Restore::new(identity, Offset::new(0), old.partition.watermark());
    let mut new = Fold::of(restored_from(&old.recorder.facts, restore), &arena);
    assert_eq!(new.take(&single_read("m").from(&reader).id("again")), Parked, "at the same offset");
    let facts = new.facts_of(&single_message("m").to(&reader));
    let own_places: Vec<_> = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::Settlement(_) | Fact::Notification(_)))
        .filter_map(Fact::position)
        .map(|place| (place.own_epoch.get(), place.own_partition.get(), place.own_offset.get()))
        .collect();
    assert_eq!(own_places, [(1, 1, 0), (1, 1, 0), (2, 0, 0)], "one counts and is told, the other is a duplicate");
}

#[test]
fn a_restored_state_knows_about_when_its_last_record_was_written() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(fold.partition.about_last_record(), None);
    let about = |fold: &mut Fold<'_>, clock: i64, at: i64| {
        fold.clock = clock;
        fold.take(&single_message(&format!("m{clock}")).at(at));
        fold.flush();
        let committed = fold.partition.next_offset();
        let restored = restored(&fold.recorder.facts, committed, |_| {});
        assert_eq!(restored.about_last_record(), fold.partition.about_last_record());
        restored.about_last_record().map(RecordTime::millis)
    };
    assert_eq!(about(&mut fold, NOON + 10 * MINUTE, NOON + 9 * MINUTE), Some(NOON + 9 * MINUTE), "its event's time");
    assert_eq!(about(&mut fold, NOON + 3 * DAY, NOON + 9 * MINUTE), Some(NOON + 3 * DAY), "old events of a later hour");
    let ahead = NOON + 3 * DAY + HOUR + 2 * MINUTE;
    assert_eq!(about(&mut fold, ahead - 3 * MINUTE, ahead), Some(NOON + 3 * DAY + HOUR - 1), "a clock that is ahead");
}
