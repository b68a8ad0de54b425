//! Messages between two users: whether they were delivered and read, when, and by what.

use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::collection;
use proptest::test_runner::{Config, TestRunner};
use seenby::store::{RowBatch, Store as _};
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi};
use crate::support::events::{
    DAY, HOUR, MINUTE, NOON, OwnedRecord, delivered, policy, single_conversation_read, single_message, single_read,
    single_recall,
};
use crate::support::plain_fold::{Life, LogRecord, PlainFold};
use crate::support::random_log::{Content, TimedRecord, log};
use crate::support::store::{Log, topic};

/// Path of m1 between alice and bob.
const M1: &str = "/v1/org/app/singles/alice/bob/messages/m1";

fn after(test: &str, records: &[OwnedRecord]) -> TestApi {
    let mut api = TestApi::new(test);
    api.flush(records);
    api
}

#[test]
fn the_whole_answer_has_the_shape_of_the_description() {
    let api = after(
        "singles_shape",
        &[
            single_message("m1").record(),
            delivered("m1").after(MINUTE).record(),
            single_read("m1").after(2 * MINUTE).record(),
        ],
    );
    let mut answer = api.ok(M1);
    assert!(answer["as_of"]["committed_at"].take().as_i64().unwrap() > NOON);
    assert_eq!(
        answer,
        json!({
            "message": {"id": "m1", "sender": "alice", "recipient": "bob", "sent_at": NOON, "recalled_at": null},
            "state": "read",
            "sent_at": NOON,
            "delivered_at": NOON + MINUTE,
            "read_at": NOON + 2 * MINUTE,
            "read_source": "message",
            "delivered_after_ms": MINUTE,
            "read_after_ms": 2 * MINUTE,
            "counts": {"delivered": 1, "read": 1},
            "as_of": {"watermark": NOON + 2 * MINUTE, "next_offset": 3, "partition": 0, "committed_at": null},
        })
    );
    assert_eq!(api.ok(&M1.replace("alice/bob", "bob/alice"))["message"], answer["message"]);
}

#[test]
fn reading_implies_delivery_without_making_up_its_time() {
    let mut api = after("singles_implied", &[single_message("m1").record()]);
    assert_eq!(api.ok(M1)["state"], "sent");
    api.flush(&[single_conversation_read().after(MINUTE).record()]);
    let answer = api.ok(M1);
    assert_eq!((&answer["state"], &answer["counts"]), (&json!("read"), &json!({"delivered": 1, "read": 1})));
    assert_eq!((&answer["delivered_at"], &answer["delivered_after_ms"]), (&Value::Null, &Value::Null));
    assert_eq!((&answer["read_source"], &answer["read_after_ms"]), (&json!("conversation"), &json!(MINUTE)));
}

#[test]
fn a_receipt_from_before_the_message_was_sent_has_no_delay() {
    let api = after(
        "singles_clocks",
        &[single_message("m1").record(), delivered("m1").after(-MINUTE).record(), single_read("m1").after(-1).record()],
    );
    let answer = api.ok(M1);
    assert_eq!((&answer["delivered_at"], &answer["delivered_after_ms"]), (&json!(NOON - MINUTE), &json!(0)));
    assert_eq!((&answer["read_at"], &answer["read_after_ms"]), (&json!(NOON - 1), &json!(0)));
}

#[test]
fn the_first_in_log_order_reads() {
    let at = |answer: &Value| (answer["read_at"].clone(), answer["read_source"].clone());
    for (name, records, read) in [
        (
            "mark_first",
            vec![
                single_message("m1").record(),
                single_conversation_read().after(2 * MINUTE).record(),
                single_read("m1").after(MINUTE).record(),
            ],
            (json!(NOON + 2 * MINUTE), json!("conversation")),
        ),
        (
            "receipt_first",
            vec![
                single_message("m1").record(),
                single_read("m1").after(2 * MINUTE).record(),
                single_conversation_read().after(MINUTE).record(),
            ],
            (json!(NOON + 2 * MINUTE), json!("message")),
        ),
        (
            "the_last_mark_in_front_of_the_message_reads_it",
            vec![
                single_conversation_read().after(MINUTE).record(),
                single_conversation_read().after(2 * MINUTE).record(),
                single_message("m1").record(),
                single_conversation_read().after(3 * MINUTE).record(),
            ],
            (json!(NOON + 2 * MINUTE), json!("conversation")),
        ),
        (
            "a_last_mark_in_front_that_is_too_late_hides_earlier_ones",
            vec![
                policy(1, |policy| policy.single.validity_days = 1),
                single_conversation_read().after(HOUR).record(),
                single_conversation_read().after(2 * DAY).record(),
                single_message("m1").record(),
            ],
            (Value::Null, Value::Null),
        ),
        (
            "the_first_mark_behind_that_covers_reads",
            vec![
                single_conversation_read().after(-HOUR).record(),
                single_message("m1").record(),
                single_conversation_read().after(-MINUTE).record(),
                single_conversation_read().after(MINUTE).record(),
                single_conversation_read().after(2 * MINUTE).record(),
            ],
            (json!(NOON + MINUTE), json!("conversation")),
        ),
        (
            "a_mark_after_its_validity_reads_nothing",
            vec![
                policy(1, |policy| policy.single.validity_days = 1),
                single_message("m1").record(),
                single_conversation_read().after(DAY + 1).record(),
            ],
            (Value::Null, Value::Null),
        ),
        (
            "the_senders_own_mark_reads_nothing",
            vec![
                single_message("m1").record(),
                single_conversation_read().from("alice").to("bob").after(MINUTE).record(),
            ],
            (Value::Null, Value::Null),
        ),
        (
            "a_recalled_message_is_not_read_by_a_later_mark",
            vec![
                single_message("m1").record(),
                single_recall("m1").after(MINUTE).record(),
                single_conversation_read().after(2 * MINUTE).record(),
            ],
            (Value::Null, Value::Null),
        ),
        (
            "a_recall_that_waited_comes_after_the_mark_that_the_message_met",
            vec![
                single_recall("m1").after(MINUTE).record(),
                single_conversation_read().after(2 * MINUTE).record(),
                single_message("m1").record(),
            ],
            (json!(NOON + 2 * MINUTE), json!("conversation")),
        ),
    ] {
        let api = after(&format!("singles_{name}"), &records);
        assert_eq!(at(&api.ok(M1)), read, "{name}");
    }
}

#[test]
fn a_recalled_message_says_when_and_keeps_what_became_of_it() {
    let api = after(
        "singles_recalled",
        &[
            single_message("m1").record(),
            single_read("m1").after(MINUTE).record(),
            single_recall("m1").after(2 * MINUTE).record(),
        ],
    );
    let answer = api.ok(M1);
    assert_eq!(answer["message"]["recalled_at"], NOON + 2 * MINUTE);
    assert_eq!(answer["read_at"], NOON + MINUTE);
}

#[test]
fn only_the_two_of_them_and_services_see_it() {
    let api = after("singles_roles", &[single_message("m1").record()]);
    let status = |token: &str, path: &str| api.get(path, token).status;
    for (token, told) in [
        (SERVICE, 200),
        ("token-of-root", 200),
        ("token-of-alice", 200),
        ("token-of-bob", 200),
        ("token-of-carol", 403),
        ("token-of-another-app", 404),
        ("wrong", 401),
    ] {
        assert_eq!(status(token, M1), told, "{token}");
    }
    // Whether there is such a message is nobody else's business, and nobody is anybody else by writing himself in.
    assert_eq!(status("token-of-carol", &M1.replace("m1", "never-sent")), 403);
    assert_eq!(status("token-of-carol", &M1.replace("alice/bob", "carol/alice%2Fbob")), 400);
    let unknown = api.get(&M1.replace("m1", "never-sent"), SERVICE);
    let of_another_app = api.get(M1, "token-of-another-app");
    assert_eq!((unknown.status, &unknown.body), (of_another_app.status, &of_another_app.body));
    assert_eq!(api.get(&format!("{M1}?at=1"), SERVICE).status, 400);
}

/// What is told of a message: delivered at, read at, source, recalled at.
type Told = (Option<i64>, Option<i64>, Option<String>, Option<i64>);

fn told_by_the_fold(life: &Life) -> Told {
    let first = |kind| life.of_kind(kind).next().map(|receipt| receipt.at);
    let own_read = first("read").map(|at| (at, "message"));
    let read = own_read.or(life.read_by_mark.map(|at| (at, "conversation")));
    let recalled_at = life.recalled.as_ref().map(|(_, at, _)| *at);
    (first("delivered"), read.map(|(at, _)| at), read.map(|(_, source)| source.to_owned()), recalled_at)
}

fn told_by_the_api(answer: &Value) -> Told {
    let source = answer["read_source"].as_str().map(str::to_owned);
    (answer["delivered_at"].as_i64(), answer["read_at"].as_i64(), source, answer["message"]["recalled_at"].as_i64())
}

/// The record in an app of its own, whose name is as long.
fn in_app(record: &OwnedRecord, app: &str) -> OwnedRecord {
    let renamed = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.replace("org#app", app).into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    OwnedRecord {
        key: record.key.as_deref().map(renamed),
        value: renamed(&record.value),
        control: record.control.clone(),
    }
}

/// Folds logs, each in an app of its own, writes all their rows twice, and compares every message of a single chat.
fn compare(api: &mut TestApi, first_app: usize, logs: &[Vec<TimedRecord>]) {
    let mut batch = RowBatch::new(topic(1, 1));
    let mut expected: BTreeMap<(String, String), (Told, i64)> = BTreeMap::new();
    for (number, records) in (first_app..).zip(logs) {
        let app = format!("org#{number:03}");
        let mut folded = Log::new(&topic(1, 1), 0);
        let mut plain = PlainFold::new(1);
        let mut renamed = Vec::new();
        // Erasures have tests of their own: carrying out hundreds of them takes minutes.
        let without_erasures = records.iter().filter(|timed| timed.record.control.as_deref() != Some("erase"));
        for (offset, TimedRecord { record, time }) in without_erasures.enumerate() {
            let record = in_app(record, &app);
            plain.take(&LogRecord {
                partition: 0,
                offset: offset as u64,
                time: Some(*time),
                key: record.key.as_deref(),
                value: &record.value,
                control: record.control.as_deref().map(str::as_bytes),
            });
            renamed.push((record, *time));
        }
        folded.fold_timed(&renamed, &mut batch);
        // Later lives stand behind earlier ones.
        for life in plain.lives.iter().filter(|life| !life.is_group) {
            let key = (life.conversation.clone(), life.message.clone());
            expected.insert(key, (told_by_the_fold(life), life.sent_at));
        }
    }
    api.store.store.write(&batch).unwrap();
    api.store.store.write(&batch).unwrap();

    let mut of_app: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for (key, told) in &expected {
        let (app, _) = key.0.split_once('/').unwrap();
        of_app.entry(app.to_owned()).or_default().push((key, told));
    }
    for (app, messages) in of_app {
        let item = |(conversation, message): &(String, String)| {
            let users: Vec<&str> = conversation.split('/').skip(2).collect();
            json!({"single": users, "message": message})
        };
        let items: Vec<Value> = messages.iter().map(|(key, _)| item(key)).collect();
        let path = format!("/v1/{}/receipts/query", app.replace('#', "/"));
        let answer = api.post(&path, &format!("token-of-{app}"), &json!({"items": items}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        for ((key, (told, sent_at)), answer) in messages.iter().zip(answer.body["items"].as_array().unwrap()) {
            assert_eq!(answer["message"]["sent_at"], *sent_at, "{key:?}: {answer}");
            assert_eq!(told_by_the_api(answer), *told, "{key:?}: {answer}");
        }
    }
}

/// How many logs are written at once, and how often.
const LOGS: usize = 40;
const CASES: u32 = 3;

#[test]
fn the_answer_is_what_the_fold_knows_of_every_message_of_any_log() {
    let api = RefCell::new((TestApi::with_tokens_of_numbered_apps("singles_model"), 0));
    let mut runner = TestRunner::new(Config { cases: CASES, max_shrink_iters: 200, ..Config::default() });
    let logs = collection::vec(log(Content::All, 150), LOGS);
    runner
        .run(&logs, |logs| {
            let (api, next_app) = &mut *api.borrow_mut();
            let first_app = *next_app;
            *next_app = (first_app + logs.len()) % 1_000;
            if *next_app < first_app {
                *api = TestApi::with_tokens_of_numbered_apps("singles_model");
            }
            compare(api, first_app, &logs);
            Ok(())
        })
        .unwrap();
}
