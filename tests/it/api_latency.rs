//! How long delivering and reading took: percentiles of what the log holds, and nothing of small groups.

use std::collections::BTreeMap;

use seenby::fold::delay::RELATIVE_ERROR;
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_policy};
use crate::support::events::{
    DAY, HOUR, MINUTE, NOON, OwnedRecord, delivered, group_message, group_read, in_single, member, roster,
    single_conversation_read, single_message, single_read,
};
use crate::support::store::{Log, RECORD_TIME};

const LATENCY: &str = "/v1/org/app/latency";
const SECOND: i64 = 1_000;

fn series<'a>(answer: &'a Value, kind: &str) -> &'a Value {
    answer["series"].as_array().unwrap().iter().find(|series| series["kind"] == kind).unwrap_or(&Value::Null)
}

/// A message to a group of these members, the first of whom sends it, and reads with their delays.
fn read_in(group: &str, members: &[&str], message: &str, delays: &[(&str, i64)]) -> Vec<OwnedRecord> {
    let with_roles: Vec<(&str, &str)> = members.iter().map(|user| (*user, "member")).collect();
    let mut records = vec![
        roster(&with_roles).to(group).at(NOON - HOUR).record(),
        group_message(message).to(group).from(members[0]).asking_receipts().record(),
    ];
    let read = |(user, delay): &(&str, i64)| group_read(message).to(group).from(user).after(*delay).record();
    records.extend(delays.iter().map(read));
    records
}

#[test]
fn of_a_whole_app_the_ledger_tells_each_kind_within_its_error() {
    let mut api = TestApi::new("latency_ledger");
    let mut records = vec![open_policy(1, |_| {})];
    for number in 0..100_i64 {
        let id = format!("m{number}");
        records.push(single_message(&id).record());
        records.push(delivered(&id).after(number * SECOND).record());
        records.push(single_read(&id).after((100 + number) * SECOND).record());
    }
    records.push(in_single("message", "carol", "bob").id("c1").record());
    records.push(single_conversation_read().to("carol").after(HOUR).record());
    records.extend(read_in("g1", &["alice", "bob"], "g", &[("bob", 5_000 * SECOND)]));
    api.flush(&records);

    let (from, to) = (RECORD_TIME, RECORD_TIME + HOUR);
    let answer = api.ok(&format!("{LATENCY}?from={from}&to={to}"));
    let close = |found: &Value, exact: i64| {
        let found = found.as_f64().unwrap();
        assert!((found - exact as f64).abs() <= RELATIVE_ERROR * exact as f64, "{found} for {exact}");
    };
    for (kind, count, p50, p99) in [
        ("delivered", 100, 50 * SECOND, 99 * SECOND),
        ("read", 101, 150 * SECOND, 199 * SECOND),
        ("conversation_read", 1, HOUR, HOUR),
    ] {
        let series = series(&answer, kind);
        assert_eq!(series["source"], "ledger");
        let buckets = series["buckets"].as_array().unwrap();
        assert_eq!(buckets.len(), 1, "{kind}");
        assert_eq!((&buckets[0]["start"], &buckets[0]["count"]), (&json!(from - from % HOUR), &json!(count)));
        close(&buckets[0]["p50"], p50);
        close(&buckets[0]["p99"], p99);
    }
    assert_eq!((&answer["audience"], &answer["withheld"]), (&Value::Null, &json!({"receipts": 0, "messages": 0})));

    let singles = api.ok(&format!("{LATENCY}?chat=single&kind=read&from={NOON}&to={}", NOON + HOUR));
    assert_eq!(series(&singles, "read")["source"], "receipts");
    let bucket = &series(&singles, "read")["buckets"][0];
    assert_eq!(
        (&bucket["count"], &bucket["p50"], &bucket["p90"]),
        (&json!(100), &json!(150 * SECOND), &json!(190 * SECOND))
    );
    let by_minute = api.ok(&format!("{LATENCY}?step=minute&from={NOON}&to={}", NOON + 2 * HOUR));
    assert_eq!(by_minute["series"].as_array().unwrap().len(), 2, "no conversation reads by the minute");
    let first_minute = &series(&by_minute, "delivered")["buckets"][0];
    assert_eq!((&first_minute["count"], &first_minute["p50"]), (&json!(60), &json!(30 * SECOND)));
    let reads = series(&by_minute, "read")["buckets"].as_array().unwrap();
    assert_eq!(
        reads.iter().map(|bucket| bucket["count"].as_u64().unwrap()).sum::<u64>(),
        100,
        "but for a group of two"
    );
    assert_eq!(by_minute["withheld"], json!({"receipts": 1, "messages": 0}));
}

#[test]
fn a_default_range_is_never_longer_than_is_answered() {
    let api = TestApi::new("latency_defaults");
    for chat in ["", "chat=single", "chat=group", "group=g1", "chat=single&kind=delivered"] {
        for step in ["minute", "hour", "day"] {
            let path = format!("{LATENCY}?{chat}&step={step}");
            let answer = api.ok(&path);
            let days = (answer["to"].as_i64().unwrap() - answer["from"].as_i64().unwrap()) / DAY;
            let expected = match (step, chat) {
                ("day", "chat=single" | "chat=group") => 8,
                ("day", _) => 31,
                ("hour", _) => 1,
                _ => 0,
            };
            // The first and the last step may be there in part only.
            assert_eq!(days, expected, "{path}");
        }
    }
}

#[test]
fn percentiles_of_a_group_are_those_of_its_receipts_each_counted_once() {
    let mut api = TestApi::new("latency_group");
    let names: Vec<String> = (0..60).map(|number| format!("u{number}")).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let delay = |number: usize| (number as i64 * 7_919) % 3_600 * SECOND;
    let delays: Vec<(&str, i64)> = (1..60).map(|number| (members[number], delay(number))).collect();
    let mut records = vec![open_policy(1, |_| {})];
    records.extend(read_in("g1", &members, "m1", &delays));
    records.extend(read_in("g10", &members[..6], "other", &[("u1", 1)]));
    let mut dead = Log::new(&api.log.topic, 0);
    dead.flush(&records[..40], &mut api.store.store);
    api.flush(&records);

    let answer = api.ok(&format!("{LATENCY}?group=g1&step=minute&from={NOON}&to={}", NOON + HOUR));
    let mut by_minute: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for (_, delay) in delays {
        by_minute.entry(NOON + delay - delay % MINUTE).or_default().push(delay);
    }
    let expected: Vec<Value> = by_minute
        .into_iter()
        .map(|(start, mut delays)| {
            delays.sort_unstable();
            let at = |percent: usize| delays[delays.len() * percent / 100];
            json!({"start": start, "count": delays.len(), "p50": at(50), "p90": at(90), "p95": at(95), "p99": at(99)})
        })
        .collect();
    assert_eq!(series(&answer, "read")["buckets"], json!(expected));
    assert_eq!(answer["series"].as_array().unwrap().len(), 1, "groups have delays of reading alone");
}

#[test]
fn parts_of_the_audience_are_members_at_the_time_of_sending() {
    let mut api = TestApi::new("latency_audience");
    let members = ["alice", "bob", "carol", "dave", "erin", "frank"];
    let mut records = vec![open_policy(1, |_| {})];
    records.extend(read_in("g1", &members, "m1", &[("bob", 10 * SECOND), ("carol", 20 * SECOND)]));
    // He joined later: half of the five asked are three, and he is none of them.
    records.push(member("zoe", "join").after(MINUTE).record());
    records.push(group_read("m1").from("zoe").after(25 * SECOND).record());
    records.push(group_read("m1").from("dave").after(30 * SECOND).record());
    records.push(group_message("m2").asking_receipts().after(SECOND).record());
    for (user, delay) in [("bob", 1), ("carol", 2), ("dave", 3), ("erin", 4), ("frank", 5), ("zoe", 6)] {
        records.push(group_read("m2").from(user).after((1 + delay) * SECOND).record());
    }
    api.flush(&records);
    let answer = api.ok(&format!("{LATENCY}?group=g1&from={NOON}&to={}", NOON + HOUR));
    let part = |messages: u64, p50: Value, p99: Value| json!({"messages": messages, "p50": p50, "p90": p99, "p95": p99, "p99": p99});
    assert_eq!(
        answer["audience"],
        json!([{
            "start": NOON,
            "messages": 2,
            // Of m2 zoe was asked, too: half of six are three, and four of five are five.
            "by_50_percent": part(2, json!(30 * SECOND), json!(30 * SECOND)),
            "by_80_percent": part(1, json!(5 * SECOND), json!(5 * SECOND)),
            "by_100_percent": part(1, json!(6 * SECOND), json!(6 * SECOND)),
        }])
    );
    let nobody = api.ok(&format!("{LATENCY}?group=g1&from={}&to={}", NOON + DAY, NOON + DAY + HOUR));
    assert_eq!(nobody["audience"], json!([]));
}

#[test]
fn what_all_chats_have_less_what_single_chats_have_shows_no_small_group() {
    let mut api = TestApi::new("latency_difference");
    let mut records = vec![open_policy(1, |_| {})];
    records.extend(read_in("pair", &["a1", "a2"], "p1", &[("a2", 7 * SECOND)]));
    records.extend(read_in("large", &["a1", "a2", "a3", "a4", "a5"], "l1", &[("a2", 3 * SECOND), ("a3", 5 * SECOND)]));
    records.push(single_message("s1").record());
    records.push(single_read("s1").after(11 * SECOND).record());
    api.flush(&records);
    let range = format!("step=minute&from={NOON}&to={}", NOON + HOUR);
    let reads = |chat: &str| {
        let answer = api.ok(&format!("{LATENCY}?{chat}&{range}"));
        let bucket = &series(&answer, "read")["buckets"][0];
        (bucket["count"].as_u64().unwrap(), bucket["p50"].as_i64().unwrap(), answer["withheld"]["receipts"].clone())
    };
    assert_eq!(reads("chat=single"), (1, 11 * SECOND, json!(0)));
    assert_eq!(reads("chat=group"), (2, 5 * SECOND, json!(1)));
    assert_eq!(reads(""), (3, 5 * SECOND, json!(1)));
    assert_eq!(reads("kind=read"), (3, 5 * SECOND, json!(1)));
}

#[test]
fn groups_below_the_set_size_are_counted_and_not_shown() {
    let mut api = TestApi::new("latency_small");
    let mut records = vec![open_policy(1, |_| {})];
    records.extend(read_in("small", &["a1", "a2", "a3", "a4"], "s1", &[("a2", SECOND), ("a3", 2 * SECOND)]));
    records.extend(read_in("large", &["a1", "a2", "a3", "a4", "a5"], "l1", &[("a2", 3 * SECOND)]));
    // Nobody told its roster: it is as large as its readers tell.
    records.push(group_message("n1").to("unknown").asking_receipts().record());
    for number in 0..3_i64 {
        let reader = format!("r{number}");
        records.push(group_read("n1").to("unknown").from(&reader).after(SECOND).record());
    }
    api.flush(&records);
    let range = format!("from={NOON}&to={}", NOON + HOUR);
    let answer = api.ok(&format!("{LATENCY}?chat=group&{range}"));
    let buckets = &series(&answer, "read")["buckets"];
    assert_eq!((&buckets[0]["count"], &buckets[0]["p99"]), (&json!(1), &json!(3 * SECOND)));
    assert_eq!(answer["withheld"], json!({"receipts": 5, "messages": 1}));
    assert_eq!(answer["audience"][0]["messages"], 1);

    let small = api.ok(&format!("{LATENCY}?group=small&{range}"));
    assert_eq!((&series(&small, "read")["buckets"], &small["audience"]), (&json!([]), &json!([])));
    assert_eq!(small["withheld"], json!({"receipts": 2, "messages": 1}));

    api.config.api.latency_min_group_size = 1;
    api.router = seenby::api::router(&api.config, &seenby::observe::Telemetry::default()).unwrap();
    let shown = api.ok(&format!("{LATENCY}?chat=group&{range}"));
    assert_eq!(series(&shown, "read")["buckets"][0]["count"], 6);
    assert_eq!(shown["withheld"], json!({"receipts": 0, "messages": 0}));
}

#[test]
fn latency_is_for_services_and_mistakes_are_named() {
    let mut api = TestApi::new("latency_access");
    api.flush(&[open_policy(1, |_| {})]);
    for (token, status) in
        [(SERVICE, 200), ("token-of-root", 200), ("token-of-alice", 403), ("token-of-another-app", 404), ("wrong", 401)]
    {
        assert_eq!(api.get(LATENCY, token).status, status, "{token}");
    }
    let month = format!("from={NOON}&to={}", NOON + 30 * DAY);
    for (query, parameter) in [
        ("step=week", "step"),
        ("chat=room", "chat"),
        ("kind=seen", "kind"),
        ("chat=group&kind=delivered", "kind"),
        ("step=minute&kind=conversation_read", "kind"),
        ("group=g1&chat=single", "group"),
        ("chat=single&group=g1", "group"),
        ("from=9&to=8", "from"),
        (&format!("chat=group&{month}"), "from"),
        (&format!("step=minute&{month}"), "from"),
        ("grop=g1", "grop"),
    ] {
        let refused = api.get(&format!("{LATENCY}?{query}"), SERVICE);
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{}", refused.body);
    }
    assert_eq!(api.get(&format!("{LATENCY}?{month}"), SERVICE).status, 200, "the ledger answers for a month");
    assert_eq!(api.get(&format!("{LATENCY}?group=g1&{month}"), SERVICE).status, 200, "and so do one group's receipts");
}
