//! Many messages asked for at once: each answered as its own path answers it, by a fixed number of statements.

use std::thread::sleep;
use std::time::Duration;

use seenby::policy::Viewers;
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_for, open_policy, users};
use crate::support::clickhouse;
use crate::support::events::{
    HOUR, MINUTE, NOON, group_message, group_read, group_recall, member, roster, single_conversation_read,
    single_message, single_read,
};
use crate::support::faulty_clickhouse::FaultyClickHouse;

const QUERY: &str = "/v1/org/app/receipts/query";

fn ask(api: &TestApi, token: &str, items: &Value) -> Vec<Value> {
    let answer = api.post(QUERY, token, &json!({"items": items}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

/// Two groups with messages in every state, and a single chat.
fn everything(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    fill(&mut api);
    api
}

fn fill(api: &mut TestApi) {
    let members = [("alice", "owner"), ("bob", "member"), ("carol", "member"), ("dave", "member")];
    let mut records = vec![
        open_policy(1, |policy| policy.group.readers_per_message = 2),
        roster(&members).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        group_message("recalled").asking_receipts().record(),
        group_message("plain").record(),
        group_message("m1").to("g2").from("bob").asking_receipts().record(),
        group_recall("recalled").after(MINUTE).record(),
        group_read("m1").to("g2").from("zoe").after(MINUTE).record(),
        single_message("s1").record(),
        single_message("s2").after(HOUR).record(),
        single_message("s3").from("bob").to("carol").record(),
        single_read("s1").after(MINUTE).record(),
        single_conversation_read().after(2 * HOUR).record(),
        member("dave", "leave").after(3 * HOUR).record(),
    ];
    for (minute, user) in [(1, "bob"), (2, "carol"), (3, "alice"), (4, "eve")] {
        records.push(group_read("m1").from(user).after(minute * MINUTE).content("seen").record());
    }
    records.push(member("erin", "join").after(4 * HOUR).record());
    records.push(group_read("m1").from("erin").after(5 * HOUR).record());
    records.push(group_message("second").asking_receipts().after(5 * HOUR).record());
    records.push(group_read("second").from("erin").after(6 * HOUR).record());
    records.push(group_read("second").from("bob").after(6 * HOUR).record());
    api.flush(&records);
}

#[test]
fn each_item_is_answered_as_its_own_path_answers_it() {
    let api = everything("batch_same");
    let groups = [("g1", "m1"), ("g1", "second"), ("g1", "recalled"), ("g1", "plain"), ("g1", "none"), ("g2", "m1")];
    let mut items = Vec::new();
    let mut paths = Vec::new();
    for (group, message) in groups {
        for (chosen, query) in [
            (json!({}), ""),
            (json!({"status": "all"}), "?status=all"),
            (json!({"status": "unread"}), "?status=unread"),
            (json!({"order": "oldest", "limit": 1}), "?order=oldest&limit=1"),
            (json!({"status": "all", "limit": 2}), "?status=all&limit=2"),
            (json!({"status": "all", "users": ["dave", "bob"]}), "?status=all&user=bob&user=dave"),
            (json!({"as_of": NOON + 2 * MINUTE}), &format!("?as_of={}", NOON + 2 * MINUTE)),
            (json!({"as_of": NOON - 1}), &format!("?as_of={}", NOON - 1)),
        ] {
            let mut item = json!({"group": group, "message": message});
            item.as_object_mut().unwrap().extend(chosen.as_object().unwrap().clone());
            items.push(item);
            paths.push(format!("/v1/org/app/groups/{group}/messages/{message}/readers{query}"));
        }
    }
    for (users, message) in [(["bob", "alice"], "s1"), (["alice", "bob"], "s2"), (["carol", "bob"], "s3")] {
        items.push(json!({"single": users, "message": message}));
        paths.push(format!("/v1/org/app/singles/{}/{}/messages/{message}", users[0], users[1]));
    }
    items.push(json!({"single": ["alice", "bob"], "message": "m1"}));
    paths.push("/v1/org/app/singles/alice/bob/messages/m1".to_owned());

    let answers = ask(&api, SERVICE, &json!(items));
    assert_eq!(answers.len(), items.len());
    let mut statuses = Vec::new();
    for ((item, path), answer) in items.iter().zip(&paths).zip(answers) {
        let alone = api.get(path, SERVICE);
        statuses.push(alone.status);
        if alone.status == 200 {
            assert_eq!(answer, alone.body, "{item}");
            continue;
        }
        let mut problem = alone.body;
        for of_http in ["type", "title", "status"] {
            problem.as_object_mut().unwrap().remove(of_http);
        }
        assert_eq!(answer, json!({"error": problem}), "{item}");
    }
    for status in [200, 404, 409, 410] {
        assert!(statuses.contains(&status), "{status} in {statuses:?}");
    }
}

#[test]
fn a_cursor_goes_on_wherever_it_came_from() {
    let api = everything("batch_cursor");
    let item = |cursor: Value| json!([{"group": "g1", "message": "m1", "status": "all", "limit": 2, "cursor": cursor}]);
    let path = "/v1/org/app/groups/g1/messages/m1/readers?status=all&limit=2";
    let first = ask(&api, SERVICE, &item(Value::Null)).remove(0);
    assert_eq!(first, api.ok(path));
    let cursor = &first["next_cursor"];
    let second = ask(&api, SERVICE, &item(cursor.clone())).remove(0);
    assert_eq!(second, api.ok(&format!("{path}&cursor={}", cursor.as_str().unwrap())));
    assert_ne!(users(&first), users(&second));

    let of_another = json!([{"group": "g2", "message": "m1", "status": "all", "limit": 2, "cursor": cursor}]);
    let refused = ask(&api, SERVICE, &of_another).remove(0);
    assert_eq!(refused["error"]["code"], "invalid_request");
    assert!(refused["error"]["detail"].as_str().unwrap().starts_with("items[0].cursor: "), "{refused}");
}

#[test]
fn a_mistake_in_one_item_leaves_the_others_their_answers() {
    let api = everything("batch_mistake");
    let good = json!({"group": "g1", "message": "m1"});
    let answers = ask(&api, SERVICE, &json!([good, {"group": "g1", "message": "m1", "limit": 0}, 7, good]));
    assert_eq!(answers[0], answers[3]);
    assert_eq!(answers[0]["counts"]["distinct"], 3);
    let detail = |answer: &Value| answer["error"]["detail"].as_str().unwrap().to_owned();
    assert_eq!(detail(&answers[1]), "items[1].limit: must be an integer from 1 to 500");
    assert_eq!(detail(&answers[2]), "items[2]: must be an object");

    for body in [json!({"items": []}), json!({"items": vec![good.clone(); 101]}), json!({"items": [good], "x": 1})] {
        let refused = api.post(QUERY, SERVICE, &body);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")));
    }
}

#[test]
fn a_body_of_another_kind_is_not_read() {
    let api = everything("batch_kind");
    let request = axum::http::Request::post(QUERY).header("authorization", format!("Bearer {SERVICE}"));
    let answer = api.send(request.body("items=1".into()).unwrap());
    assert_eq!((answer.status, &answer.body["code"]), (415, &json!("unsupported_media_type")));
}

#[test]
fn each_item_is_shown_to_whom_its_rule_allows() {
    let mut api = everything("batch_viewers");
    let items = json!([
        {"group": "g1", "message": "m1"},
        {"group": "g2", "message": "m1"},
        {"group": "g1", "message": "none"},
        {"single": ["alice", "bob"], "message": "s1"},
        {"single": ["bob", "carol"], "message": "s3"},
    ]);
    let codes = |api: &TestApi, token: &str| -> Vec<String> {
        let answers = ask(api, token, &items);
        answers.iter().map(|answer| answer["error"]["code"].as_str().unwrap_or("ok").to_owned()).collect()
    };
    assert_eq!(codes(&api, "token-of-root"), ["ok", "ok", "not_found", "ok", "ok"]);
    assert_eq!(codes(&api, "token-of-alice"), ["ok", "forbidden", "not_found", "ok", "forbidden"]);
    assert_eq!(codes(&api, "token-of-bob"), ["forbidden", "ok", "not_found", "ok", "ok"]);
    assert_eq!(codes(&api, "token-of-mallory"), ["forbidden", "forbidden", "not_found", "forbidden", "forbidden"]);
    api.flush(&[open_for(2, Viewers::Members)]);
    assert_eq!(codes(&api, "token-of-carol"), ["ok", "not_member", "not_found", "forbidden", "ok"]);
    api.flush(&[open_for(3, Viewers::App)]);
    assert_eq!(codes(&api, "token-of-mallory"), ["ok", "ok", "not_found", "forbidden", "forbidden"]);

    let of_another_app = api.post(QUERY, "token-of-another-app", &json!({"items": items}));
    assert_eq!((of_another_app.status, &of_another_app.body["code"]), (404, &json!("not_found")));
    assert_eq!(api.post(QUERY, "wrong", &json!({"items": items})).status, 401);
}

#[test]
fn whether_there_is_a_message_between_two_others_is_not_told() {
    let api = everything("batch_hidden");
    let item = |message: &str| json!({"single": ["alice", "bob"], "message": message});
    let answers = ask(&api, "token-of-mallory", &json!([item("s1"), item("none"), item("m1")]));
    assert_eq!(answers[0]["error"]["code"], "forbidden");
    assert_eq!(answers[1], answers[0]);
    assert_eq!(answers[2], answers[0]);
    for (message, answer) in [("s1", &answers[0]), ("none", &answers[1])] {
        let alone = api.get(&format!("/v1/org/app/singles/alice/bob/messages/{message}"), "token-of-mallory");
        assert_eq!((alone.status, &alone.body["code"]), (403, &answer["error"]["code"]));
        assert_eq!(alone.body["detail"], answer["error"]["detail"]);
    }
    let own = ask(&api, "token-of-bob", &json!([item("s1"), item("none")]));
    assert_eq!((&own[0]["message"]["id"], &own[1]["error"]["code"]), (&json!("s1"), &json!("not_found")));
}

#[test]
fn a_hundred_items_take_as_many_statements_as_one() {
    let relay = FaultyClickHouse::before(clickhouse::url());
    let mut api = TestApi::with_config("batch_statements", |config| config.clickhouse.url.clone_from(&relay.url));
    fill(&mut api);
    for number in 0..50 {
        let (group, message) = (format!("h{}", number % 7), format!("m{number}"));
        let members = [("alice", "owner"), ("bob", "member")];
        api.flush(&[
            roster(&members).to(&group).at(NOON + 5 * HOUR).record(),
            group_message(&message).to(&group).asking_receipts().after(5 * HOUR + number).record(),
            group_read(&message).to(&group).from("bob").after(6 * HOUR).record(),
            single_message(&message).after(6 * HOUR).record(),
        ]);
    }
    let group =
        |number: i64| json!({"group": format!("h{}", number % 7), "message": format!("m{number}"), "status": "all"});
    let single = |number: i64| json!({"single": ["alice", "bob"], "message": format!("m{number}")});
    let statements = |items: &[Value]| {
        let before = relay.statements();
        let answers = ask(&api, SERVICE, &json!(items));
        assert!(answers.iter().all(|answer| answer["error"].is_null()), "{answers:?}");
        relay.statements() - before
    };
    // How many partitions there are is asked once.
    statements(&[group(0)]);
    let one = statements(&[group(1), single(1)]);
    let hundred: Vec<Value> = (0..50).flat_map(|number| [group(number), single(number)]).collect();
    assert_eq!(statements(&hundred), one);
    // Freshness, what is known of the messages, rosters, marks.
    assert_eq!(one, 4);
    // Nothing was flushed since the rosters were read.
    assert_eq!(statements(&hundred), 3);
}

#[test]
fn a_single_chat_with_more_marks_than_are_read_ahead_is_answered_the_same() {
    let relay = FaultyClickHouse::before(clickhouse::url());
    let mut api = TestApi::with_config("batch_marks", |config| config.clickhouse.url.clone_from(&relay.url));
    fill(&mut api);
    let items = json!([{"single": ["alice", "bob"], "message": "s1"}, {"single": ["alice", "bob"], "message": "s2"}]);
    let path = "/v1/org/app/singles/alice/bob/messages/s2";
    let answers = |api: &TestApi| {
        let before = relay.statements();
        let (batch, one) = (ask(api, SERVICE, &items), api.get(path, SERVICE).body);
        (batch, one, relay.statements() - before)
    };
    // How many partitions there are is asked once.
    answers(&api);
    let (batch, one, statements) = answers(&api);
    assert_eq!((&batch[1]["read_source"], &one["read_source"]), (&json!("conversation"), &json!("conversation")));
    // Freshness, what is known of the messages, marks.
    assert_eq!(statements, 2 * 3);

    api.store.execute(
        "INSERT INTO marks \
            (app, conversation, epoch, partition, offset, own_offset, chat, reader, at, ack_id, record_time) \
         SELECT app, conversation, epoch, partition, offset, 1000000 + number, chat, reader, \
            at - INTERVAL 400 DAY, ack_id, record_time \
         FROM marks CROSS JOIN numbers(5000) AS numbers WHERE chat = 'single'",
    );
    let (crowded_batch, crowded_one, statements) = answers(&api);
    assert_eq!((crowded_batch, crowded_one), (batch, one));
    assert_eq!(statements, 2 * 4, "the marks about the times of the messages come by a statement more");
}

#[test]
fn how_far_the_tables_are_complete_is_asked_for_again_before_it_is_too_old() {
    let mut api = TestApi::with_config("batch_freshness", |config| config.api.as_of_max_age_ms = 6_000);
    fill(&mut api);
    let status = |api: &TestApi| api.get("/v1/org/app/groups/g1/messages/m1/readers", SERVICE).status;
    assert_eq!(status(&api), 200);
    sleep(Duration::from_millis(3_500));
    // Half of the age is over: the answer does not wait for what is asked now.
    assert_eq!(status(&api), 200);
    sleep(Duration::from_secs(1));
    api.store.execute("RENAME TABLE ledger TO kept_ledger");
    sleep(Duration::from_secs(2));
    // What was asked first is too old by now, but not what was asked after it.
    assert_eq!(status(&api), 200);
    sleep(Duration::from_secs(4));
    assert_eq!(status(&api), 500, "it is asked for again, and told");
    api.store.execute("RENAME TABLE kept_ledger TO ledger");
    assert_eq!(status(&api), 200);
}
