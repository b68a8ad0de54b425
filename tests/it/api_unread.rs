//! What a user has not read, by conversation: as a model says that knows the log.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_policy};
use crate::support::events::{
    HOUR, MINUTE, NOON, OwnedRecord, group_conversation_read, group_destroyed, group_message, group_read, group_recall,
    in_single, member, roster, single_conversation_read, single_message, single_read, single_recall,
};
use crate::support::plain_fold::{Life, LogRecord, Mark, PlainFold, Receipt};
use crate::support::random_log::{Content, drawn};
use crate::support::store::Log;

type Counts = BTreeMap<(String, String), u64>;

fn path(user: &str) -> String {
    format!("/v1/org/app/users/{user}/unread")
}

/// All pages of a user, each of which may look through so many conversations.
fn unread(api: &TestApi, user: &str, limit: usize) -> Counts {
    let mut counts = Counts::new();
    let mut cursor = String::new();
    loop {
        let page = api.ok(&format!("{}?limit={limit}{cursor}", path(user)));
        for conversation in page["conversations"].as_array().unwrap() {
            let text = |field: &str| conversation[field].as_str().unwrap().to_owned();
            let count = conversation["unread"].as_u64().unwrap();
            assert_eq!(counts.insert((text("chat"), text("to")), count), None, "a conversation on two pages");
        }
        match &page["next_cursor"] {
            Value::String(next) => cursor = format!("&cursor={next}"),
            _ => return counts,
        }
    }
}

fn counts(of: &[(&str, &str, u64)]) -> Counts {
    of.iter().map(|&(chat, to, count)| ((chat.to_owned(), to.to_owned()), count)).collect()
}

#[test]
fn in_single_chats_receipts_marks_and_recalls_take_messages_off() {
    let mut api = TestApi::new("unread_single");
    api.flush(&[
        single_message("m1").record(),
        single_message("m2").after(MINUTE).record(),
        single_message("m3").after(2 * MINUTE).record(),
        single_message("m4").after(3 * MINUTE).record(),
        in_single("message", "bob", "alice").id("mine").after(3 * MINUTE).record(),
        in_single("message", "carol", "bob").id("c1").record(),
        in_single("message", "bob", "bob").id("note").record(),
        in_single("delivered", "bob", "carol").with("message", "c1").record(),
    ]);
    assert_eq!(unread(&api, "bob", 100), counts(&[("single", "alice", 4), ("single", "carol", 1)]));
    assert_eq!(unread(&api, "alice", 100), counts(&[("single", "bob", 1)]));
    api.flush(&[
        single_read("m3").after(HOUR).record(),
        single_conversation_read().at(NOON).record(),
        single_recall("m4").after(HOUR).record(),
    ]);
    assert_eq!(unread(&api, "bob", 100), counts(&[("single", "alice", 1), ("single", "carol", 1)]));
    api.flush(&[single_conversation_read().after(HOUR).record()]);
    assert_eq!(unread(&api, "bob", 100), counts(&[("single", "carol", 1)]));
    assert_eq!(unread(&api, "nobody", 100), counts(&[]));
}

#[test]
fn in_a_group_with_a_known_roster_members_count_from_their_joining_on() {
    let mut api = TestApi::new("unread_members");
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("before").record(),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]).after(MINUTE).record(),
        group_message("m1").asking_receipts().after(2 * MINUTE).record(),
        member("dave", "join").after(3 * MINUTE).record(),
        member("dave", "admin").after(5 * MINUTE).record(),
        group_message("m2").after(4 * MINUTE).record(),
        group_read("m1").after(5 * MINUTE).record(),
        member("carol", "leave").after(6 * MINUTE).record(),
    ]);
    let in_group = |user: &str| unread(&api, user, 1).get(&("group".to_owned(), "g1".to_owned())).copied();
    assert_eq!(in_group("bob"), Some(1), "m1 is read, and before is from before the roster");
    assert_eq!(in_group("dave"), Some(1), "another role is no joining");
    assert_eq!(in_group("carol"), None, "who left has nothing unread");
    assert_eq!(in_group("alice"), None, "one's own messages are not unread");
    assert_eq!(in_group("mallory"), None);

    api.flush(&[group_conversation_read().at(NOON + 10 * MINUTE).record()]);
    assert_eq!(unread(&api, "bob", 100), counts(&[]));
    api.flush(&[group_message("m3").after(HOUR).record(), group_recall("m2").after(HOUR).record()]);
    assert_eq!(unread(&api, "bob", 100), counts(&[("group", "g1", 1)]));
    assert_eq!(unread(&api, "dave", 100), counts(&[("group", "g1", 1)]), "recalled by anybody");
    api.flush(&[group_destroyed().after(2 * HOUR).record()]);
    assert_eq!(unread(&api, "dave", 100), counts(&[]));
}

#[test]
fn where_no_roster_is_known_whoever_took_part_counts_everything() {
    let mut api = TestApi::new("unread_no_roster");
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_message("m2").after(MINUTE).record(),
        group_message("of-bob").from("bob").after(MINUTE).record(),
        group_read("m1").from("carol").record(),
        group_conversation_read().from("dave").at(NOON).record(),
        member("erin", "join").after(HOUR).record(),
        member("frank", "leave").after(HOUR).record(),
        group_message("of-frank").from("frank").after(2 * HOUR).record(),
    ]);
    let in_group = |user: &str| unread(&api, user, 1).get(&("group".to_owned(), "g1".to_owned())).copied();
    assert_eq!(in_group("alice"), Some(2));
    assert_eq!(in_group("bob"), Some(3));
    assert_eq!(in_group("carol"), Some(3));
    assert_eq!(in_group("dave"), Some(3));
    assert_eq!(in_group("erin"), Some(4), "a member by his own change, in a group of which no roster came");
    assert_eq!(in_group("frank"), None, "he left");
    assert_eq!(in_group("mallory"), None);
}

#[test]
fn only_the_user_himself_and_services_may_ask_and_mistakes_are_named() {
    let mut api = TestApi::new("unread_access");
    api.flush(&[single_message("m1").record(), in_single("message", "carol", "bob").id("m2").record()]);
    for (token, status) in [
        (SERVICE, 200),
        ("token-of-root", 200),
        ("token-of-bob", 200),
        ("token-of-alice", 403),
        ("token-of-another-app", 404),
        ("wrong", 401),
    ] {
        assert_eq!(api.get(&path("bob"), token).status, status, "{token}");
    }
    let page = api.ok(&format!("{}?limit=1", path("bob")));
    assert_eq!(page["conversations"], json!([{"chat": "single", "to": "alice", "unread": 1}]));
    assert_eq!(page["as_of"]["next_offsets"], json!([2]));
    let next = page["next_cursor"].as_str().unwrap();
    assert_eq!(api.get(&format!("{}?cursor={next}", path("alice")), SERVICE).status, 400, "another user's cursor");
    for query in ["limit=501", "cursor=x", "curso=x"] {
        let refused = api.get(&format!("{}?{query}", path("bob")), SERVICE);
        assert_eq!(refused.status, 400, "{query}");
        let parameter = query.split('=').next().unwrap();
        assert!(refused.body["detail"].as_str().unwrap().starts_with(parameter), "{}", refused.body);
    }
}

/// DESIGN.md section 4's last rule, read off the plain fold.
fn model(plain: &PlainFold, user: &str) -> Counts {
    let mut counts = Counts::new();
    for life in plain.lives.iter().filter(|life| !life.is_forgotten) {
        if life.sender != user && life.recalled.is_none() && is_his(plain, life, user) && !is_read(plain, life, user) {
            let (chat, to) = if life.is_group { ("group", &life.to) } else { ("single", &life.sender) };
            *counts.entry((chat.to_owned(), to.clone())).or_default() += 1;
        }
    }
    counts
}

fn is_his(plain: &PlainFold, life: &Life, user: &str) -> bool {
    if !life.is_group {
        return life.to == user;
    }
    let standing = plain.standing(&life.conversation, user);
    if standing.is_roster_known {
        return standing.joined_at.is_some_and(|joined_at| life.sent_at >= joined_at);
    }
    let has_taken_part = plain.lives.iter().filter(|other| other.conversation == life.conversation).any(|other| {
        let is_his = |receipt: &Receipt| receipt.reader == user && !receipt.is_forgotten;
        (other.sender == user && !other.is_forgotten) || other.receipts.iter().any(is_his)
    }) || marks_of(plain, life, user).count() > 0;
    standing.joined_at.is_some() || (has_taken_part && !standing.is_named)
}

fn is_read(plain: &PlainFold, life: &Life, user: &str) -> bool {
    let mark = marks_of(plain, life, user).map(|mark| mark.at).max();
    life.of_kind("read").any(|receipt| receipt.reader == user) || mark.is_some_and(|mark| life.sent_at <= mark)
}

fn marks_of<'a>(plain: &'a PlainFold, life: &'a Life, user: &'a str) -> impl Iterator<Item = &'a Mark> {
    let of_conversation = plain.marks.iter().filter(|mark| mark.conversation == life.conversation);
    of_conversation.filter(move |mark| mark.reader == user && !mark.is_forgotten)
}

#[test]
fn counts_are_those_of_a_model_on_random_logs() {
    let users = ["ada", "bo", "cy", "di"];
    let mut met = BTreeSet::new();
    for seed in 0..6 {
        let mut api = TestApi::new("unread_model");
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let records: Vec<OwnedRecord> =
            drawn(&mut random, Content::All, 400).into_iter().map(|timed| timed.record).collect();
        let mut plain = PlainFold::new(1);
        for (offset, record) in records.iter().enumerate() {
            let time = api.log.first_record_time + offset as i64 * api.log.record_interval;
            plain.take(&LogRecord {
                partition: 0,
                offset: offset as u64,
                time: Some(time),
                key: record.key.as_deref(),
                value: &record.value,
                control: record.control.as_deref().map(str::as_bytes),
            });
        }
        // The first half comes twice, in another cut, as a dead worker leaves it.
        let mut dead = Log::new(&api.log.topic, 0);
        for flush in records[..records.len() / 2].chunks(23) {
            dead.flush(flush, &mut api.store.store);
        }
        for flush in records.chunks(64) {
            api.flush(flush);
        }
        api.store.sweep_erasures();
        for user in users {
            let expected = model(&plain, user);
            assert_eq!(unread(&api, user, 1 + seed as usize), expected, "{user}, seed {seed}");
            met.extend(expected.into_keys().map(|(chat, _)| chat));
        }
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), ["group", "single"]);
}
