//! A part of a partition folded alone, and folds under a policy that was not in force.

use bumpalo::Bump;
use proptest::prelude::*;
use seenby::event::{AppId, Input, Record};
use seenby::fold::Outcome;
use seenby::policy::Policy;

use super::support::events::{
    APP, DAY, HOUR, NOON, OwnedRecord, erase, group_message, group_read, policy, roster, single_message, single_read,
};
use super::support::fold::{Fact, Fold};
use super::support::random_log::{Content, TimedRecord, log};

/// The conversation that is folded alone.
const GROUP: &str = "g1";

fn with_record<T>(record: &TimedRecord, offset: usize, take: impl FnOnce(&Record<'_>) -> T) -> T {
    let arena = Bump::new();
    take(&record.record.at_offset(offset as u64, record.time, &arena))
}

/// Whether a record is of [`GROUP`], or may set its policy.
fn concerns_group(record: &Record<'_>) -> bool {
    match &record.input {
        Input::Event(event) => event.to == GROUP,
        Input::Control(_) => true,
        Input::Malformed { .. } => false,
    }
}

/// The facts of [`GROUP`], as they came.
fn of_group<'a>(fold: &Fold<'a>) -> Vec<Fact<'a>> {
    let conversation = |fact: &Fact<'a>| match fact {
        Fact::Message(fact) => Some(fact.conversation),
        Fact::Receipt(fact) => Some(fact.conversation),
        Fact::Recall(fact) => Some(fact.conversation),
        Fact::Roster(fact) => Some(fact.conversation),
        Fact::Mark(fact) => Some(fact.conversation),
        Fact::Parked(fact) => Some(fact.conversation),
        Fact::Settlement(fact) => Some(fact.conversation),
        Fact::Rejection(fact) => fact.conversation,
        Fact::Notification(fact) => Some(fact.conversation),
        Fact::Counts(fact) => Some(fact.conversation),
        Fact::Policy(_) | Fact::Ledger(_) => None,
    };
    let is_of_group =
        |fact: &Fact<'a>| conversation(fact).is_some_and(|key| key.as_str() == format!("{APP}/g/{GROUP}"));
    fold.recorder.facts.iter().copied().filter(is_of_group).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_conversation_folded_alone_comes_to_what_it_comes_to_among_others(records in log(Content::All, 150)) {
        let arena = Bump::new();
        let (mut whole, mut part) = (Fold::new(&arena), Fold::new(&arena));
        for (offset, record) in records.iter().enumerate() {
            with_record(record, offset, |record| {
                let outcome = whole.partition.apply(record, &mut whole.recorder);
                if concerns_group(record) {
                    assert_eq!(part.partition.apply(record, &mut part.recorder), outcome, "offset {offset}");
                } else {
                    part.partition.pass_over(record, &mut part.recorder);
                }
                assert_eq!(part.partition.watermark(), whole.partition.watermark(), "offset {offset}");
            });
            if offset % 20 == 0 {
                whole.flush();
                part.flush();
            }
        }
        whole.flush();
        part.flush();
        prop_assert_eq!(of_group(&whole), of_group(&part));
    }

    #[test]
    fn the_policy_that_is_in_force_makes_no_difference_where_it_is_assumed(records in log(Content::MessagesAndReceipts, 120)) {
        let arena = Bump::new();
        let mut actual = Fold::new(&arena);
        // The log begins with its one policy, in force at all times.
        let in_force = policy_of(&records);
        let mut assumed = Fold::of(actual.partition.clone(), &arena);
        assumed.partition.assume_policy(AppId::trusted(APP), in_force);
        for (offset, record) in records.iter().enumerate() {
            with_record(record, offset, |record| {
                let outcome = actual.partition.apply(record, &mut actual.recorder);
                assert_eq!(assumed.partition.apply(record, &mut assumed.recorder), outcome, "offset {offset}");
            });
        }
        prop_assert_eq!(actual.final_rows(), assumed.final_rows());
    }
}

/// The policy that the first record of a log brings.
fn policy_of(records: &[TimedRecord]) -> Policy {
    with_record(&records[0], 0, |record| match &record.input {
        Input::Control(seenby::event::Control::Policy(version)) => version.policy.clone(),
        other => panic!("{other:?}"),
    })
}

/// The outcomes of the same records as they were, and under a policy.
fn both(records: &[OwnedRecord], assumed: &Policy) -> (Vec<Outcome>, Vec<Outcome>) {
    let arena = Bump::new();
    let mut actual = Fold::new(&arena);
    let mut other = Fold::of(actual.partition.clone(), &arena);
    other.partition.assume_policy(AppId::trusted(APP), assumed.clone());
    let outcomes = |fold: &mut Fold<'_>| records.iter().map(|record| fold.take(record)).collect();
    (outcomes(&mut actual), outcomes(&mut other))
}

#[test]
fn control_records_are_counted_and_change_nothing_of_what_is_assumed() {
    let mut closed = Policy::DEFAULT;
    closed.parking_hours = 0;
    let records = [
        policy(1, |policy| policy.group.open = true),
        policy(1, |policy| policy.group.open = true),
        erase(2, "bob"),
        group_message("m1").asking_receipts().role("owner").record(),
        group_read("m1").record(),
        group_read("m2").record(),
    ];
    let (actual, assumed) = both(&records, &closed);
    use Outcome::{Applied, Counted, Duplicate, NotFound, NotOpen, NotRequested, Opened, Parked};
    assert_eq!(actual, [Applied, Duplicate, Applied, Opened, Counted, Parked]);
    // A receipt waits while the watermark is not past its time: m2's is the latest so far.
    assert_eq!(assumed[..5], [Applied, Duplicate, Applied, NotOpen, NotRequested]);
    assert_eq!(assumed[5], Parked);
    let later = group_read("m3").at(NOON - 1).record();
    let (_, assumed) = both(&[group_read("m2").record(), later], &closed);
    assert_eq!(assumed, [Parked, NotFound]);
}

#[test]
fn a_policy_assumed_for_one_app_is_none_of_another() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let mut open = Policy::DEFAULT;
    open.group.open = true;
    fold.partition.assume_policy(AppId::trusted(APP), open);
    let asking = group_message("m1").asking_receipts().role("owner");
    assert_eq!(fold.take(&asking), Outcome::Opened);
    assert_eq!(fold.take(&asking.app("org#other")), Outcome::NotOpen);
}

#[test]
fn what_was_given_before_a_policy_is_assumed_stays() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &policy(1, |policy| policy.group.open = true),
        &group_message("m1").asking_receipts().role("owner"),
    ]);
    fold.partition.assume_policy(AppId::trusted(APP), Policy::DEFAULT);
    assert_eq!(fold.take(&group_read("m1")), Outcome::Counted, "it was open when it was sent");
    assert_eq!(fold.take(&group_message("m2").asking_receipts().role("owner")), Outcome::NotOpen);
}

#[test]
fn a_clone_goes_on_by_itself() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&roster(&[("alice", "owner")]), &single_message("s1")]);
    let before = fold.partition.digest();
    let mut clone = Fold::of(fold.partition.clone(), &arena);
    assert_eq!(clone.take(&single_read("s1")), Outcome::Counted);
    assert_eq!(fold.partition.digest(), before);
    assert_ne!(clone.partition.digest(), before);
}

#[test]
fn nothing_is_held_from_before_the_longest_that_a_policy_of_the_app_admits() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&single_message("s1"));
    let reach = |fold: &Fold<'_>, app| NOON - fold.partition.holds_nothing_before(AppId::trusted(app)).millis();
    assert_eq!(reach(&fold, APP), 10 * DAY, "7 days of validity of single messages, and 3 of lateness");
    fold.take(&policy(1, |policy| policy.group.validity_days = 30));
    assert_eq!(reach(&fold, APP), 33 * DAY);
    fold.take(&policy(2, |policy| policy.parking_hours = 1_000));
    assert_eq!(reach(&fold, APP), 1_000 * HOUR);
    assert_eq!(reach(&fold, "org#other"), 10 * DAY);
}
