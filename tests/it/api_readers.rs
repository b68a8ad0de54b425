//! The reader list of a group message: who has read, who has not, and as of when.

use serde_json::{Value, json};

use crate::support::api::{READERS, SERVICE, TestApi, open_policy, users};
use crate::support::events::{
    DAY, HOUR, MINUTE, NOON, group_message, group_read, group_recall, member, policy, roster,
};

fn four_members() -> crate::support::events::EventBuilder {
    roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member"), ("dave", "member")]).at(NOON - HOUR)
}

/// Alice asks; carol reads, then bob.
fn read_by_two(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    api.flush(&[
        open_policy(1, |_| {}),
        four_members().record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("carol").after(MINUTE).content("seen").with("id", "ack-c").record(),
        group_read("m1").from("bob").after(2 * MINUTE).with("id", "ack-b").record(),
    ]);
    api
}

#[test]
fn the_whole_answer_has_the_shape_of_the_contract() {
    let api = read_by_two("readers_shape");
    let mut answer = api.ok(READERS);
    let committed_at = answer["as_of"]["committed_at"].take();
    assert!(committed_at.as_i64().unwrap() > NOON, "{committed_at}");
    assert_eq!(
        answer,
        json!({
            "message": {
                "id": "m1", "group": "g1", "sender": "alice", "sent_at": NOON, "receipts": "opened", "recalled_at": null
            },
            "counts": {
                "retained": 2, "distinct": 2, "evicted": 0, "truncated": false, "audience": 3, "unread": 1
            },
            "readers": [
                {"user": "bob", "read_at": NOON + 2 * MINUTE, "ack_id": "ack-b", "content": null},
                {"user": "carol", "read_at": NOON + MINUTE, "ack_id": "ack-c", "content": "seen"},
            ],
            "next_cursor": null,
            "as_of": {"watermark": NOON + 2 * MINUTE, "next_offset": 5, "partition": 0, "committed_at": null},
        })
    );
}

#[test]
fn order_and_status_choose_whom_the_list_holds() {
    let api = read_by_two("readers_status");
    assert_eq!(users(&api.ok(&format!("{READERS}?order=oldest"))), ["carol", "bob"]);
    assert_eq!(users(&api.ok(&format!("{READERS}?status=unread"))), ["dave"]);
    let all = api.ok(&format!("{READERS}?status=all"));
    assert_eq!(users(&all), ["bob", "carol", "dave"]);
    assert_eq!(all["readers"][2], json!({"user": "dave", "read_at": null, "ack_id": null, "content": null}));
    assert_eq!(users(&api.ok(&format!("{READERS}?status=all&order=oldest"))), ["carol", "bob", "dave"]);
}

#[test]
fn users_asked_for_by_name_are_found_in_either_state() {
    let api = read_by_two("readers_users");
    assert_eq!(users(&api.ok(&format!("{READERS}?status=all&user=dave&user=carol&user=nobody"))), ["carol", "dave"]);
    assert_eq!(users(&api.ok(&format!("{READERS}?user=dave&user=carol"))), ["carol"]);
    assert_eq!(users(&api.ok(&format!("{READERS}?status=unread&user=dave&user=carol"))), ["dave"]);
    assert_eq!(users(&api.ok(&format!("{READERS}?user=it%27s%5C%3F%7Bx%3AString%7D"))), Vec::<String>::new());
}

#[test]
fn unread_is_the_audience_at_the_messages_place_in_the_log_without_its_readers() {
    let mut api = TestApi::new("readers_audience");
    api.flush(&[
        open_policy(1, |_| {}),
        four_members().record(),
        member("dave", "leave").at(NOON - MINUTE).record(),
        group_message("m1").asking_receipts().record(),
        // Joined later: may read, was never asked.
        member("erin", "join").after(MINUTE).record(),
        group_read("m1").from("erin").after(2 * MINUTE).record(),
        // Left later without reading: was asked.
        member("carol", "leave").after(3 * MINUTE).record(),
    ]);
    let list = api.ok(&format!("{READERS}?status=all"));
    assert_eq!(users(&list), ["erin", "bob", "carol"]);
    assert_eq!(list["counts"]["audience"], 2);
    assert_eq!(list["counts"]["unread"], 2, "a reader who was not asked takes nobody's place");
    assert_eq!(list["counts"]["distinct"], 1);
}

#[test]
fn without_a_known_roster_nobody_is_known_not_to_have_read() {
    let mut api = TestApi::new("readers_no_roster");
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
    ]);
    let list = api.ok(&format!("{READERS}?status=all"));
    assert_eq!(users(&list), ["bob"]);
    assert_eq!((&list["counts"]["audience"], &list["counts"]["unread"]), (&Value::Null, &Value::Null));
    let unread = api.get(&format!("{READERS}?status=unread"), SERVICE);
    assert_eq!((unread.status, &unread.body["code"]), (409, &json!("audience_unknown")));
}

#[test]
fn a_message_that_is_not_open_says_why() {
    let mut api = TestApi::new("readers_refused");
    api.flush(&[
        four_members().record(),
        group_message("closed").asking_receipts().record(),
        open_policy(1, |policy| policy.group.messages_per_day = 0),
        group_message("over").asking_receipts().record(),
        policy(2, |policy| policy.group.open = true),
        group_message("denied").from("bob").asking_receipts().record(),
        group_message("plain").record(),
    ]);
    for (message, receipts) in [
        ("closed", "not_open"),
        ("over", "quota_exceeded"),
        ("denied", "permission_denied"),
        ("plain", "not_requested"),
    ] {
        let list = api.ok(&READERS.replace("m1", message));
        assert_eq!(list["message"]["receipts"], receipts);
        assert_eq!(list["counts"]["audience"], Value::Null);
        assert_eq!(list["readers"], json!([]));
        let unread = api.get(&format!("{}?status=unread", READERS.replace("m1", message)), SERVICE);
        assert_eq!(unread.status, 409, "{message}");
    }
}

#[test]
fn a_recalled_message_is_gone_and_an_unknown_one_not_found() {
    let mut api = read_by_two("readers_recalled");
    api.flush(&[group_recall("m1").after(HOUR).record()]);
    let recalled = api.get(READERS, SERVICE);
    assert_eq!((recalled.status, &recalled.body["code"]), (410, &json!("recalled")));
    let unknown = api.get(&READERS.replace("m1", "m2"), SERVICE);
    assert_eq!((unknown.status, &unknown.body["code"]), (404, &json!("not_found")));
    assert_eq!(unknown.body["words"], "group ack msg not found");
    assert_eq!(unknown.body["number"], 506);
    let other_group = api.get(&READERS.replace("g1", "g2"), SERVICE);
    assert_eq!(other_group.status, 404);
}

#[test]
fn an_id_used_again_answers_for_its_newest_life() {
    let mut api = read_by_two("readers_two_lives");
    let later = NOON + 30 * DAY;
    api.flush(&[
        group_message("other").at(later).record(),
        group_message("m1").asking_receipts().from("bob").at(later).record(),
        group_read("m1").from("dave").at(later + MINUTE).record(),
    ]);
    let list = api.ok(READERS);
    assert_eq!(list["message"]["sender"], "bob");
    assert_eq!(list["message"]["sent_at"], later);
    assert_eq!(users(&list), ["dave"]);
    assert_eq!(list["counts"]["distinct"], 1);
}

#[test]
fn rows_written_twice_are_counted_once() {
    let mut api = read_by_two("readers_twice");
    // A worker that died before its commit left the same rows; its successor folds the same log again.
    let mut again = TestApi::new("readers_twice_again");
    std::mem::swap(&mut api.log, &mut again.log);
    api.flush(&[
        open_policy(1, |_| {}),
        four_members().record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("carol").after(MINUTE).content("seen").with("id", "ack-c").record(),
        group_read("m1").from("bob").after(2 * MINUTE).with("id", "ack-b").record(),
    ]);
    assert_eq!(api.store.rows("receipts"), 4, "both copies are there");
    let list = api.ok(&format!("{READERS}?status=all"));
    assert_eq!(users(&list), ["bob", "carol", "dave"]);
    assert_eq!(list["counts"]["distinct"], 2);
}

#[test]
fn the_first_page_of_a_list_that_ends_exactly_there_has_no_next_one() {
    let api = read_by_two("readers_exact");
    assert_eq!(api.ok(&format!("{READERS}?limit=2"))["next_cursor"], Value::Null);
    let first = api.ok(&format!("{READERS}?status=all&limit=2"));
    assert_eq!(users(&first), ["bob", "carol"]);
    let next = first["next_cursor"].as_str().unwrap();
    let second = api.ok(&format!("{READERS}?status=all&limit=2&cursor={next}"));
    assert_eq!(users(&second), ["dave"]);
    assert_eq!(second["next_cursor"], Value::Null);
    for wrong_list in [
        format!("{READERS}?limit=2&cursor={next}"),
        format!("{READERS}?status=all&order=oldest&cursor={next}"),
        format!("{}?status=all&cursor={next}", READERS.replace("m1", "m2")),
        format!("{READERS}?status=all&cursor=nonsense"),
    ] {
        let refused = api.get(&wrong_list, SERVICE);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{wrong_list}");
    }
}
