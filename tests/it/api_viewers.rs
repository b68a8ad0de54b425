//! Who may see which list: tokens, apps, and the viewers rule of the policy in force now.

use seenby::policy::Viewers;
use serde_json::{Value, json};

use crate::support::api::{ACKS, READERS, SERVICE, TestApi, open_for};
use crate::support::events::{HOUR, MINUTE, NOON, group_message, group_read, member, policy_from, roster};

const EVERYBODY: [&str; 6] =
    [SERVICE, "token-of-root", "token-of-alice", "token-of-bob", "token-of-carol", "token-of-mallory"];

/// Alice sent m1; bob is a member, carol left, mallory never was one.
fn group_of_three(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    api.flush(&[
        open_for(1, Viewers::Sender),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
        member("carol", "leave").after(2 * MINUTE).record(),
    ]);
    api
}

fn statuses(api: &TestApi, path: &str) -> Vec<u16> {
    EVERYBODY.iter().map(|token| api.get(path, token).status).collect()
}

#[test]
fn the_viewers_rule_decides_for_users_and_only_for_them() {
    let mut api = group_of_three("viewers_rule");
    assert_eq!(statuses(&api, READERS), [200, 200, 200, 403, 403, 403]);
    assert_eq!(api.get(READERS, "token-of-bob").body["code"], "forbidden");
    assert_eq!(statuses(&api, ACKS), [200, 200, 200, 403, 403, 403]);

    api.flush(&[open_for(2, Viewers::Members)]);
    assert_eq!(statuses(&api, READERS), [200, 200, 200, 200, 403, 403]);
    assert_eq!(api.get(READERS, "token-of-carol").body["code"], "not_member");
    assert_eq!(statuses(&api, ACKS), [200, 200, 200, 200, 404, 404]);

    api.flush(&[open_for(3, Viewers::App)]);
    assert_eq!(statuses(&api, READERS), [200; 6]);
    assert_eq!(statuses(&api, ACKS), [200; 6]);
}

#[test]
fn a_rule_is_in_force_from_its_time_on() {
    let mut api = group_of_three("viewers_time");
    let year_2090 = 3_786_912_000_000;
    api.flush(&[policy_from(9, year_2090, |policy| policy.group.viewers = Viewers::App)]);
    assert_eq!(api.get(READERS, "token-of-mallory").status, 403);
}

#[test]
fn the_vendors_path_tells_refusals_in_the_vendors_numbers() {
    let mut api = group_of_three("viewers_vendor");
    let not_sender = api.get(ACKS, "token-of-mallory").body;
    assert_eq!(not_sender["error_code"], 60_002);
    assert_eq!(not_sender["error_description"], "group ack msg permission denied");
    api.flush(&[open_for(2, Viewers::Members)]);
    assert_eq!(api.get(ACKS, "token-of-mallory").body["error_code"], 60_003);
}

#[test]
fn another_apps_data_answers_exactly_like_data_that_is_not_there() {
    let api = group_of_three("viewers_other_app");
    let told = |path: &str, token: &str| {
        let answer = api.get(path, token);
        (answer.status, without_times(answer.body))
    };
    for path in [READERS.to_owned(), format!("{READERS}?status=unread&user=bob")] {
        let unknown = told(&path.replace("m1", "never-sent"), SERVICE);
        assert_eq!(told(&path, "token-of-another-app"), unknown);
        assert_eq!(unknown.0, 404);
    }
    let (status, mut body) = told(ACKS, "token-of-another-app");
    let (unknown_status, mut unknown_body) = told(&ACKS.replace("m1", "never-sent"), SERVICE);
    assert_eq!((&body["data"]["ackmid"], &unknown_body["data"]["ackmid"]), (&json!("m1"), &json!("never-sent")));
    body["data"]["ackmid"].take();
    unknown_body["data"]["ackmid"].take();
    assert_eq!((status, body), (unknown_status, unknown_body));
}

#[test]
fn without_a_known_token_nothing_is_told() {
    let api = group_of_three("viewers_no_token");
    for token in ["", "wrong", "token-of-alic", "undefined"] {
        let refused = api.get(READERS, token);
        assert_eq!((refused.status, &refused.body["code"]), (401, &json!("unauthorized")), "{token}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
        let refused = api.get(ACKS, token);
        assert_eq!(refused.status, 401);
        assert_eq!(refused.body["error_description"], "Unable to authenticate (OAuth)");
        assert_eq!(refused.body["error"], "unauthorized");
    }
}

fn without_times(mut body: Value) -> Value {
    for field in ["timestamp", "duration"] {
        if let Some(value) = body.get_mut(field) {
            value.take();
        }
    }
    if let Some(value) = body.get_mut("data").and_then(|data| data.get_mut("timestamp")) {
        value.take();
    }
    body
}
