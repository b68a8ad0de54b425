//! What a message comes to: stored, opened or refused (DESIGN.md section 4, message).

use bumpalo::Bump;
use seenby::fold::Outcome::{
    Duplicate, NotOpen, NotRequested, Opened, PermissionDenied, QuotaExceeded, Stored, TooLate,
};
use seenby::fold::fact::{MessageFact, MessageStatus};
use seenby::policy::{Policy, QuotaDay, Senders, UnknownSender};

use super::support::events::{
    DAY, HOUR, NOON, group_message, group_read, group_recall, member, policy, policy_from, roster, single_message,
};
use super::support::fold::{AsRecord, Fact, Fold};

fn open_to_members(policy: &mut Policy) {
    policy.group.open = true;
    policy.group.senders = Senders::Members;
}

fn message_fact<'a>(fold: &mut Fold<'a>, record: &dyn AsRecord) -> MessageFact<'a> {
    let facts = fold.facts_of(record);
    let message = facts.iter().find_map(|fact| if let Fact::Message(fact) = fact { Some(*fact) } else { None });
    message.unwrap_or_else(|| panic!("no message in {facts:?}"))
}

#[test]
fn a_single_message_and_a_group_message_that_does_not_ask_are_stored() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(fold.take_all(&[&single_message("m"), &group_message("m")]), [Stored, Stored]);
}

#[test]
fn the_first_message_of_an_id_wins_within_its_conversation() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let first = group_message("m");
    let other_group = group_message("m").to("g2");
    assert_eq!(fold.take_all(&[&first, &first.clone().from("bob"), &other_group]), [Stored, Duplicate, Stored]);
}

#[test]
fn a_message_is_too_late_when_the_watermark_is_past_its_lateness_and_changes_nothing() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let now = group_message("m0").at(NOON);
    let in_time = group_message("m1").at(NOON - 72 * HOUR);
    let late = group_message("m2").at(NOON - 72 * HOUR - 1);
    assert_eq!(fold.take_all(&[&now, &in_time, &late]), [Stored, Stored, TooLate]);
    let facts = fold.facts_of(&late);
    assert!(matches!(facts[..], [Fact::Rejection(_)]), "{facts:?}");
}

#[test]
fn a_known_id_is_a_duplicate_also_when_the_message_would_be_too_late() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let message = single_message("m");
    let much_later = single_message("m2").at(NOON + 5 * DAY);
    assert_eq!(fold.take_all(&[&message, &much_later, &message]), [Stored, Stored, Duplicate]);
}

#[test]
fn without_a_policy_group_receipts_are_not_open() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(fold.take(&group_message("m").asking_receipts().role("owner")), NotOpen);
    assert_eq!(fold.take(&group_read("m")), NotRequested, "a refused message is stored and not open");
}

#[test]
fn by_default_owner_and_admins_may_ask_for_receipts() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| policy.group.open = true));
    let asking = |id: &str, role: &str| group_message(id).asking_receipts().role(role);
    let outcomes = fold.take_all(&[&asking("m1", "owner"), &asking("m2", "admin"), &asking("m3", "member")]);
    assert_eq!(outcomes, [Opened, Opened, PermissionDenied]);
}

#[test]
fn members_may_ask_where_the_policy_lets_them() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, open_to_members));
    assert_eq!(fold.take(&group_message("m").asking_receipts()), Opened);
}

#[test]
fn the_role_in_the_event_goes_before_the_rosters_and_that_before_being_a_member() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.unknown_sender = UnknownSender::Allow;
    }));
    fold.take(&roster(&[("alice", "admin"), ("bob", "member")]));
    let asking = |id: &str, from: &str| group_message(id).asking_receipts().from(from);
    let outcomes = fold.take_all(&[
        &asking("m1", "alice"),
        &asking("m2", "alice").role("member"),
        &asking("m3", "bob"),
        &asking("m4", "bob").role("owner"),
        &asking("m5", "stranger"),
    ]);
    assert_eq!(outcomes, [Opened, PermissionDenied, PermissionDenied, Opened, PermissionDenied]);
}

#[test]
fn where_the_roster_is_unknown_the_policy_says_what_an_unknown_sender_is() {
    let arena = Bump::new();
    for (unknown_sender, expected) in [(UnknownSender::Member, PermissionDenied), (UnknownSender::Allow, Opened)] {
        let mut fold = Fold::new(&arena);
        fold.take(&policy(1, |policy| {
            policy.group.open = true;
            policy.group.unknown_sender = unknown_sender;
        }));
        assert_eq!(fold.take(&group_message("m").asking_receipts()), expected);
    }
}

#[test]
fn single_changes_give_a_role_also_while_the_roster_is_unknown() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| policy.group.open = true));
    fold.take(&member("alice", "admin"));
    assert_eq!(fold.take(&group_message("m").asking_receipts()), Opened);
}

#[test]
fn the_quota_counts_opened_messages_of_a_group_and_a_day() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        open_to_members(policy);
        policy.group.messages_per_day = 2;
    }));
    let asking = |id: &str| group_message(id).asking_receipts();
    let outcomes = fold.take_all(&[
        &group_message("m0"),
        &asking("m1"),
        &asking("m2"),
        &asking("m3"),
        &asking("m4").to("g2"),
        &asking("m5").after(12 * HOUR),
    ]);
    assert_eq!(outcomes, [Stored, Opened, Opened, QuotaExceeded, Opened, Opened]);
}

#[test]
fn a_recall_gives_no_quota_back_and_a_refused_message_takes_none() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let limited = |version: u64, from: i64, per_day: u32| {
        policy_from(version, from, move |policy| {
            open_to_members(policy);
            policy.group.messages_per_day = per_day;
        })
    };
    let asking = |id: &str| group_message(id).asking_receipts();
    fold.take_all(&[&limited(1, 0, 1), &limited(2, NOON + 1, 2)]);
    assert_eq!(fold.take_all(&[&asking("m1"), &asking("m2")]), [Opened, QuotaExceeded]);
    fold.take(&group_recall("m1"));
    assert_eq!(fold.take(&asking("m3")), QuotaExceeded, "the recalled one still counts");
    let under_the_larger_limit = [&asking("m4").after(1) as &dyn AsRecord, &asking("m5").after(1)];
    assert_eq!(fold.take_all(&under_the_larger_limit), [Opened, QuotaExceeded], "refused ones never counted");
}

#[test]
fn a_quota_day_is_a_local_date_of_23_24_or_25_hours() {
    let berlin_midnights = [
        // 2026-03-29 has 23 hours there, 2026-10-25 has 25.
        (1_774_738_800_000, 23),
        (1_774_738_800_000 + 23 * HOUR, 24),
        (1_792_879_200_000, 25),
    ];
    for (midnight, hours) in berlin_midnights {
        let arena = Bump::new();
        let mut fold = Fold::new(&arena);
        fold.take(&policy(1, |policy| {
            open_to_members(policy);
            policy.group.messages_per_day = 1;
            policy.group.timezone = chrono_tz::Europe::Berlin;
        }));
        let asking = |id: &str, at: i64| group_message(id).asking_receipts().at(at);
        let outcomes = fold.take_all(&[
            &asking("m1", midnight - 1),
            &asking("m2", midnight),
            &asking("m3", midnight + hours * HOUR - 1),
            &asking("m4", midnight + hours * HOUR),
        ]);
        assert_eq!(outcomes, [Opened, Opened, QuotaExceeded, Opened], "the day of {hours} hours");
    }
}

#[test]
fn zones_share_the_quota_of_a_date() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let in_zone = |version: u64, from: i64, zone: chrono_tz::Tz| {
        policy_from(version, from, move |policy| {
            open_to_members(policy);
            policy.group.messages_per_day = 1;
            policy.group.timezone = zone;
        })
    };
    fold.take_all(&[&in_zone(1, 0, chrono_tz::UTC), &in_zone(2, NOON + 1, chrono_tz::Asia::Shanghai)]);
    let asking = |id: &str| group_message(id).asking_receipts();
    // 12:00 UTC is 20:00 in Shanghai, of the same date; four hours on the date is another there.
    let outcomes = fold.take_all(&[&asking("m1"), &asking("m2").after(1), &asking("m3").after(4 * HOUR)]);
    assert_eq!(outcomes, [Opened, QuotaExceeded, Opened]);
}

#[test]
fn what_is_fixed_stands_in_the_messages_row() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        open_to_members(policy);
        policy.group.validity_days = 5;
        policy.group.readers_per_message = 9;
        policy.single.validity_days = 90;
    }));
    fold.take(&roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]));

    let opened = message_fact(&mut fold, &group_message("m1").asking_receipts());
    assert_eq!((opened.status, opened.validity_millis, opened.reader_cap), (MessageStatus::Opened, 5 * DAY, 9));
    assert_eq!(opened.quota_day, Some(QuotaDay::from_days((NOON / DAY) as i32)));
    assert_eq!(opened.audience, Some(2), "the roster without the sender");

    let stored = message_fact(&mut fold, &group_message("m2"));
    assert_eq!((stored.status, stored.quota_day, stored.audience), (MessageStatus::Stored, None, None));
    let by_stranger = message_fact(&mut fold, &group_message("m3").asking_receipts().from("dave"));
    assert_eq!(by_stranger.audience, Some(3));
    let single = message_fact(&mut fold, &single_message("m4"));
    assert_eq!((single.validity_millis, single.audience), (90 * DAY, None));
    let elsewhere = message_fact(&mut fold, &group_message("m5").asking_receipts().to("g2"));
    assert_eq!(elsewhere.audience, None, "the roster is unknown there");
}

#[test]
fn the_policy_in_force_is_the_one_at_the_messages_time_among_those_met() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let asking = |id: &str, at: i64| group_message(id).asking_receipts().at(at);
    fold.take(&policy_from(1, NOON, open_to_members));
    assert_eq!(fold.take_all(&[&asking("m1", NOON - 1), &asking("m2", NOON)]), [NotOpen, Opened]);
    fold.take(&policy_from(2, NOON, |_| {}));
    assert_eq!(fold.take(&asking("m3", NOON)), NotOpen, "the greater version of the same time");
}
