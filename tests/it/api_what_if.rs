//! A past range of the log under another policy, on real Kafka and the real engine.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, header};
use seenby::config::{Config, Delivery};
use serde_json::{Value, json};

use crate::support::api::{Answer, SERVICE, open_policy};
use crate::support::deployed::DeployedApi;
use crate::support::events::{DAY, HOUR, MINUTE, OwnedRecord, group_message, group_read};
use crate::support::store::{ENDLESS_MESSAGES, MESSAGES_AGAIN, RUNNING, eventually};
use crate::support::traffic::Traffic;
use crate::support::worker::Deployment;

const WHAT_IF: &str = "/v1/org/app/policy/what-if";
const ADMIN: &str = "token-of-root";

fn request(token: &str, body: &str) -> Request<Body> {
    let request = Request::post(WHAT_IF)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_owned())).unwrap()
}

fn ask(api: &DeployedApi, body: &Value) -> Answer {
    api.send(request(ADMIN, &body.to_string()))
}

fn ok(api: &DeployedApi, body: &Value) -> Value {
    let answer = ask(api, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.body
}

/// The present, in ms.
fn now() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The whole hours around the present.
fn these_hours() -> (i64, i64) {
    (now() - now() % HOUR - HOUR, now() - now() % HOUR + 2 * HOUR)
}

/// Type, outcome: as it was, and under the policy.
type Lines = BTreeMap<(String, String), (u64, u64)>;

fn lines(answer: &Value, field: &str) -> Lines {
    let text = |line: &Value, field: &str| line[field].as_str().unwrap().to_owned();
    let number = |line: &Value, field: &str| line[field].as_u64().unwrap();
    let line =
        |line: &Value| ((text(line, "type"), text(line, "outcome")), (number(line, "actual"), number(line, "what_if")));
    let listed = answer[field].as_array().unwrap();
    let lines: Lines = listed.iter().map(line).collect();
    assert_eq!(lines.len(), listed.len(), "one line a type and outcome");
    lines
}

/// One side of lines, those that are not 0.
fn side(lines: &Lines, of: impl Fn(&(u64, u64)) -> u64) -> BTreeMap<(String, String), u64> {
    let counts = lines.iter().map(|(line, counts)| (line.clone(), of(counts)));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn actual(answer: &Value, field: &str) -> BTreeMap<(String, String), u64> {
    side(&lines(answer, field), |(actual, _)| *actual)
}

/// The sums that `GET outcomes` gives of whole hours.
fn ledger(api: &DeployedApi, (from, to): (i64, i64), field: &str) -> BTreeMap<(String, String), u64> {
    let answer = api.get(&format!("/v1/org/app/outcomes?from={from}&to={to}"), SERVICE);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut sums = BTreeMap::new();
    for bucket in answer.body["buckets"].as_array().unwrap() {
        for count in bucket[field].as_array().unwrap() {
            let text = |field: &str| count[field].as_str().unwrap().to_owned();
            *sums.entry((text("type"), text("outcome"))).or_default() += count["count"].as_u64().unwrap();
        }
    }
    sums
}

fn line(event_type: &str, outcome: &str) -> (String, String) {
    (event_type.to_owned(), outcome.to_owned())
}

/// The same record of another app, whose events move the same watermarks.
fn of_another_app(record: &OwnedRecord) -> OwnedRecord {
    let renamed = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("org#app", "org#other").into_bytes();
    OwnedRecord { key: record.key.as_deref().map(renamed), value: renamed(&record.value), control: None }
}

/// Events of two apps, one by one.
fn events(traffic: &mut Traffic, count: usize) -> Vec<OwnedRecord> {
    (0..count).flat_map(|_| [traffic.event(), of_another_app(&traffic.event())]).collect()
}

/// The limits of the policy in force in these tests, as a body takes them.
fn in_force() -> Value {
    json!({
        "group": {"open": true, "senders": "members", "readers_per_message": 3, "messages_per_day": 5, "validity_days": 2},
        "single": {"validity_days": 2}, "parking_hours": 20,
    })
}

/// A deployment with that policy, whose worker ends flushes often.
fn deployment(test: &str, partitions: u32) -> Deployment {
    let mut deployment = Deployment::new(test, partitions, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 5;
    deployment.config.worker.flush_records = 100;
    deployment.produce(&[open_policy(1, |policy| {
        policy.group.readers_per_message = 3;
        policy.group.messages_per_day = 5;
        policy.group.validity_days = 2;
        policy.single.validity_days = 2;
        policy.parking_hours = 20;
    })]);
    deployment
}

/// Lets a worker count records, and gives the time behind the last of them.
fn count(deployment: &Deployment, records: &[OwnedRecord]) -> i64 {
    let worker = deployment.start();
    for piece in records.chunks(200) {
        deployment.produce(piece);
        deployment.wait_for_commit();
    }
    deployment.wait_for_commit();
    worker.stop(false).unwrap();
    let behind = deployment.events().iter().filter_map(|record| record.time).max().unwrap() + 1;
    eventually("the clock stands still", || now() > behind);
    behind
}

#[test]
fn the_policy_that_was_in_force_makes_no_difference_and_what_was_is_what_the_ledger_counts() {
    let deployment = deployment("what_if_same", 3);
    let mut traffic = Traffic::new(3);
    let middle = count(&deployment, &events(&mut traffic, 500));
    let api = DeployedApi::of(&deployment);
    let hours = these_hours();
    let before = (ledger(&api, hours, "records"), ledger(&api, hours, "settled"));
    count(&deployment, &events(&mut traffic, 300));

    let whole = ok(&api, &json!({"from": hours.0, "to": hours.1, "policy": in_force()}));
    let sums = (ledger(&api, hours, "records"), ledger(&api, hours, "settled"));
    assert!(sums.0.len() > 20 && sums.1.len() > 3, "{sums:#?}");
    assert_eq!((actual(&whole, "records"), actual(&whole, "settled")), sums);
    assert_eq!(whole["policy"]["group"]["messages_per_day"], 5);
    assert_eq!(whole["as_of"], api.get(&format!("/v1/org/app/outcomes?from={}", hours.0), SERVICE).body["as_of"]);

    // From an end of a flush in the middle of the log on: the state in front of the range is read back.
    let later = ok(&api, &json!({"from": middle, "to": hours.1, "policy": in_force()}));
    let since = |sums: &BTreeMap<(String, String), u64>, before: &BTreeMap<(String, String), u64>| {
        let mut since = sums.clone();
        for (line, count) in before {
            *since.get_mut(line).unwrap() -= count;
        }
        since.retain(|_, count| *count > 0);
        since
    };
    assert_eq!(actual(&later, "records"), since(&sums.0, &before.0));
    assert_eq!(actual(&later, "settled"), since(&sums.1, &before.1));

    let group = ok(&api, &json!({"from": middle, "to": hours.1, "policy": in_force(), "group": "g2"}));
    let is_of_group = |value: &[u8]| {
        let event: Value = serde_json::from_slice(value).unwrap();
        let is_malformed = event["id"] == "two words" || (event["type"] == "read" && event["message"].is_null());
        (&event["app"], &event["to"]) == (&json!("org#app"), &json!("g2")) && !is_malformed
    };
    let in_log = deployment.events().into_iter();
    let of_group = in_log.filter(|record| record.time.unwrap() >= middle && is_of_group(&record.value)).count();
    assert_eq!(actual(&group, "records").values().sum::<u64>(), of_group as u64);

    for answer in [&whole, &later, &group] {
        for field in ["records", "settled"] {
            let lines = lines(answer, field);
            assert!(!lines.is_empty() && lines.values().all(|(actual, what_if)| actual == what_if), "{lines:#?}");
        }
        assert_eq!((&answer["differing"], &answer["messages"]), (&json!(0), &json!([])));
        assert_eq!(answer["missing"], json!([]), "{answer:#}");
    }
}

#[test]
fn another_policy_gives_other_outcomes_from_the_range_on_and_names_messages() {
    let deployment = deployment("what_if_other", 1);
    let asking = |id: &str, group: &str| group_message(id).to(group).asking_receipts().record();
    let read = |id: &str, group: &str| group_read(id).to(group).after(MINUTE).record();
    let middle = count(&deployment, &[asking("m0", "g1")]);
    let records = [
        // Sent before the range: open whatever is tried.
        read("m0", "g1"),
        asking("m1", "g1"),
        read("m1", "g1"),
        // Waits for its message, and is settled with it.
        read("m2", "g1"),
        asking("m2", "g1"),
        asking("m3", "g2"),
        read("m3", "g2"),
    ];
    count(&deployment, &records);
    let api = DeployedApi::of(&deployment);
    let tried = |limits: Value, group: Value| {
        ok(&api, &json!({"from": middle, "policy": limits, "group": group, "to": now() + HOUR}))
    };

    // Two messages of a group a day, of which the first was sent before the range.
    let fewer = tried(json!({"group": {"open": true, "senders": "members", "messages_per_day": 2}}), Value::Null);
    let expected = Lines::from([
        (line("message", "opened"), (3, 2)),
        (line("message", "quota_exceeded"), (0, 1)),
        (line("read", "counted"), (3, 3)),
        (line("read", "parked"), (1, 1)),
    ]);
    assert_eq!(lines(&fewer, "records"), expected);
    let settled = Lines::from([(line("read", "counted"), (1, 0)), (line("read", "not_requested"), (0, 1))]);
    assert_eq!(lines(&fewer, "settled"), settled);
    let named = json!([{
        "conversation": "org#app/g/g1", "message": "m2", "sent_at": 1_772_366_400_000_i64,
        "actual": "opened", "what_if": "quota_exceeded",
    }]);
    assert_eq!((&fewer["differing"], &fewer["messages"]), (&json!(1), &named));

    let closed = tried(json!({}), Value::Null);
    let expected = Lines::from([
        (line("message", "opened"), (3, 0)),
        (line("message", "not_open"), (0, 3)),
        (line("read", "counted"), (3, 1)),
        (line("read", "not_requested"), (0, 2)),
        (line("read", "parked"), (1, 1)),
    ]);
    assert_eq!(lines(&closed, "records"), expected);
    assert_eq!(closed["differing"], 5);

    let of_group = tried(json!({}), json!("g2"));
    let expected = Lines::from([
        (line("message", "opened"), (1, 0)),
        (line("message", "not_open"), (0, 1)),
        (line("read", "counted"), (1, 0)),
        (line("read", "not_requested"), (0, 1)),
    ]);
    assert_eq!((lines(&of_group, "records"), &of_group["group"]), (expected, &json!("g2")));
    assert_eq!((&of_group["settled"], &of_group["messages"][0]["message"]), (&json!([]), &json!("m3")));
    let unknown = tried(json!({}), json!("nowhere"));
    assert_eq!((&unknown["records"], &unknown["missing"]), (&json!([]), &json!([])));

    // A policy does not outlast the question: what is in force is asked of the log.
    let after = tried(in_force(), Value::Null);
    assert_eq!(
        (&after["differing"], api.get("/v1/org/app/policy", SERVICE).body["version"].clone()),
        (&json!(0), json!(1))
    );
    assert_eq!(deployment.outcomes()["message opened"], 4, "nothing was written");
}

#[test]
fn what_the_log_or_the_tables_do_not_hold_is_named_and_not_made_up() {
    let deployment = deployment("what_if_missing", 1);
    let reads = |from: usize| -> Vec<OwnedRecord> {
        (from..from + 40).map(|number| group_read("m1").from(&format!("u{number}")).record()).collect()
    };
    count(&deployment, &[group_message("m1").asking_receipts().record()]);
    let middle = count(&deployment, &reads(0));
    count(&deployment, &reads(40));
    let (from, to) = these_hours();
    let api = DeployedApi::of(&deployment);
    let whole = json!({"from": from, "to": to, "policy": in_force()});
    assert_eq!(ok(&api, &whole)["missing"], json!([]));

    // Without the log's beginning, counting begins with the first flush that it still holds as a whole.
    deployment.cut_log(0, 10);
    let cut = ok(&api, &whole);
    let missing = cut["missing"].as_array().unwrap();
    assert_eq!((missing.len(), &missing[0]["partition"], &missing[0]["from"]), (1, &json!(0), &json!(from)), "{cut:#}");
    let counted: u64 = actual(&cut, "records").values().sum();
    let begins = missing[0]["to"].as_i64().unwrap();
    let there = deployment.events().iter().filter(|record| record.time.unwrap() >= begins).count() as u64;
    assert!((40..82).contains(&counted) && counted <= there, "{cut:#}");
    assert_eq!(lines(&cut, "records").values().filter(|(actual, what_if)| actual != what_if).count(), 0);
    let later = ok(&api, &json!({"from": middle, "to": to, "policy": in_force()}));
    assert_eq!((actual(&later, "records").values().sum::<u64>(), &later["missing"]), (40, &json!([])));

    // No worker has met these.
    deployment.produce(&reads(80));
    let behind = ok(&api, &json!({"from": middle, "to": to, "policy": in_force()}));
    let missing = behind["missing"].as_array().unwrap();
    assert_eq!((actual(&behind, "records").values().sum::<u64>(), missing.len()), (40, 1), "{behind:#}");
    assert_eq!(missing[0]["to"], to);
    assert!(missing[0]["from"].as_i64().unwrap() >= middle, "{behind:#}");

    // The whole log is gone: of a time behind its last hour nothing is, of any other everything may be.
    count(&deployment, &[]);
    deployment.delete_all_records();
    let gone = ok(&api, &whole);
    assert_eq!((&gone["records"], &gone["missing"]), (&json!([]), &json!([{"partition": 0, "from": from, "to": to}])));
    let to_come = ok(&api, &json!({"from": to, "to": to + DAY, "policy": in_force()}));
    assert_eq!((&to_come["records"], &to_come["missing"]), (&json!([]), &json!([])));
}

#[test]
fn a_run_that_takes_more_than_it_may_says_so() {
    let deployment = deployment("what_if_bounds", 1);
    let behind =
        count(&deployment, &(0..20).map(|number| group_message(&format!("m{number}")).record()).collect::<Vec<_>>());
    count(&deployment, &[group_message("last").record()]);
    let body = json!({"from": now() - HOUR, "to": now() + HOUR, "policy": {}});
    let bounded = |change: fn(&mut Config), body: &Value| ask(&DeployedApi::with_config(&deployment, change), body);

    let answer = bounded(|config| config.api.what_if.max_records = 5, &body);
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("range_too_large")), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("api.what_if.max_records"), "{}", answer.body);
    // One record behind a state of more than five rows.
    let of_state =
        bounded(|config| config.api.what_if.max_records = 5, &json!({"from": behind, "policy": {}, "to": now()}));
    assert_eq!((of_state.status, &of_state.body["code"]), (422, &json!("range_too_large")), "{}", of_state.body);
    assert_eq!(bounded(|config| config.api.what_if.max_records = 100, &body).status, 200);

    let answer = bounded(|config| config.api.what_if.max_state_bytes = 100, &body);
    assert_eq!((answer.status, &answer.body["code"]), (422, &json!("range_too_large")), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("api.what_if.max_state_bytes"), "{}", answer.body);

    let answer = bounded(|config| config.api.what_if.timeout_ms = 1, &body);
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("timed_out")), "{}", answer.body);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));

    // A week that the state needs was dropped after its retention time.
    let range = json!({"from": behind, "policy": {}, "to": now()});
    assert_eq!(bounded(|_| {}, &range).status, 200);
    deployment.execute("INSERT INTO dropped VALUES ('messages', 1, 0, toDate32('2026-02-23'), '', 0, 1, 1)");
    let answer = bounded(|_| {}, &range);
    assert_eq!((answer.status, &answer.body["code"]), (409, &json!("history_gone")), "{}", answer.body);
}

#[test]
fn no_more_run_than_may_and_one_that_nobody_waits_for_gives_its_place_back() {
    let deployment = deployment("what_if_places", 1);
    let behind = count(&deployment, &[group_message("m1").record()]);
    count(&deployment, &[group_message("m2").record()]);
    let api = DeployedApi::with_config(&deployment, |config| {
        config.api.query.max_execution_time_ms = 0;
        config.api.query.max_rows_to_read = 0;
        config.api.query.max_bytes_to_read = 0;
    });
    let body = json!({"from": behind, "policy": {}, "to": now()});
    ENDLESS_MESSAGES.iter().for_each(|statement| deployment.execute(statement));
    let waiting = api.begin(request(ADMIN, &body.to_string()));
    eventually("the state is not read back", || deployment.number(RUNNING) == 1);
    let busy = ask(&api, &body);
    assert_eq!((busy.status, &busy.body["code"]), (503, &json!("busy")), "{}", busy.body);
    assert!(busy.headers.contains_key(header::RETRY_AFTER));

    waiting.abort();
    eventually("the statement goes on though nobody waits for it", || deployment.number(RUNNING) == 0);
    MESSAGES_AGAIN.iter().for_each(|statement| deployment.execute(statement));
    eventually("the place is not given back", || ask(&api, &body).status == 200);
}

#[test]
fn it_is_for_administrators_and_mistakes_are_named() {
    let deployment = Deployment::new("what_if_refusals", 1, Delivery::ExactlyOnce);
    let api = DeployedApi::of(&deployment);
    let good = r#"{"policy": {}}"#;
    for (token, status) in
        [(SERVICE, 403), ("token-of-alice", 403), ("token-of-another-app", 404), ("wrong", 401), (ADMIN, 200)]
    {
        assert_eq!(api.send(request(token, good)).status, status, "{token}");
    }
    for (body, expected) in [
        ("{", "body: "),
        ("{}", "body: missing field `policy`"),
        (r#"{"policy": {}, "polcy": 1}"#, "body: unknown field `polcy`"),
        (r#"{"policy": {}, "from": "x"}"#, "from: "),
        (r#"{"policy": {}, "group": ""}"#, "group: "),
        (r#"{"policy": {"group": {"validity_days": 91}}}"#, "policy.group.validity_days: "),
        (r#"{"policy": {"effective_from": 1}}"#, "policy.effective_from: "),
    ] {
        let refused = api.send(request(ADMIN, body));
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{body}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(expected), "{body}: {}", refused.body);
    }
    let no_json = Request::post(WHAT_IF).header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
    assert_eq!(api.send(no_json.body(Body::from(good)).unwrap()).status, 415);

    // Before the first flush of all nothing is known, and nothing is made up.
    let nothing = ok(&api, &json!({"policy": {}}));
    assert_eq!((&nothing["records"], &nothing["as_of"], &nothing["missing"]), (&json!([]), &Value::Null, &json!([])));
}
