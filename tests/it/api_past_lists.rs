//! Reader lists as they stood at a time, and those of the audience who have left.

use serde_json::{Value, json};

use crate::support::api::{READERS, SERVICE, TestApi, open_policy, users};
use crate::support::events::{HOUR, MINUTE, NOON, group_message, group_read, group_recall, member, roster};

/// Alice asks four; three read, the first one's receipt comes last; a cap of two.
fn read_by_three(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    let members = ["bob", "carol", "dave", "erin"].map(|user| (user, "member"));
    let with_alice: Vec<(&str, &str)> = members.into_iter().chain([("alice", "owner")]).collect();
    api.flush(&[
        open_policy(1, |policy| policy.group.readers_per_message = 2),
        roster(&with_alice).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("carol").after(20 * MINUTE).record(),
        group_read("m1").from("dave").after(30 * MINUTE).record(),
        group_read("m1").from("bob").after(10 * MINUTE).record(),
    ]);
    api
}

fn at(minutes: i64) -> String {
    format!("{READERS}?as_of={}", NOON + minutes * MINUTE)
}

#[test]
fn a_list_as_of_a_time_has_who_had_read_by_then() {
    let api = read_by_three("past_readers");
    for (minutes, readers, unread, evicted) in [
        (0, &[][..], 4, 0),
        (10, &["bob"], 3, 0),
        (19, &["bob"], 3, 0),
        (20, &["carol", "bob"], 2, 0),
        (30, &["dave", "carol"], 1, 1),
        (99, &["dave", "carol"], 1, 1),
    ] {
        let list = api.ok(&at(minutes));
        assert_eq!(users(&list), readers, "after {minutes} minutes");
        assert_eq!(
            list["counts"],
            json!({
                "retained": readers.len(), "distinct": 4 - unread, "evicted": evicted, "truncated": evicted > 0,
                "audience": 4, "unread": unread
            }),
            "after {minutes} minutes"
        );
    }
    assert_eq!(api.ok(&at(99))["counts"], api.ok(READERS)["counts"]);
    assert_eq!(users(&api.ok(&format!("{}&status=unread", at(20)))), ["dave", "erin"]);
    assert_eq!(users(&api.ok(&format!("{}&status=all", at(10)))), ["bob", "carol", "dave", "erin"]);
    let evicted = api.ok(&format!("{}&user=bob", at(30)));
    assert_eq!((users(&evicted), &evicted["readers"][0]["evicted"]), (vec!["bob".to_owned()], &json!(true)));
}

#[test]
fn before_it_was_sent_there_is_no_message_and_before_its_recall_there_is_one() {
    let mut api = read_by_three("past_recall");
    let too_early = api.get(&format!("{READERS}?as_of={}", NOON - 1), SERVICE);
    let unknown = api.get(&READERS.replace("m1", "never-sent"), SERVICE);
    assert_eq!((too_early.status, too_early.body), (404, unknown.body));
    api.flush(&[group_recall("m1").after(25 * MINUTE).record()]);
    assert_eq!(users(&api.ok(&at(24))), ["carol", "bob"]);
    assert_eq!(api.get(&at(25), SERVICE).status, 410);
    assert_eq!(api.get(READERS, SERVICE).status, 410);
}

#[test]
fn a_cursor_belongs_to_the_time_it_was_made_for() {
    let api = read_by_three("past_cursor");
    let path = format!("{}&status=all&limit=3", at(10));
    let first = api.ok(&path);
    assert_eq!(users(&first), ["bob", "carol", "dave"]);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(users(&api.ok(&format!("{path}&cursor={cursor}"))), ["erin"]);
    for other in [format!("{READERS}?status=all&limit=3"), format!("{}&status=all&limit=3", at(11))] {
        assert_eq!(api.get(&format!("{other}&cursor={cursor}"), SERVICE).status, 400, "{other}");
    }
}

#[test]
fn pages_of_a_past_list_stay_as_they_were_while_late_receipts_of_that_time_arrive() {
    let mut api = read_by_three("past_late");
    let path = format!("{}&status=all&limit=1", at(10));
    let first = api.ok(&path);
    assert_eq!(users(&first), ["bob"]);
    // Of a time that the list covers: on no page of it, or carol would be missing from both parts.
    api.flush(&[group_read("m1").from("erin").after(5 * MINUTE).record()]);
    let mut met = users(&first);
    let mut next = first["next_cursor"].clone();
    while let Value::String(cursor) = next {
        let page = api.ok(&format!("{path}&cursor={cursor}"));
        met.extend(users(&page));
        next = page["next_cursor"].clone();
    }
    assert_eq!(met, ["bob", "carol", "dave", "erin"]);
    assert_eq!(users(&api.ok(&format!("{}&status=read", at(10)))), ["bob", "erin"]);
}

#[test]
fn those_of_the_audience_who_left_are_marked_and_who_joined_later_is_not_there() {
    let mut api = read_by_three("past_left");
    api.flush(&[
        member("erin", "leave").after(40 * MINUTE).record(),
        member("erin", "leave").after(41 * MINUTE).record(),
        member("zoe", "join").after(42 * MINUTE).record(),
    ]);
    let unread = format!("{READERS}?status=unread");
    let erin = json!({
        "user": "erin", "read_at": null, "ack_id": null, "content": null, "left": true,
        "left_at": NOON + 40 * MINUTE
    });
    let list = api.ok(&unread);
    assert_eq!(list["readers"], json!([erin]));
    assert_eq!((&list["counts"]["audience"], &list["counts"]["unread"]), (&json!(4), &json!(1)));
    assert_eq!(api.ok(&format!("{READERS}?status=all"))["readers"][2], erin);
    let before = api.ok(&format!("{unread}&as_of={}", NOON + 39 * MINUTE));
    assert_eq!(before["readers"], json!([{"user": "erin", "read_at": null, "ack_id": null, "content": null}]));

    api.flush(&[member("erin", "join").after(50 * MINUTE).record()]);
    assert_eq!(api.ok(&unread)["readers"][0].get("left"), None, "she is back");
    // A roster without somebody takes him out, too.
    api.flush(&[roster(&[("alice", "owner"), ("bob", "member")]).after(HOUR).record()]);
    assert_eq!(api.ok(&unread)["readers"][0]["left_at"], NOON + HOUR);
}
