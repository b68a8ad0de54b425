//! What leaves the state, when, and that its memory is given back (DESIGN.md section 4, leaving the state).

use bumpalo::Bump;
use seenby::fold::Outcome::{Counted, Duplicate, Expired, NoChange, Opened, Parked, QuotaExceeded, Stored};
use seenby::policy::{Policy, Senders};

use super::support::events::{
    DAY, HOUR, NOON, group_message, group_read, policy, single_conversation_read, single_message, single_read,
};
use super::support::fold::{Fact, Fold};

const SINGLE_LIFE: i64 = 7 * DAY + 72 * HOUR;

#[test]
fn a_message_leaves_when_the_watermark_is_past_validity_and_lateness() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_message("m"), &single_message("m1").after(SINGLE_LIFE)]);
    assert_eq!(fold.take(&single_read("m").after(SINGLE_LIFE)), Expired, "still there");
    fold.take(&single_message("m2").after(SINGLE_LIFE + 1));
    assert_eq!(fold.take(&single_read("m").after(SINGLE_LIFE)), Parked, "as if it had never been");
}

#[test]
fn an_id_used_again_is_a_new_message_with_counts_of_its_own() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let later = NOON + SINGLE_LIFE + 1;
    let outcomes = fold.take_all(&[
        &single_message("m"),
        &single_read("m"),
        &single_message("m").at(later),
        &single_message("m").at(later),
        &single_read("m").at(later),
    ]);
    assert_eq!(outcomes, [Stored, Counted, Stored, Duplicate, Counted]);
    let counts: Vec<_> = fold
        .flush()
        .iter()
        .filter_map(|fact| match fact {
            Fact::Counts(fact) => Some((fact.sent_at.millis(), fact.distinct)),
            _ => None,
        })
        .collect();
    assert_eq!(counts, [(NOON, 1), (later, 1)], "those of the first life too, though it left within the batch");
}

#[test]
fn a_quota_day_outlives_every_message_that_can_still_count_on_it() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        policy.group.messages_per_day = 1;
        policy.group.validity_days = 1;
        // 12:00 UTC is 02:00 of the next date there: the latest date of all zones.
        policy.group.timezone = chrono_tz::Pacific::Kiritimati;
    }));
    let asking = |id: &str| group_message(id).asking_receipts();
    assert_eq!(fold.take(&asking("m1")), Opened);
    // The watermark is as far ahead as it may be for a message of the end of that date.
    let end_of_date = NOON + 22 * HOUR - 1;
    fold.take(&single_message("s").at(end_of_date + 72 * HOUR));
    fold.flush();
    assert_eq!(fold.take(&asking("m2").at(end_of_date)), QuotaExceeded);
}

#[test]
fn a_mark_that_left_is_missed_by_nothing_that_is_accepted() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[&single_conversation_read(), &single_message("m1").at(NOON + 72 * HOUR)]);
    assert_eq!(fold.take(&single_conversation_read()), NoChange, "to the last instant");
    assert_eq!(fold.take(&single_message("m2").at(NOON)), Stored);
    assert_eq!(fold.take(&single_read("m2").after(1)), Duplicate, "read on arrival");
}

#[test]
fn memory_is_given_back_when_everything_has_left() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    }));
    // Two years of event time in one hour of record time.
    fold.clock = NOON + 3 * 365 * DAY;
    let full: Vec<usize> = (0..5)
        .map(|round| {
            fill(&mut fold, round, NOON + round * 150 * DAY);
            let full = fold.partition.state_bytes();
            fold.take(&single_message("m").at(NOON + (round + 1) * 150 * DAY - DAY));
            for _ in 0..1_000 {
                fold.flush();
            }
            // Tables keep their places for the next values; names, ids, reader sets and waiting records are gone.
            let left = fold.partition.state_bytes();
            assert!(left < full * 6 / 10, "{full} to {left}");
            assert_eq!(fold.partition.parked(), 0);
            full
        })
        .collect();
    assert!(full.iter().max() < full.iter().min().map(|least| least * 11 / 10).as_ref(), "grows: {full:?}");
}

#[test]
fn quota_days_of_a_group_that_is_never_silent_are_given_back() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    }));
    let bytes: Vec<usize> = (100..200)
        .map(|day| {
            assert_eq!(fold.take(&group_message(&format!("m{day}")).asking_receipts().after(day * DAY)), Opened);
            fold.flush();
            fold.partition.state_bytes()
        })
        .collect();
    let (first_days, later) = bytes.split_at(20);
    assert!(later.iter().max() <= first_days.iter().max(), "grows: {bytes:?}");
}

#[test]
fn policies_and_version_numbers_are_in_the_books() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |_| {}));
    let with_one = fold.partition.state_bytes();
    for version in 2..=100 {
        fold.take(&policy(version, |_| {}));
    }
    assert!(fold.partition.state_bytes() - with_one >= 99 * (size_of::<Policy>() + size_of::<u64>()));
}

/// 300 group messages read by eight users each, 300 single messages, and 300 receipts that wait.
fn fill(fold: &mut Fold<'_>, round: i64, at: i64) {
    for number in 0..300 {
        let group = format!("g{}-{round}", number % 30);
        let id = format!("a-message-with-a-rather-long-id-{number}");
        assert_eq!(fold.take(&group_message(&id).to(&group).asking_receipts().at(at)), Opened);
        for reader in 0..8 {
            let reader = format!("a-reader-with-a-long-name-{reader}-{round}");
            assert_eq!(fold.take(&group_read(&id).to(&group).from(&reader).at(at)), Counted);
        }
        let sender = format!("sender{number}-{round}");
        assert_eq!(fold.take(&single_message(&id).from(&sender).at(at)), Stored);
        assert_eq!(fold.take(&single_read("never-sent").to(&sender).at(at)), Parked);
    }
    fold.flush();
}
