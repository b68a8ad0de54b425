//! Pages by cursor: no gap and no repeat while further readers arrive, against a model.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::api::{ACKS, READERS, SERVICE, TestApi, open_policy, users};
use crate::support::events::{HOUR, MINUTE, NOON, OwnedRecord, group_message, group_read, roster};

/// A reader of a message; ack ids are chosen apart from the order of time.
fn read(message: &str, reader: &str, at: i64, ack_id: &str) -> OwnedRecord {
    group_read(message).from(reader).at(at).with("id", ack_id).record()
}

/// Goes through all pages; `between` runs after each.
fn all_pages(api: &mut TestApi, query: &str, mut between: impl FnMut(&mut TestApi, usize)) -> Vec<String> {
    let mut met = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let list = api.ok(&format!("{query}{cursor}"));
        met.extend(users(&list));
        match &list["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
        between(api, page);
    }
    met
}

#[test]
fn of_600_readers_the_newest_500_are_retained_and_paged_without_gap_or_repeat() {
    let mut api = TestApi::new("paging_600");
    let mut records = vec![open_policy(1, |_| {}), group_message("m1").asking_receipts().record()];
    let name = |index: i64| format!("user{index:03}");
    records.extend((0..600).map(|index| read("m1", &name(index), NOON + index, &format!("ack{index}"))));
    api.flush(&records);

    let list = api.ok(READERS);
    assert_eq!(
        list["counts"],
        json!({"retained": 500, "distinct": 600, "evicted": 100, "truncated": true, "audience": null, "unread": null})
    );
    let newest_first: Vec<String> = (100..600).rev().map(name).collect();
    assert_eq!(users(&list), newest_first[..100]);
    assert_eq!(users(&api.ok(&format!("{READERS}?limit=500"))), newest_first);
    let oldest_first = users(&api.ok(&format!("{READERS}?order=oldest&limit=500")));
    assert!(oldest_first.iter().eq(newest_first.iter().rev()), "the oldest retained comes first");

    let evicted = api.ok(&format!("{READERS}?user={}&user={}", name(99), name(100)));
    assert_eq!(users(&evicted), [name(100), name(99)]);
    assert_eq!(evicted["readers"][0]["evicted"], Value::Null);
    assert_eq!(evicted["readers"][1]["evicted"], true);

    let acks = api.ok(&format!("{ACKS}?limit=500"));
    assert_eq!(acks["data"]["total"], 500);
    assert_eq!(acks["data"]["userlist"].as_array().unwrap().len(), 500);
    assert_eq!(acks["data"]["userlist"][499]["username"], name(100));

    // Thirty more arrive after each page, each pushing an older one out.
    let paged = all_pages(&mut api, &format!("{READERS}?limit=50"), |api, page| {
        let arriving = (0..30).map(|index| {
            let number = i64::try_from(600 + 30 * page + index).unwrap();
            read("m1", &name(number), NOON + number, &format!("ack{number}"))
        });
        api.flush(&arriving.collect::<Vec<_>>());
    });
    assert_eq!(paged, newest_first);
    assert_eq!(api.ok(READERS)["counts"]["distinct"], 600 + 9 * 30);
}

/// One case of the model: readers as (time, ack id, arrives before the first page).
#[derive(Clone, Debug)]
struct Case {
    cap: u32,
    limit: usize,
    members: usize,
    before: Vec<(i64, u8)>,
    after: Vec<(i64, u8)>,
    oldest: bool,
    all: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    // Few distinct times, so that ack ids and users decide the order too.
    let reads = || collection::vec((0..6_i64, any::<u8>()), 0..12);
    (1..15_u32, 1..6_usize, 0..20_usize, reads(), reads(), any::<bool>(), any::<bool>()).prop_map(
        |(cap, limit, members, before, after, oldest, all)| Case { cap, limit, members, before, after, oldest, all },
    )
}

#[test]
fn pages_are_the_list_as_it_was_at_the_first_whatever_arrives_meanwhile() {
    let log = RefCell::new((TestApi::new("paging_model"), 0));
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    runner
        .run(&cases(), |case| {
            let (api, number) = &mut *log.borrow_mut();
            *number += 1;
            check(api, *number, &case);
            Ok(())
        })
        .unwrap();
}

fn check(api: &mut TestApi, number: u64, case: &Case) {
    let (group, message) = (format!("g{number}"), format!("m{number}"));
    let name = |index: usize| format!("u{index:02}");
    let members: Vec<String> = (0..case.members).map(name).collect();
    let mut roster_members: Vec<(&str, &str)> = members.iter().map(|user| (user.as_str(), "member")).collect();
    roster_members.push(("alice", "owner"));
    // Readers are members; some may read who are not in the first twenty.
    roster_members.extend(["z1", "z2"].map(|user| (user, "member")));
    let reader = |index: usize| if index < case.members { name(index) } else { "z1".to_owned() };
    let to_records = |reads: &[(i64, u8)], first: usize| -> Vec<(String, i64, String)> {
        let numbered = reads.iter().enumerate();
        numbered
            .map(|(index, (at, ack))| (reader(first + index), NOON + at, format!("a{ack}-{first}-{index}")))
            .collect()
    };
    let before = to_records(&case.before, 0);
    let after = to_records(&case.after, case.before.len());

    let cap = case.cap;
    let record = |(user, at, ack): &(String, i64, String)| {
        group_read(&message).to(&group).from(user).at(*at).with("id", ack.as_str()).record()
    };
    let mut records = vec![
        open_policy(number, |policy| {
            policy.group.readers_per_message = cap;
            policy.group.messages_per_day = 500;
        }),
        roster(&roster_members).to(&group).at(NOON - HOUR).record(),
        group_message(&message).to(&group).asking_receipts().record(),
    ];
    records.extend(before.iter().map(record));
    api.flush(&records);

    // The model: the first receipt of a reader counts; the newest `cap` are retained.
    let mut first_receipts: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
    for (user, at, ack) in &before {
        first_receipts.entry(user).or_insert((*at, ack));
    }
    let mut list: Vec<(i64, &str, &str)> = first_receipts.iter().map(|(user, (at, ack))| (*at, *ack, *user)).collect();
    list.sort_unstable();
    let retained = &list[list.len().saturating_sub(case.cap as usize)..];
    let mut expected: Vec<&str> = retained.iter().map(|(_, _, user)| *user).collect();
    if !case.oldest {
        expected.reverse();
    }

    let status = if case.all { "all" } else { "read" };
    let order = if case.oldest { "oldest" } else { "newest" };
    let path = format!(
        "/v1/org/app/groups/{group}/messages/{message}/readers?status={status}&order={order}&limit={}",
        case.limit
    );
    let mut arriving = after.chunks(3);
    let paged = all_pages(api, &path, |api, _| {
        if let Some(chunk) = arriving.next() {
            api.flush(&chunk.iter().map(record).collect::<Vec<_>>());
        }
    });

    let distinct: BTreeSet<&String> = paged.iter().collect();
    assert_eq!(distinct.len(), paged.len(), "a repeat in {paged:?}");
    if case.all {
        // Readers and those who have not read, both as of the first page: whoever reads meanwhile stands on one side.
        let mut audience: Vec<&str> = members.iter().map(String::as_str).chain(["z1", "z2"]).collect();
        audience.retain(|user| !first_receipts.contains_key(user));
        let whole: Vec<&str> = expected.iter().copied().chain(audience).collect();
        assert_eq!(paged, whole, "{case:?}");
        return;
    }
    let late: BTreeSet<&str> = after.iter().map(|(user, _, _)| user.as_str()).collect();
    // Those of the first list are all there and in order; besides them only late readers.
    let of_first_list: Vec<&str> = paged.iter().map(String::as_str).filter(|user| expected.contains(user)).collect();
    assert_eq!(of_first_list, expected, "a gap, of {case:?}");
    for user in paged.iter().map(String::as_str).filter(|user| !expected.contains(user)) {
        let has_read_before = first_receipts.contains_key(user);
        assert!(!has_read_before, "{user} was evicted before the first page");
        assert!(late.contains(user), "{user} was never a reader");
    }
}

#[test]
fn a_limit_splits_readers_and_non_readers_anywhere() {
    let mut api = TestApi::new("paging_split");
    let members = ["alice", "u1", "u2", "u3", "u4", "u5", "u6"].map(|user| (user, "member"));
    api.flush(&[
        open_policy(1, |_| {}),
        roster(&members).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        read("m1", "u5", NOON + MINUTE, "a"),
        read("m1", "u2", NOON + MINUTE, "b"),
        read("m1", "u3", NOON + MINUTE, "b"),
    ]);
    for limit in 1..=7 {
        let met = all_pages(&mut api, &format!("{READERS}?status=all&limit={limit}"), |_, _| {});
        assert_eq!(met, ["u3", "u2", "u5", "u1", "u4", "u6"], "limit {limit}");
        let met = all_pages(&mut api, &format!("{READERS}?status=unread&limit={limit}"), |_, _| {});
        assert_eq!(met, ["u1", "u4", "u6"], "limit {limit}");
    }
    assert_eq!(api.get(&format!("{READERS}?limit=0"), SERVICE).status, 400);
}
