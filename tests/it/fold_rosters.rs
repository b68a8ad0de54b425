//! Rosters and changes of single members (DESIGN.md section 4, member, roster, group_destroyed).

use bumpalo::Bump;
use seenby::event::Role::{self, Admin, Member, Owner};
use seenby::fold::Outcome::{Applied, Counted, NoChange, NotMember, Opened, Stale};
use seenby::policy::Senders;

use super::support::events::{HOUR, NOON, group_destroyed, group_message, group_read, member, policy, roster};
use super::support::fold::{AsRecord, Fact, Fold};

/// A roster row as tests compare it: the change's name, the user, his role, and since when he is a member.
type Row<'a> = (&'static str, Option<&'a str>, Option<Role>, Option<i64>);

fn rows<'a>(fold: &mut Fold<'a>, record: &dyn AsRecord) -> Vec<Row<'a>> {
    let row = |fact: &Fact<'a>| match fact {
        Fact::Roster(fact) => Some((
            fact.change.name(),
            fact.user.map(|user| user.as_str()),
            fact.role,
            fact.joined_at.map(|at| at.millis()),
        )),
        _ => None,
    };
    fold.facts_of(record).iter().filter_map(row).collect()
}

#[test]
fn a_join_makes_a_member_and_keeps_the_role_of_one() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(rows(&mut fold, &member("bob", "join")), [("join", Some("bob"), Some(Member), Some(NOON))]);
    assert_eq!(fold.take(&member("bob", "admin").after(1)), Applied);
    let again = member("bob", "join").after(2);
    assert_eq!(rows(&mut fold, &again), [("join", Some("bob"), Some(Admin), Some(NOON))]);
    assert_eq!(fold.take(&again), NoChange);
}

#[test]
fn a_role_implies_joining_and_another_role_is_no_joining() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    assert_eq!(rows(&mut fold, &member("bob", "owner")), [("owner", Some("bob"), Some(Owner), Some(NOON))]);
    let demoted = member("bob", "member").after(5);
    assert_eq!(rows(&mut fold, &demoted), [("member", Some("bob"), Some(Member), Some(NOON))]);
}

#[test]
fn who_leaves_and_comes_back_joined_anew() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&member("bob", "admin"));
    assert_eq!(rows(&mut fold, &member("bob", "leave").after(1)), [("leave", Some("bob"), None, None)]);
    let back = member("bob", "join").after(2);
    assert_eq!(rows(&mut fold, &back), [("join", Some("bob"), Some(Member), Some(NOON + 2))]);
}

#[test]
fn a_change_to_what_already_is_so_still_moves_the_last_change_time() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let outcomes = fold.take_all(&[
        &member("bob", "join"),
        &member("bob", "join").after(10),
        &member("bob", "leave").after(9),
        &member("bob", "leave").after(10),
        &member("bob", "leave").after(10),
    ]);
    assert_eq!(outcomes, [Applied, NoChange, Stale, Applied, NoChange]);
}

#[test]
fn a_stale_change_writes_nothing() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&member("bob", "join"));
    assert_eq!(fold.facts_of(&member("bob", "leave").at(NOON - 1)), []);
}

#[test]
fn a_roster_writes_a_head_and_a_row_for_each_user_it_changed() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &member("dora", "join"),
        &member("bob", "join"),
        &member("alice", "owner"),
        &member("carl", "join"),
    ]);
    let whole = roster(&[("erik", "admin"), ("alice", "owner"), ("carl", "admin")]).after(1);
    let expected = [
        ("roster", None, None, None),
        ("by_roster", Some("erik"), Some(Admin), Some(NOON + 1)),
        ("by_roster", Some("carl"), Some(Admin), Some(NOON)),
        ("by_roster", Some("bob"), None, None),
        ("by_roster", Some("dora"), None, None),
    ];
    assert_eq!(rows(&mut fold, &whole), expected);
}

#[test]
fn a_roster_is_a_change_of_every_user_named_or_not() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&roster(&[("alice", "owner")]));
    let earlier = [&member("bob", "join").at(NOON - 1) as &dyn AsRecord, &member("alice", "leave").at(NOON - 1)];
    assert_eq!(fold.take_all(&earlier), [Stale, Stale]);
    assert_eq!(fold.take(&member("bob", "join")), Applied, "at the same time it is not older");
}

#[test]
fn a_roster_keeps_single_changes_that_are_newer() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take_all(&[
        &member("alice", "admin").after(2),
        &member("bob", "join").after(2),
        &member("carl", "leave").after(2),
    ]);
    let whole = roster(&[("alice", "owner"), ("carl", "member")]).after(1);
    assert_eq!(rows(&mut fold, &whole), [("roster", None, None, None)]);
    let joined_at_the_same_time = roster(&[("alice", "owner")]).after(2);
    assert_eq!(
        rows(&mut fold, &joined_at_the_same_time),
        [
            ("roster", None, None, None),
            ("by_roster", Some("alice"), Some(Owner), Some(NOON + 2)),
            ("by_roster", Some("bob"), None, None)
        ],
        "a change of the same time is not newer"
    );
}

#[test]
fn a_roster_older_than_the_last_one_is_stale() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&roster(&[("alice", "owner")]));
    let older = roster(&[("bob", "owner")]).at(NOON - 1);
    assert_eq!((fold.take(&older), fold.facts_of(&older)), (Stale, vec![]));
}

#[test]
fn the_first_roster_applies_even_when_empty_and_the_same_again_is_no_change() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let outcomes = fold.take_all(&[
        &roster(&[]),
        &roster(&[]).after(HOUR),
        &member("bob", "join").after(HOUR - 1),
        &roster(&[("bob", "member")]).after(HOUR),
        &roster(&[("bob", "member")]).after(HOUR),
    ]);
    assert_eq!(outcomes, [Applied, NoChange, Stale, Applied, NoChange]);
}

#[test]
fn a_destroyed_group_is_an_empty_roster() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    }));
    fold.take_all(&[&roster(&[("alice", "owner"), ("bob", "member")]), &group_message("m").asking_receipts()]);
    let end = group_destroyed().after(1);
    let expected = [
        ("group_destroyed", None, None, None),
        ("by_roster", Some("alice"), None, None),
        ("by_roster", Some("bob"), None, None),
    ];
    assert_eq!(rows(&mut fold, &end), expected);
    assert_eq!(fold.take(&group_read("m").after(2)), NotMember);
    assert_eq!(fold.take(&group_destroyed().after(2)), NoChange);
}

#[test]
fn single_changes_do_not_make_the_roster_known() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    fold.take(&policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    }));
    let outcomes = fold.take_all(&[
        &member("alice", "join"),
        &group_message("m").asking_receipts(),
        &group_read("m").from("stranger"),
    ]);
    assert_eq!(outcomes, [Applied, Opened, Counted]);
}

#[test]
fn a_roster_of_thousands_is_taken_and_given_up() {
    let arena = Bump::new();
    let mut fold = Fold::new(&arena);
    let names: Vec<String> = (0..3_000).map(|number| format!("user{number}")).collect();
    let members: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "member")).collect();
    assert_eq!(rows(&mut fold, &roster(&members)).len(), 3_001);
    assert_eq!(rows(&mut fold, &roster(&members[1..]).after(1)).len(), 2);
    let full = fold.partition.state_bytes();
    assert_eq!(rows(&mut fold, &group_destroyed().after(2)).len(), 3_000);
    fold.flush();
    assert!(fold.partition.state_bytes() < full, "names of those who left are given back");
}
