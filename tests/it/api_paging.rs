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

/// One case of the model. A receipt is a member's number, a time and part of an ack id.
#[derive(Clone, Debug)]
struct Case {
    cap: u32,
    limit: usize,
    members: usize,
    before: Vec<Read>,
    /// What arrives after each page.
    between: Vec<Vec<Read>>,
    oldest: bool,
    all: bool,
}

/// Which member reads, when, and what his ack id begins with.
type Read = (usize, i64, u8);

/// Few distinct times and ack ids, so that each part of a position decides somewhere; receipts of the same reader again,
/// so that the first must win.
fn reads(members: usize, times: i64, how_many: impl Into<collection::SizeRange>) -> impl Strategy<Value = Vec<Read>> {
    collection::vec((0..members, 0..times, any::<u8>()), how_many)
}

fn small_cases() -> impl Strategy<Value = Case> {
    let between = collection::vec(reads(20, 6, 0..4), 0..6);
    let chosen = (1..15_u32, 1..6_usize, any::<bool>(), any::<bool>());
    (chosen, 0..20_usize, reads(20, 6, 0..12), between).prop_map(
        |((cap, limit, oldest, all), members, before, between)| Case {
            cap,
            limit,
            members,
            before,
            between,
            oldest,
            all,
        },
    )
}

/// Some five hundred readers, a few hundred more while they are paged, most of them pushing others out.
fn large_cases() -> impl Strategy<Value = Case> {
    let between = collection::vec(reads(1_000, 4_000, 20..60), 4..12);
    let chosen = (300..=500_u32, 30..120_usize, any::<bool>(), any::<bool>());
    (chosen, reads(600, 3_000, 900..1_100), between).prop_map(|((cap, limit, oldest, all), before, between)| Case {
        cap,
        limit,
        members: 1_000,
        before,
        between,
        oldest,
        all,
    })
}

fn check_all(test: &str, cases: u32, strategy: impl Strategy<Value = Case>) {
    let log = RefCell::new((TestApi::new(test), 0));
    let mut runner = TestRunner::new(Config { cases, max_shrink_iters: 100, ..Config::default() });
    runner
        .run(&strategy, |case| {
            let (api, number) = &mut *log.borrow_mut();
            *number += 1;
            check(api, *number, &case);
            Ok(())
        })
        .unwrap();
}

#[test]
fn pages_have_no_gap_and_no_repeat_whatever_arrives_meanwhile() {
    check_all("paging_model", 24, small_cases());
}

#[test]
fn five_hundred_readers_are_paged_without_gap_or_repeat_while_others_push_them_out() {
    check_all("paging_model_500", 4, large_cases());
}

/// Time, ack id and user: what a list is ordered by.
type Position = (i64, String, String);

/// What a list holds, written from the contract: the first receipt of a reader counts, the newest `cap` are retained.
#[derive(Default)]
struct ListModel {
    first_receipts: BTreeMap<String, (i64, String)>,
}

impl ListModel {
    fn take(&mut self, reads: &[(String, i64, String)]) {
        for (user, at, ack) in reads {
            self.first_receipts.entry(user.clone()).or_insert((*at, ack.clone()));
        }
    }

    fn oldest_first(&self) -> Vec<Position> {
        let position = |(user, (at, ack)): (&String, &(i64, String))| (*at, ack.clone(), user.clone());
        let mut list: Vec<Position> = self.first_receipts.iter().map(position).collect();
        list.sort_unstable();
        list
    }

    /// The last reader retained, where any was evicted.
    fn floor(&self, cap: usize) -> Option<Position> {
        let list = self.oldest_first();
        list.len().checked_sub(cap).filter(|evicted| *evicted > 0).map(|evicted| list[evicted].clone())
    }

    /// Readers after a position and down to a floor.
    fn page(&self, after: Option<&Position>, floor: Option<&Position>, oldest: bool, limit: usize) -> Vec<Position> {
        let mut list = self.oldest_first();
        if !oldest {
            list.reverse();
        }
        list.retain(|position| {
            floor.is_none_or(|floor| position >= floor)
                && after.is_none_or(|after| if oldest { position > after } else { position < after })
        });
        list.truncate(limit);
        list
    }
}

fn check(api: &mut TestApi, number: u64, case: &Case) {
    let (group, message) = (format!("g{number}"), format!("m{number}"));
    let name = |index: usize| format!("u{index:03}");
    let members: Vec<String> = (0..case.members).map(name).chain(["z1".to_owned()]).collect();
    let mut roster_members: Vec<(&str, &str)> = members.iter().map(|user| (user.as_str(), "member")).collect();
    roster_members.push(("alice", "owner"));
    let mut ack_number = 0;
    let mut named = |reads: &[Read]| -> Vec<(String, i64, String)> {
        let mut named = |(index, at, ack): &Read| {
            ack_number += 1;
            let user = if *index < case.members { name(*index) } else { "z1".to_owned() };
            (user, NOON + at, format!("a{ack}-{ack_number}"))
        };
        reads.iter().map(&mut named).collect()
    };
    let record = |(user, at, ack): &(String, i64, String)| {
        group_read(&message).to(&group).from(user).at(*at).with("id", ack.as_str()).record()
    };
    let before = named(&case.before);
    let mut records = vec![
        open_policy(number, |policy| policy.group.readers_per_message = case.cap),
        roster(&roster_members).to(&group).at(NOON - HOUR).record(),
        group_message(&message).to(&group).asking_receipts().record(),
    ];
    records.extend(before.iter().map(record));
    api.flush(&records);
    let mut model = ListModel::default();
    model.take(&before);

    let cap = case.cap as usize;
    let floor = model.floor(cap);
    // Where those who have not read follow, the list stays as it was at the first page; whoever reads meanwhile stands on
    // one side of it.
    let whole: Vec<String> = if case.all {
        let readers = model.page(None, floor.as_ref(), case.oldest, usize::MAX);
        let readers = readers.into_iter().map(|(_, _, user)| user);
        let mut audience = members.clone();
        audience.retain(|user| !model.first_receipts.contains_key(user));
        audience.sort_unstable();
        readers.chain(audience).collect()
    } else {
        Vec::new()
    };

    let status = if case.all { "all" } else { "read" };
    let order = if case.oldest { "oldest" } else { "newest" };
    let path = format!(
        "/v1/org/app/groups/{group}/messages/{message}/readers?status={status}&order={order}&limit={}",
        case.limit
    );
    let mut arriving = case.between.iter();
    let mut last = None;
    let mut cursor = String::new();
    let mut met = Vec::new();
    loop {
        let list = api.ok(&format!("{path}{cursor}"));
        let page = users(&list);
        let distinct = model.first_receipts.len();
        assert_eq!(list["counts"]["distinct"], distinct, "counts are of now, in {case:?}");
        assert_eq!(list["counts"]["evicted"], distinct.saturating_sub(cap));
        if !case.all {
            // With whoever arrived behind the pages so far, and those that were pushed out meanwhile.
            let expected = model.page(last.as_ref(), floor.as_ref(), case.oldest, case.limit);
            assert_eq!(page, expected.iter().map(|(_, _, user)| user.as_str()).collect::<Vec<_>>(), "{case:?}");
            last = expected.last().cloned().or(last);
        }
        met.extend(page);
        match &list["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => break,
        }
        if let Some(reads) = arriving.next() {
            let reads = named(reads);
            api.flush(&reads.iter().map(record).collect::<Vec<_>>());
            model.take(&reads);
        }
    }
    if case.all {
        assert_eq!(met, whole, "{case:?}");
    }
    let distinct: BTreeSet<&String> = met.iter().collect();
    assert_eq!(distinct.len(), met.len(), "a repeat in {met:?}");
    let of_first_list = model_page_names(&before, cap);
    assert!(of_first_list.iter().all(|user| distinct.contains(user)), "a gap in {met:?}");
}

/// Who was retained of the readers before the first page.
fn model_page_names(before: &[(String, i64, String)], cap: usize) -> Vec<String> {
    let mut model = ListModel::default();
    model.take(before);
    model.page(None, model.floor(cap).as_ref(), true, usize::MAX).into_iter().map(|(_, _, user)| user).collect()
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
