//! Ids as long as they may be are answered however many there are; of longer ones nothing exists, and the field is named.

use seenby::config::{TokenConfig, TokenRole};
use serde_json::{Value, json};

use crate::support::api::{ACKS, Answer, SERVICE, TestApi, open_policy};
use crate::support::events::{OwnedRecord, group_message, group_read, in_single, roster};

/// The longest id, every byte of which needs an escape in a statement and in a path.
fn longest(number: usize) -> String {
    format!("{number:03}{}", r"\'".repeat(62) + "'")
}

fn in_path(id: &str) -> String {
    id.replace('\\', "%5C").replace('\'', "%27").replace('#', "%23")
}

/// Of an app whose name is as long as it may be, too.
struct LongNames {
    api: TestApi,
    app: String,
    reader: String,
}

impl LongNames {
    fn new(test: &str) -> Self {
        let app = format!("org#{}", "a'".repeat(62));
        let api = TestApi::with_config(test, |config| {
            config.auth.tokens = vec![TokenConfig::new(&app, "crm", TokenRole::Service, SERVICE)];
        });
        Self { api, app, reader: longest(999) }
    }

    fn path(&self, rest: &str) -> String {
        let (org, name) = self.app.split_once('#').unwrap();
        format!("/v1/{org}/{}/{rest}", in_path(name))
    }

    fn message(&self, sender: usize) -> OwnedRecord {
        in_single("message", &longest(sender), &self.reader).app(&self.app).id(&longest(sender)).record()
    }
}

#[test]
fn five_hundred_conversations_of_the_longest_names_are_one_page() {
    let mut named = LongNames::new("long_unread");
    let messages: Vec<OwnedRecord> = (0..500).map(|sender| named.message(sender)).collect();
    named.api.flush(&messages);
    let page = named.api.ok(&named.path(&format!("users/{}/unread?limit=500", in_path(&named.reader))));
    let conversations = page["conversations"].as_array().unwrap();
    assert_eq!(conversations.len(), 500);
    assert_eq!(conversations[7], json!({"chat": "single", "to": longest(7), "unread": 1}));
}

#[test]
fn a_hundred_items_of_the_longest_names_are_one_question() {
    let mut named = LongNames::new("long_batch");
    let app = named.app.clone();
    let mut records = vec![open_policy(1, |_| {})];
    for number in 0..100 {
        let (group, id) = (longest(number), longest(number));
        records.push(roster(&[(&id, "owner"), (&named.reader, "member")]).app(&app).to(&group).record());
        records.push(group_message(&id).app(&app).from(&id).to(&group).record());
        records.push(group_read(&id).app(&app).from(&named.reader).to(&group).with("id", id.clone()).record());
        records.push(named.message(number));
    }
    named.api.flush(&records);
    for item in [
        |id: &str, _: &str| json!({"group": id, "message": id, "status": "all"}),
        |id: &str, reader: &str| json!({"single": [id, reader], "message": id}),
    ] {
        let items: Vec<Value> = (0..100).map(|number| item(&longest(number), &named.reader)).collect();
        let answer = named.api.post(&named.path("receipts/query"), SERVICE, &json!({"items": items}));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let answered = answer.body["items"].as_array().unwrap();
        assert_eq!(answered.len(), 100);
        assert!(answered.iter().all(|item| item["message"]["id"].is_string()), "{}", answered[0]);
    }
}

#[test]
fn an_id_that_is_longer_than_any_is_refused_by_the_name_of_its_field() {
    let mut api = TestApi::new("long_refused");
    api.flush(&[open_policy(1, |_| {}), group_message("m1").asking_receipts().record()]);
    let long = "x".repeat(129);
    let refused = |answer: Answer, field: &str| {
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("invalid_request")), "{field}: {}", answer.body);
        let rule = format!("{field}: must be at most 128 bytes, as every id is; it has 129");
        assert_eq!(answer.body["detail"], json!(rule));
    };
    for (path, field) in [
        (format!("groups/{long}/messages/m1/readers"), "group"),
        (format!("groups/g1/messages/{long}/readers"), "message"),
        (format!("groups/g1/messages/m1/readers?user=bob&user={long}"), "user"),
        (format!("singles/{long}/bob/messages/s1"), "a"),
        (format!("singles/alice/{long}/messages/s1"), "b"),
        (format!("singles/alice/bob/messages/{long}"), "message"),
        (format!("users/{long}/unread"), "user"),
        (format!("users/{long}/statistics"), "user"),
        (format!("groups/{long}/quota"), "group"),
        (format!("latency?group={long}"), "group"),
        (format!("rejections?group={long}"), "group"),
        (format!("rejections?user={long}"), "user"),
    ] {
        refused(api.get(&format!("/v1/org/app/{path}"), SERVICE), field);
    }
    let check = format!("/v1/org/app/groups/{long}/receipt-check");
    refused(api.post(&check, SERVICE, &json!({"from": "alice"})), "group");

    let very_long = "x".repeat(300_000);
    let items = json!({"items": [{"group": "g1", "message": very_long}, {"group": "g1", "message": "m1"}]});
    let answer = api.post("/v1/org/app/receipts/query", SERVICE, &items);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rule = "items[0].message: must be at most 128 bytes, as every id is; it has 300000";
    assert_eq!(answer.body["items"][0]["error"]["detail"], rule);
    assert_eq!(answer.body["items"][1]["message"]["id"], "m1");
}

#[test]
fn the_vendors_path_has_nothing_under_such_an_id() {
    let mut api = TestApi::new("long_vendor");
    let read = group_read("m1").from("bob").record();
    api.flush(&[open_policy(1, |_| {}), group_message("m1").asking_receipts().record(), read]);
    let long = "x".repeat(129);
    for path in [
        ACKS.replace("m1", &long),
        ACKS.replace("g1", &long),
        format!("{ACKS}?key={long}"),
        format!("{ACKS}?key=1/{long}"),
        format!("{ACKS}?key={long}/bob"),
    ] {
        assert_eq!(api.ok(&path)["data"]["userlist"], json!([]), "{path}");
    }
    assert_eq!(api.ok(ACKS)["data"]["userlist"].as_array().unwrap().len(), 1);
}
